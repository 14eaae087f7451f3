"""Events as signed HTTP requests, by the conventions of Standard Webhooks."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, cast
from urllib.parse import SplitResult, urlsplit

import anyio
import httpcore
import msgspec

from intendant.adapters.clock import SystemClock
from intendant.adapters.publishers.addresses import AddressPolicy, AddressRefused, Resolve, literal, look_up
from intendant.adapters.publishers.breaker import Breaker, Circuit, State, admit, failed, succeeded
from intendant.adapters.publishers.signature import keys_of, signatures
from intendant.domain.errors import InvalidValue, TargetUnavailable, Undeliverable
from intendant.domain.logs import about, told
from intendant.domain.ports import Clock
from intendant.domain.state import Event

logger = logging.getLogger("intendant.outbox")

ANSWER_BYTES: Final = 65_536  # of an answer that are read, so that its connection can be used again
_ANSWER_SECONDS: Final = 1.0  # that an answer's body may take; what it answered is known before
_ADDRESSES_MAX: Final = 8  # of a name, that are tried
_PORTS: Final = {"http": 80, "https": 443}
_GONE: Final = 410
_BUSY: Final = (429, 503)


class DeliveryFailed(Exception):
    """The target answered, and not with success; or it was sent an event and did not answer."""


class Webhook:
    """Posts each event to one URL; see `intendant.adapters.publishers.webhook`."""

    def __init__(
        self,
        url: str,
        *,
        secret: str | Sequence[str],
        allow_private: bool | Sequence[str],
        timeout: float,
        connect_timeout: float,
        retry_after: float,
        breaker: Breaker | None,
        tls: ssl.SSLContext | None,
        clock: Clock | None = None,
        resolve: Resolve = look_up,
    ) -> None:
        parts = _split(url)
        self._url = url
        self._host = parts.netloc.rpartition("@")[2]
        self.name = f"webhook {parts.scheme}://{self._host}"  # a path may be a secret, too
        self._keys = keys_of(secret)
        self._network = _CheckedNetwork(_policy(parts, allow_private), resolve)
        self._timeout = _seconds("timeout", timeout)
        self._connect_timeout = _seconds("connect_timeout", connect_timeout)
        self._retry_after = _seconds("retry_after", retry_after)
        self._breaker = breaker or Breaker()
        self._tls = tls
        self._clock = clock or SystemClock()
        self._circuit = Circuit()
        self._pool: httpcore.AsyncConnectionPool | None = None

    def __repr__(self) -> str:
        return f"<{self.name}>"

    @property
    def circuit(self) -> Circuit:
        """How the target is, by the breaker; times are of the event loop's clock."""
        return self._circuit

    async def publish(self, event: Event) -> None:
        """See `Publisher.publish`."""
        body = body_of(event)
        self._circuit, wait = admit(self._circuit, self._breaker, anyio.current_time())
        if wait:
            raise TargetUnavailable(f"{self.name} is left alone: {self._circuit.failures} failures in a row", wait)
        try:
            await self._post(event.id, body)
        except TargetUnavailable as error:
            error.after = self._failed(error, error.after or 0.0)
            raise
        except BaseException as error:  # a cancellation, too: the relay's time limit, before ours
            self._failed(error)
            raise
        if self._circuit.state is not State.CLOSED:
            logger.info("%s takes events again", self.name, extra=about())
        self._circuit = succeeded()

    async def aclose(self) -> None:
        """See `LastingPublisher.aclose`."""
        self._circuit = Circuit()  # its times are of an event loop
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.aclose()

    def _failed(self, error: BaseException, after: float = 0.0) -> float | None:
        """Tell the breaker; return the seconds for which the target is left alone now, None if it is not."""
        now, before = anyio.current_time(), self._circuit
        self._circuit = failed(before, self._breaker, now, after)
        if self._circuit.state is not State.OPEN:
            return None
        left = self._circuit.until - now
        if before.state is not State.OPEN:
            logger.warning("%s is left alone for %.3g s: %s", self.name, left, told(error), extra=about())
        return left

    async def _post(self, id: str, body: bytes) -> None:
        now = self._clock.now()
        timestamp = now // 1_000_000
        headers = {
            "Host": self._host,
            "Content-Type": "application/json",
            "User-Agent": "intendant",
            "webhook-id": id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signatures(self._keys, id, timestamp, body),
        }
        limits = {"timeout": {"connect": self._connect_timeout}}
        delivered = False
        try:
            with anyio.fail_after(self._timeout):
                request = self._connections().stream(
                    "POST", self._url, headers=list(_encoded(headers)), content=body, extensions=limits
                )
                async with request as response:
                    self._judge(response.status, response.headers, now)
                    delivered = True
                    await _drop_body(response)
        except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
            problem = str(error) or f"no answer within {self._connect_timeout:g} s"
            raise TargetUnavailable(f"{self.name}: no connection: {problem}") from error
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException) as error:
            raise DeliveryFailed(f"{self.name}: {str(error) or type(error).__name__}") from error
        except TimeoutError:
            if delivered:
                return
            raise DeliveryFailed(f"{self.name}: no answer within {self._timeout:g} s") from None

    def _connections(self) -> httpcore.AsyncConnectionPool:
        if self._pool is None:
            if self._tls is None and self._url.startswith("https:"):
                self._tls = httpcore.default_ssl_context()  # once: reading the authorities takes a while
            self._pool = httpcore.AsyncConnectionPool(
                ssl_context=self._tls,
                max_connections=None,  # the relay bounds them
                max_keepalive_connections=16,
                keepalive_expiry=5.0,
                network_backend=self._network,
            )
        return self._pool

    def _judge(self, status: int, headers: Iterable[tuple[bytes, bytes]], now: int) -> None:
        """Raise what an answer means, unless it is success."""
        if 200 <= status < 300:
            return
        told = f"{self.name} answered {status}"
        if status == _GONE:
            raise Undeliverable(f"{told}: it wants no events any more; take it out of the settings")
        if status in _BUSY:
            asked = next((value for name, value in headers if name.lower() == b"retry-after"), b"")
            raise TargetUnavailable(told, seconds_of(asked, now, self._retry_after))
        raise DeliveryFailed(f"{told}; redirects are not followed: correct the URL" if status // 100 == 3 else told)


class _CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were checked, and to nothing else."""

    def __init__(self, policy: AddressPolicy, resolve: Resolve) -> None:
        self._policy = policy
        self._resolve = resolve

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to one of the addresses of a name, in time. TLS asks for the name's certificate all the same."""
        until = anyio.current_time() + (timeout or 0.0)
        network = cast("httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend())
        addresses = await self._addresses(host, port, until)
        problem: Exception = httpcore.ConnectError(f"{host} stands for no address")
        for place, address in enumerate(addresses):
            share = (until - anyio.current_time()) / (len(addresses) - place)  # one that is silent is not to use it up
            try:
                return await network.connect_tcp(address, port, max(share, 0.0), local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                problem = error
        raise problem

    async def _addresses(self, host: str, port: int, until: float) -> list[str]:
        if (address := literal(host)) is not None:
            return self._policy.check(host, [address])
        try:
            with anyio.fail_after(until - anyio.current_time()):
                found = await self._resolve(host, port)
        except TimeoutError:
            raise httpcore.ConnectTimeout(f"{host} was not looked up in time") from None
        except OSError as error:
            raise httpcore.ConnectError(f"{host} can't be looked up: {error}") from error
        return self._policy.check(host, found)[:_ADDRESSES_MAX]

    async def sleep(self, seconds: float) -> None:
        """Sleep."""
        await anyio.sleep(seconds)


def body_of(event: Event) -> bytes:
    """What is posted for an event: JSON, the same bytes at each delivery."""
    moment = datetime.fromtimestamp(event.time / 1e6, UTC).isoformat(timespec="microseconds")
    return msgspec.json.encode(
        {
            "type": event.name,
            "timestamp": moment.replace("+00:00", "Z"),
            "data": event.payload,
            "id": event.id,
            "tenant": event.tenant,
            "session": event.session,
            "execution": event.execution_id,
            "position": event.position,
        }
    )


def seconds_of(asked: bytes, now: int, most: float) -> float | None:
    """What a Retry-After header asks for, in seconds and at most `most`; None where it says nothing. `now` in µs."""
    text = asked.decode("latin-1").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), most)
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max(moment.timestamp() - now / 1e6, 0.0), most)


