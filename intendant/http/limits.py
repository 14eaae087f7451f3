"""What a caller may ask of the HTTP API at most."""

from __future__ import annotations

from msgspec import Struct


class HttpLimits(Struct, frozen=True):
    """Bytes and seconds of a head and of a body; seconds for an answer, a wait and a write; how much goes on at a time.

    More than `requests` at a time are answered 503, more than `requests_of_tenant` or `streams_of_tenant` of one tenant
    429, both at once and with `Retry-After`. Heads are bounded by `serve`, and where the application is mounted by the
    server there: a connection without a whole head is closed after `head_seconds`, also between requests. One that
    takes nothing of an answer, or of a stream's event, is given up after `send_seconds`; `serve` has it closed by the
    system then, on Linux.
    """

    head_bytes: int = 16 * 1024
    head_seconds: float = 10.0
    body_bytes: int = 256 * 1024
    body_seconds: float = 10.0
    seconds: float = 30.0
    wait_seconds: float = 60.0
    send_seconds: float = 30.0
    keep_alive_seconds: float = 15.0
    requests: int = 1_024
    requests_of_tenant: int = 512
    streams_of_tenant: int = 64
