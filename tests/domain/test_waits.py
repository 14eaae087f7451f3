"""The fold of waits and signals: each signal is taken once at most, in order; each wait ends once, or not at all."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from intendant.domain.payloads import CancelRequested, SignalReceived, TimerFired, TimerSet
from intendant.domain.ports import IndexMember
from intendant.domain.waits import WaitRow, Waits
from intendant.domain.window import Timer, Window

NAMES = st.sampled_from(["", "a", "b"])
PATHS = st.sampled_from(["p", "q", "r", "s"])
ROWS = st.one_of(
    st.builds(TimerSet, PATHS, st.just(1), st.integers(0, 3), NAMES),
    st.builds(TimerFired, PATHS, st.just(2), st.booleans()),
    st.builds(
        SignalReceived, st.sampled_from(["a", "b"]), st.integers(0, 9).map(str), st.just(Raw(b"\xc0")), st.just(3)
    ),
    st.builds(CancelRequested, st.just(4)),
)


@dataclass
class Model:
    """The same rules, with lists, and no thought for speed."""

    waits: list[TimerSet] = field(default_factory=list[TimerSet])  # open, the oldest first
    ends: dict[str, tuple[TimerSet, TimerFired | SignalReceived]] = field(
        default_factory=dict[str, tuple[TimerSet, TimerFired | SignalReceived]]
    )
    ready: list[SignalReceived] = field(default_factory=list[SignalReceived])
    ids: list[str] = field(default_factory=list[str])
    cancelled: bool = False

    def open(self, path: str) -> TimerSet | None:
        return next((each for each in self.waits if each.path == path), None)

    def add(self, row: WaitRow) -> bool:
        if isinstance(row, SignalReceived):
            if row.id in self.ids:
                return False
            self.ids.append(row.id)
            self.ready.append(row)
        elif isinstance(row, TimerSet):
            if self.open(row.path) or row.path in self.ends or not (row.due or row.signal):
                return False
            self.waits.append(row)
        elif isinstance(row, CancelRequested):
            if self.cancelled:
                return False
            self.cancelled = True
        elif not self.end(row):
            return False
        self.match()
        return True

    def end(self, row: TimerFired) -> bool:
        wait, ended = self.open(row.path), self.ends.get(row.path)
        if wait is not None and (row.withdrawn or wait.due):
            self.waits.remove(wait)
            if not row.withdrawn:
                self.ends[row.path] = (wait, row)
            return True
        if row.withdrawn and ended is not None and isinstance(ended[1], SignalReceived):
            del self.ends[row.path]
            self.ready.insert(0, ended[1])
            return True
        return False

    def match(self) -> None:
        for signal in list(self.ready):
            wait = next((each for each in self.waits if each.signal == signal.name), None)
            if wait is not None:
                self.waits.remove(wait)
                self.ready.remove(signal)
                self.ends[wait.path] = (wait, signal)


@given(st.lists(ROWS, max_size=40))
def test_the_fold_is_that_of_the_model(rows: list[WaitRow]) -> None:
    waits, model, timers = Waits(), Model(), set[str]()
    for row in rows:
        change = waits.add(row)
        assert (change is not None) == model.add(row), row
        assert {path: wait.end for path, wait in waits.by_path.items() if wait.end} == {
            path: end for path, (_, end) in model.ends.items()
        }
        assert waits.ready_count == len(model.ready)
        assert (waits.cancelled is not None) == model.cancelled
        assert sorted(each.id for each in waits.undelivered()) == sorted(each.id for each in model.ready)
        order = list(waits.received)
        assert [each.id for each in waits.undelivered()] == sorted((each.id for each in model.ready), key=order.index)
        if change is not None:
            timers = (timers | {each.path for each in change.armed}) - {each.path for each in change.disarmed}
        assert timers == {each.path for each in waits.open_timers()}


@given(
    st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=60),
    st.integers(1, 5),
)
def test_a_window_tells_every_timer_once_and_in_time(changes: list[tuple[int, bool]], size: int) -> None:
    """Against an index that is all there: whatever the order of changes, what is due is taken, and nothing twice."""
    index: set[Timer] = set()
    window, told, now = Window(size), list[Timer](), 0

    def look() -> None:
        while True:
            found = window.take_due(now, 2)
            told.extend(found)
            index.difference_update(found)
            if window.next_due() is None and not window.whole:
                behind = sorted(each for each in index if window.reach is None or each > window.reach)[:size]
                window.load([IndexMember(*each) for each in behind])
            elif (due := window.next_due()) is None or due > now:
                return

    look()
    for number, (delay, add) in enumerate(changes):
        timer = (now + delay, "t", f"m{number}")
        if add or not index:
            index.add(timer)
            window.add(timer)
        else:
            gone = sorted(index)[delay % len(index)]
            index.discard(gone)
            window.remove(gone)
        now += delay % 3
        look()
        assert all(each[0] > now for each in index)
        assert len(window) <= 2 * size + 1
    assert len(told) == len(set(told))
