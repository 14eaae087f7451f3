"""Intents at the edge: what a caller gives, checked and encoded before anything is sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, overload

from msgspec import Struct

from intendant.actors.intents import encode_intent, encode_mapping
from intendant.actors.messages import PreparedIntent
from intendant.context import Context
from intendant.domain.codec import decode_plain, digest
from intendant.domain.errors import InvalidIntent
from intendant.domain.ids import check_id, make_id
from intendant.realm import Repertoire

P = TypeVar("P")
R_co = TypeVar("R_co", covariant=True)

INTENTS_MAX: Final = 512  # of one `submit_many`
METADATA_BYTES_MAX: Final = 16 * 1024
PRIORITY_MAX: Final = 100
CONCURRENCY_MAX: Final = 1_000_000
IDLE_MIN: Final = timedelta(milliseconds=1)
IDLE_MAX: Final = timedelta(days=3_660)
TIMEOUT_SECONDS_MAX: Final = 366 * 24 * 3600  # for an answer; waits for an end may be without one


class _Options(Struct, kw_only=True, eq=False):
    idempotency_key: str | None = None
    metadata: Mapping[str, Any] | None = None
    solution: str | None = None
    priority: int = 0


class Intent(_Options, Generic[R_co], eq=False):
    """A formal request, to be given to `submit_many`. `handler` is a registered function, or its type as text."""

    handler: Callable[[Context, Any], Awaitable[R_co]] | str
    parameters: Any

    if TYPE_CHECKING:  # that the parameters are the handler's, and what comes of it

        @overload
        def __init__(
            self,
            handler: Callable[[Context, P], Awaitable[R_co]],
            parameters: P,
            *,
            idempotency_key: str | None = None,
            metadata: Mapping[str, Any] | None = None,
            solution: str | None = None,
            priority: int = 0,
        ) -> None: ...
        @overload
        def __init__(
            self: Intent[Any],
            handler: str,
            parameters: Mapping[str, Any],
            *,
            idempotency_key: str | None = None,
            metadata: Mapping[str, Any] | None = None,
            solution: str | None = None,
            priority: int = 0,
        ) -> None: ...
        def __init__(self, handler: Any, parameters: Any, **options: Any) -> None: ...


def prepare_all(intents: Sequence[Intent[Any]], repertoire: Repertoire, now: int) -> tuple[PreparedIntent, ...]:
    """Check and encode intents that are to be submitted together. Raises InvalidIntent; touches nothing."""
    if not 1 <= len(intents) <= INTENTS_MAX:
        raise InvalidIntent("intents", f"must be 1 to {INTENTS_MAX} in one call, not {len(intents)}")
    prepared: list[PreparedIntent] = []
    for place, intent in enumerate(intents):
        if not isinstance(intent, Intent):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
            raise InvalidIntent(f"intents[{place}]", f"must be an Intent, not {type(intent).__name__}")
        prepared.append(prepare(intent, repertoire, now))
    return tuple(prepared)


def prepare(intent: Intent[Any], repertoire: Repertoire, now: int) -> PreparedIntent:
    """Check an intent and encode it. Raises InvalidIntent naming the field; touches nothing."""
    intent_type, parameters, handler = encode_intent(repertoire, intent.handler, intent.parameters)
    intent_id = make_id(now)
    key = intent_id if intent.idempotency_key is None else check_id(intent.idempotency_key, "idempotency_key")
    return PreparedIntent(
        id=intent_id,
        type=intent_type,
        key=key,
        parameters=parameters,
        metadata={} if intent.metadata is None else check_metadata(intent.metadata),
        solution=None if intent.solution is None else check_id(intent.solution, "solution"),
        priority=check_priority(intent.priority),
        digest=digest(intent_type.encode(), parameters),
        version=0 if handler is None else handler.version,
    )


def check_priority(priority: int) -> int:
    """Return a priority that can be; raises InvalidIntent for what is no whole number from -100 to 100."""
    if type(priority) is not int or abs(priority) > PRIORITY_MAX:
        raise InvalidIntent(
            "priority", f"must be a whole number from -{PRIORITY_MAX} to {PRIORITY_MAX}, not {priority!r}"
        )
    return priority


def check_concurrency(concurrency: int | None) -> int:
    """What a session is created with; raises InvalidIntent for what is no whole number from 1 on."""
    if concurrency is None:
        return 0
    if type(concurrency) is not int or not 1 <= concurrency <= CONCURRENCY_MAX:
        raise InvalidIntent("concurrency", f"must be a whole number from 1 to {CONCURRENCY_MAX:,}, not {concurrency!r}")
    return concurrency


def check_idle_timeout(idle: timedelta | None) -> int:
    """The same in µs, 0 for none; raises InvalidIntent for what is no timedelta from 1 ms to 3,660 days."""
    if idle is None:
        return 0
    if not isinstance(idle, timedelta):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
        raise InvalidIntent("idle_timeout", f"must be a timedelta, not {type(idle).__name__}")
    if not IDLE_MIN <= idle <= IDLE_MAX:
        raise InvalidIntent("idle_timeout", f"must be from 1 ms to {IDLE_MAX.days:,} days, not {idle}")
    return idle // timedelta(microseconds=1)


def check_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of metadata as it will be read back: plain values, which no caller can change any more."""
    copy: dict[str, Any] = decode_plain(encode_mapping(metadata, "metadata", METADATA_BYTES_MAX))
    return copy


@overload
def check_timeout(timeout: float, *, finite: bool = False) -> float: ...
@overload
def check_timeout(timeout: float | None, *, finite: bool = False) -> float | None: ...
def check_timeout(timeout: float | None, *, finite: bool = False) -> float | None:
    """Return a timeout that can be; raise InvalidIntent for what is no number of seconds from 0 on."""
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
        raise InvalidIntent("timeout", f"must be a number of seconds, not {type(timeout).__name__}")
    if not timeout >= 0 or (finite and timeout > TIMEOUT_SECONDS_MAX):
        limit = f"from 0 to {TIMEOUT_SECONDS_MAX:,}" if finite else "from 0 on"
        raise InvalidIntent("timeout", f"must be a number of seconds {limit}, not {timeout}")
    return timeout


def seconds_of(timeout: float | None, otherwise: float) -> float:
    """How long a call waits: as it says, checked, or as it is `otherwise`."""
    return otherwise if timeout is None else check_timeout(timeout, finite=True)
