"""Where events go: into a function of the program, to a URL, into a Redis stream.

Each is a `Publisher`, for `Runtime(publisher=...)`. Retries, the order within a session and dead letters are the
relay's, and the same for all: see docs/events.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from intendant.adapters.publishers.breaker import Breaker
from intendant.adapters.publishers.callback_publisher import Call, CallbackPublisher
from intendant.domain.errors import InvalidValue
from intendant.domain.ports import LastingPublisher

if TYPE_CHECKING:
    import ssl

__all__ = ["Breaker", "CallbackPublisher", "callback", "redis_stream", "webhook"]


def callback(call: Call, *, threads: int = 16) -> LastingPublisher:
    """Call a function with each event: an async one on the event loop, a plain one in one of `threads` threads.

    Returning settles the event; raising any Exception leaves it to be tried again. A thread can't be stopped: a
    function that is late is waited for, and its session waits with it. `Runtime(publisher=function)` without this
    calls a plain one on the event loop, where it must not block.
    """
    if not callable(call):
        raise InvalidValue("callback", f"{call!r:.80} is no function")
    if threads < 1:
        raise InvalidValue("callback", f"threads={threads}: it is 1 or more")
    return CallbackPublisher(call, threads=threads)


def redis_stream(url: str, *, stream: str = "intendant-events") -> LastingPublisher:
    """Add each event to a Redis stream, with the fields id, tenant, session, execution, name, position, time, payload.

    `payload` is JSON, `time` µs since 1970 UTC. An event may come twice: whoever reads keeps the ids. Nothing is ever
    trimmed here. An event is delivered when the server has answered, which is as durable as that server is. While it
    does not answer events wait, and no attempt is counted. `url` is written as for a hot store; of a cluster, any
    node. Raises InvalidValue for what can't be.
    """
    try:
        from intendant.adapters.publishers.stream_publisher import RedisStream  # noqa: PLC0415  its driver is optional
    except ModuleNotFoundError as error:
        raise InvalidValue("redis_stream", f"it needs {error.name}; install intendant[redis]") from error
    return RedisStream(url, stream=stream)


def webhook(
    url: str,
    *,
    secret: str | Sequence[str],
    allow_private: bool | Sequence[str] = False,
    timeout: float = 15.0,
    connect_timeout: float = 5.0,
    retry_after: float = 600.0,
    breaker: Breaker | None = None,
    tls: ssl.SSLContext | None = None,
) -> LastingPublisher:
    """Post each event to a URL as JSON, signed as Standard Webhooks says: webhook-id, -timestamp, -signature.

    `secret` is `whsec_` and the base64 of 24 to 64 bytes; several, while one takes another's place, give a signature
    each. The host's addresses must be public, or `allow_private`: True, or networks such as ["10.1.0.0/16"]; the
    address that was checked is the one that is connected to. No redirect is followed, no proxy used, and of an answer
    64 KiB at most are read. An exchange takes `timeout` seconds at most, of which connecting `connect_timeout`; keep
    both below `RelaySettings.deadline`.

    2xx settles an event, 410 makes it a dead letter at once; no connection, 429 and 503 are an outage, by which
    nothing is counted; anything else counts as an attempt. A Retry-After is kept to, up to `retry_after` seconds.
    After failures in a row the target is left alone, as `breaker` says. `tls` is how an https:// target is checked,
    by default against the public authorities. Raises InvalidValue for what can't be, and shows neither secret nor path.
    """
    try:
        from intendant.adapters.publishers.webhook_publisher import Webhook  # noqa: PLC0415  its driver is optional
    except ModuleNotFoundError as error:
        raise InvalidValue("webhook", f"it needs {error.name}; install intendant[webhook]") from error
    return Webhook(
        url,
        secret=secret,
        allow_private=allow_private,
        timeout=timeout,
        connect_timeout=connect_timeout,
        retry_after=retry_after,
        breaker=breaker,
        tls=tls,
    )
