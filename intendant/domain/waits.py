"""What an execution waits for and what it was sent, folded from its journal: who took what. Pure.

The order of the log decides everything: a signal ends the oldest open wait for its name, and lies ready when there is
none; a wait takes the oldest signal that lies ready; a timer ends the wait it was set for unless a signal came first.
A cancel is sent like a signal, and ends no wait by itself: the handler that is told of it gives its waits up.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from intendant.domain.codec import digest
from intendant.domain.payloads import CancelRequested, Signal, SignalReceived, TimerFired, TimerSet

UNDELIVERED_MAX: Final = 1_000  # signals that an outcome lists

WaitRow = TimerSet | TimerFired | SignalReceived | CancelRequested
WaitEnd = TimerFired | SignalReceived


class Wait(Struct, gc=False):
    """A wait at one path, and what ended it; None while it is open."""

    timer: TimerSet
    end: WaitEnd | None = None


class Change(Struct, gc=False):
    """What a row brought about: waits that ended by it, timers that it set, timers that it took away."""

    ended: list[str] = []
    armed: list[TimerSet] = []
    disarmed: list[TimerSet] = []


class Waits(Struct, gc=False):
    """The waits of one execution by path, in the order they began, and the signals it was sent."""

    by_path: dict[str, Wait] = {}
    received: dict[str, bytes] = {}  # by id: a digest, in the order they came
    ready: dict[str, dict[str, SignalReceived]] = {}
    ready_count: int = 0
    cancelled: CancelRequested | None = None
    _open: dict[str, dict[str, None]] = {}  # paths, by signal's name

    def add(self, row: WaitRow) -> Change | None:
        """Fold one more row; None, and nothing changed, for one that no correct log can hold."""
        match row:
            case TimerSet():
                return self._begin(row)
            case TimerFired(withdrawn=False):
                return self._fire(row)
            case TimerFired():
                return self._withdraw(row)
            case SignalReceived():
                return self._receive(row)
            case CancelRequested():
                return self._cancel(row)

    def open_timers(self) -> list[TimerSet]:
        """Of the waits that are open and have a time to be over at: what stands in the index of timers."""
        return [wait.timer for wait in self.by_path.values() if wait.end is None and wait.timer.due]

    def undelivered(self) -> list[Signal]:
        """The signals that no wait has taken, in the order they came, at most 1,000 of them."""
        if not self.ready_count:
            return []
        ready = {id: signal for signals in self.ready.values() for id, signal in signals.items()}
        order = (ready[id] for id in self.received if id in ready)
        return [Signal(each.name, each.id, each.at) for each, _ in zip(order, range(UNDELIVERED_MAX), strict=False)]

    def forget_time_outs(self) -> None:
        """Another attempt of the handler begins: what ended by its time-out is waited for again."""
        for path in [path for path, wait in self.by_path.items() if _timed_out(wait)]:
            del self.by_path[path]

    def _begin(self, timer: TimerSet) -> Change | None:
        if timer.path in self.by_path or not (timer.due or timer.signal):
            return None
        change, wait = Change(), Wait(timer)
        self.by_path[timer.path] = wait
        signals = self.ready.get(timer.signal)
        if signals:
            wait.end = signals.pop(next(iter(signals)))
            self.ready_count -= 1
            change.ended.append(timer.path)
            if not signals:
                del self.ready[timer.signal]
            return change
        if timer.signal:
            self._open.setdefault(timer.signal, {})[timer.path] = None
        if timer.due:
            change.armed.append(timer)
        return change

    def _fire(self, fired: TimerFired) -> Change | None:
        wait = self.by_path.get(fired.path)
        if wait is None or wait.end is not None or not wait.timer.due:
            return None
        self._close(wait)
        wait.end = fired
        return Change(ended=[fired.path], disarmed=[wait.timer])

    def _withdraw(self, fired: TimerFired) -> Change | None:
        """The wait is as if it had not been; it may be begun again."""
        wait = self.by_path.get(fired.path)
        if wait is None or isinstance(wait.end, TimerFired):
            return None
        del self.by_path[fired.path]
        if wait.end is not None:
            return self._hand_on(wait.end, first=True)
        self._close(wait)
        return Change(disarmed=[wait.timer] if wait.timer.due else [])

    def _receive(self, signal: SignalReceived) -> Change | None:
        if signal.id in self.received:
            return None
        self.received[signal.id] = fingerprint(signal.name, bytes(signal.payload))
        return self._hand_on(signal, first=False)

    def _cancel(self, request: CancelRequested) -> Change | None:
        if self.cancelled is not None:
            return None
        self.cancelled = request
        return Change()

    def _hand_on(self, signal: SignalReceived, *, first: bool) -> Change:
        """Give a signal to the oldest wait for it; without one it lies ready, before or behind the others."""
        if paths := self._open.get(signal.name):
            wait = self.by_path[next(iter(paths))]
            self._close(wait)
            wait.end = signal
            return Change(ended=[wait.timer.path], disarmed=[wait.timer] if wait.timer.due else [])
        others = self.ready.get(signal.name, {})
        self.ready[signal.name] = {signal.id: signal, **others} if first else others
        if not first:
            others[signal.id] = signal
        self.ready_count += 1
        return Change()

    def _close(self, wait: Wait) -> None:
        paths = self._open.get(wait.timer.signal)
        if paths is not None:
            paths.pop(wait.timer.path, None)
            if not paths:
                del self._open[wait.timer.signal]


def fingerprint(name: str, payload: bytes) -> bytes:
    """What tells a signal's repetition from another one with the same id."""
    return digest(name.encode(), payload)


def _timed_out(wait: Wait) -> bool:
    return isinstance(wait.end, TimerFired) and wait.timer.signal != ""
