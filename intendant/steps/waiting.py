"""Sleeps and waits for signals of one run of a handler: what was recorded of them holds, else they are recorded now."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from intendant.domain.errors import InvalidValue
from intendant.domain.ids import check_id
from intendant.domain.payloads import SignalReceived, TimerSet
from intendant.domain.waits import WaitEnd
from intendant.steps.cancellation import Cancellation
from intendant.steps.forward import check_forward
from intendant.steps.recording import Recording
from intendant.steps.steps import Steps

DUE_MAX: Final = 1 << 53  # µs since 1970, in the year 2255: what every store can order
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Waiting:
    """What a handler waits for. May be used by several tasks of one event loop at once."""

    def __init__(self, recording: Recording, steps: Steps) -> None:
        self._recording = recording
        self._steps = steps
        self._events = steps.events

    async def sleep(self, delay: timedelta, key: str | None) -> None:
        """See `Context.sleep`."""
        microseconds = _microseconds(delay, "delay")
        path = self._steps.claim_wait("sleep()", key, "ctx.sleep(..., key=item_id)")
        if microseconds > 0 or path in self._recording.waits:
            await self._durably(path, "", lambda: _due(self._recording.now() + microseconds, "delay"))

    async def sleep_until(self, moment: datetime, key: str | None) -> None:
        """See `Context.sleep_until`."""
        given: Any = moment  # not every caller checks types
        if not isinstance(given, datetime) or given.tzinfo is None:
            raise InvalidValue("moment", f"must be a datetime with a time zone, not {moment!r:.60}")
        due = _due((moment - _EPOCH) // _MICROSECOND, "moment")
        path = self._steps.claim_wait("sleep_until()", key, "ctx.sleep_until(..., key=item_id)")
        if due > self._recording.now() or path in self._recording.waits:
            await self._durably(path, "", lambda: due)

    async def signal(self, name: str, type: Any, timeout: timedelta | None, key: str | None) -> Any:
        """See `Context.wait_signal`."""
        check_id(name, "signal name")
        limit = None if timeout is None else _microseconds(timeout, "timeout")
        if limit is not None and limit < 0:
            raise InvalidValue("timeout", f"must not be negative, not {timeout}")
        path = self._steps.claim_wait(f"signal({name})", key, f"ctx.wait_signal({name!r}, key=item_id)")

        def due() -> int:
            return 0 if limit is None else _due(self._recording.now() + limit, "timeout")

        end = await self._durably(path, name, due)
        if not isinstance(end, SignalReceived):
            raise TimeoutError(f"no signal {name!r} came within {timeout}")
        return _decode(end, type)

    def _durably(self, path: str, signal: str, due: Callable[[], int]) -> Awaitable[WaitEnd]:
        cancellation = self._recording.cancellation
        if cancellation is None:
            return self._wait(path, signal, due)
        return self._wait_cancelled(cancellation, path, signal, due)

    async def _wait_cancelled(
        self, cancellation: Cancellation, path: str, signal: str, due: Callable[[], int]
    ) -> WaitEnd:
        wait = self._recording.waits.get(path)
        recorded = wait is not None and not wait.timer.cleanup
        if recorded and not cancellation.struck and wait is not None and wait.end is None:
            cancellation.strike()
            return await self._wait(path, signal, due)  # which raises, and takes the wait back
        return await cancellation.run(lambda: self._wait(path, signal, due), recorded=recorded)

    async def _wait(self, path: str, signal: str, due: Callable[[], int]) -> WaitEnd:
        recorded = self._recording.waits.get(path)
        if recorded is None or recorded.end is None:
            check_forward()
        if recorded is not None:
            self._steps.reach(cleanup=recorded.timer.cleanup)
            end = await self._recording.wait(path, None)
        else:
            end = await self._record(path, signal, due())
        self._steps.note(end.at, recorded=recorded is None)
        return end

    async def _record(self, path: str, signal: str, due: int) -> WaitEnd:
        events, late = self._events.take(), self._steps.cleaning_up
        timer = TimerSet(path, self._recording.now(), due, signal, events, late)
        self._steps.note(timer.at, recorded=True)
        try:
            return await self._recording.wait(path, timer)
        except InvalidValue:
            self._events.put_back(timer.events)
            raise


def _microseconds(time: timedelta, what: str) -> int:
    if not isinstance(time, timedelta):  # pyright: ignore[reportUnnecessaryIsInstance]  # not every caller checks types
        raise InvalidValue(what, f"must be a timedelta, not {time!r:.60}; say timedelta(seconds=...)")
    return time // _MICROSECOND


def _due(due: int, what: str) -> int:
    if due >= DUE_MAX:
        raise InvalidValue(what, "must be over before the year 2255")
    return max(due, 1)


def _decode(signal: SignalReceived, type: Any) -> Any:
    try:
        return msgspec.msgpack.decode(signal.payload, type=type)
    except msgspec.ValidationError as error:
        raise InvalidValue(f"signal {signal.name!r} with id {signal.id!r}", f"does not fit {type!r}: {error}") from None
