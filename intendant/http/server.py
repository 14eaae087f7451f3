"""Serving the application alone, with hypercorn, on asyncio and on trio."""

from __future__ import annotations

import ipaddress
import signal
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

import anyio
import hypercorn.asyncio
import hypercorn.trio
import sniffio
from hypercorn.config import Config

from intendant.http.application import Application

_BACKLOG: Final = 1_024  # connections that wait to be taken


async def serve(
    application: Application,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    drain_seconds: float = 20.0,
    until: Callable[[], Awaitable[None]] | None = None,
    on_listening: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, or until `until` returns; then drain, and return after `drain_seconds` at most.

    With `until` no signals are handled. Draining takes no new requests, answers waits with 202, ends streams, and lets
    the rest come to its end. A second signal ends at once. `on_listening` is told the address; port 0 takes a free one.

    Raises ValueError for an application without authentication on anything but loopback.
    """
    if not application.authenticated and not _is_loopback(host):
        raise ValueError(f"{host} can be reached from outside: without authentication only loopback is served")
    listener = socket.create_server(
        (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=_BACKLOG
    )
    limits = application.limits
    _bound_unacknowledged(listener, limits.send_seconds)
    address = listener.getsockname()
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.backlog = _BACKLOG  # it listens once more
    config.graceful_timeout = drain_seconds
    config.include_server_header = False
    config.keep_alive_timeout = limits.head_seconds
    config.h11_max_incomplete_size = limits.head_bytes
    config.accesslog = None
    config.errorlog = None
    stop = anyio.Event()
    if on_listening is not None:
        on_listening(f"http://{f'[{address[0]}]' if ':' in address[0] else address[0]}:{address[1]}")
    async with anyio.create_task_group() as group:
        group.start_soon(_wait, until, stop, group.cancel_scope)
        group.start_soon(_drain, application, stop, drain_seconds, group.cancel_scope)
        group.start_soon(_listen, application, config, stop, group.cancel_scope)


def _bound_unacknowledged(listener: socket.socket, seconds: float) -> None:
    """Let the system end a connection of whoever takes nothing for so long; accepted ones have it from the listener."""
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1, round(seconds * 1_000)))


async def _listen(application: Application, config: Config, stop: anyio.Event, scope: anyio.CancelScope) -> None:
    """A task of its own: hypercorn leaves cancellations of its task uncounted, which would end the caller's."""
    server: Any = hypercorn.trio if sniffio.current_async_library() == "trio" else hypercorn.asyncio
    await server.serve(cast("Any", application), config, shutdown_trigger=stop.wait)
    scope.cancel()


async def _wait(until: Callable[[], Awaitable[None]] | None, stop: anyio.Event, scope: anyio.CancelScope) -> None:
    if until is not None:
        await until()
        stop.set()
        return
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            if stop.is_set():
                scope.cancel()
            stop.set()


async def _drain(application: Application, stop: anyio.Event, seconds: float, scope: anyio.CancelScope) -> None:
    await stop.wait()
    application.drain()
    await anyio.sleep(seconds)
    scope.cancel()  # connections that do not end are not waited for


def _is_loopback(host: str) -> bool:
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host or "0.0.0.0", None)}  # noqa: S104  "" is that
    except OSError:
        return False
    return all(ipaddress.ip_address(str(each).partition("%")[0]).is_loopback for each in found)