async def _drop_body(response: httpcore.Response) -> None:
    """Read a body to its end if that is near; else its connection is closed. What it says matters to nobody."""
    left = ANSWER_BYTES
    with anyio.move_on_after(_ANSWER_SECONDS) as reading, suppress(httpcore.NetworkError, httpcore.ProtocolError):
        async for part in response.aiter_stream():
            left -= len(part)
            if left < 0:
                reading.cancel()  # ends what is nested below; leaving the loop would let it lie about


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _bad("can't be read; write https://host:port/path") from None
    if parts.scheme not in _PORTS:
        raise _bad("begins with https:// or http://")
    if "@" in parts.netloc:
        raise _bad("holds a user or password, which are not sent; the receiver knows us by the signature")
    if not parts.hostname or port == 0:
        raise _bad("names no host, or port 0")
    if parts.fragment or not url.isascii() or any(each <= " " for each in url):
        raise _bad("is plain ASCII without blanks and without a #fragment; write a host's name in its xn-- form")
    return parts


def _bad(problem: str) -> InvalidValue:
    return InvalidValue("webhook", f"the URL {problem}")  # and it is not shown: it may hold secrets


def _policy(parts: SplitResult, allow_private: bool | Sequence[str]) -> AddressPolicy:
    policy = AddressPolicy(allow_private)
    host = parts.hostname or ""
    if (address := literal(host)) is not None:
        try:
            policy.check(host, [address])
        except AddressRefused as error:
            raise _bad(f"can't be used: {error}") from None
    return policy


def _seconds(name: str, seconds: float) -> float:
    if not 0 < seconds <= 3600:
        raise InvalidValue("webhook", f"{name}={seconds}: it is a number of seconds, more than 0 and at most 3600")
    return seconds


def _encoded(headers: dict[str, str]) -> Iterable[tuple[bytes, bytes]]:
    return ((name.encode("ascii"), value.encode("ascii")) for name, value in headers.items())
