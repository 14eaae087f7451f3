"""Faults planted in the protocol: each must be found, or the tests that found nothing prove nothing.

Each bug is a store, or a patch of an actor, that breaks one promise. `hunt` runs the scenarios of the other modules
over it, cut off and faulted in the same ways, and returns the first thing that is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import anyio
import msgspec
import pytest
from msgspec import Raw

from intendant.actors.execution import ExecutionActor
from intendant.actors.history import Accepted, History
from intendant.actors.live_recording import LiveRecording
from intendant.actors.ownership import Ownership
from intendant.actors.readings import Readings
from intendant.actors.touched import Touched
from intendant.actors.waits import ExecutionWaits
from intendant.actors.wal_writer import WalWriter
from intendant.adapters.memory import MemoryLog, MemoryStore
from intendant.adapters.process import current_owner
from intendant.domain import turns
from intendant.domain.commit import AddToIndex, Batch, Commit, KeysTaken, PutDocument, Receipt, Verdict, seal
from intendant.domain.errors import StoreUnavailable
from intendant.domain.journal import HANDLER, Journal, decode_journal_row
from intendant.domain.payloads import Failure, StateSet, StepCompleted, StepFailed
from intendant.domain.ports import Document, Log, OutboxItem, Owner, Tenure, Usage
from intendant.domain.records import LogRecord, Record
from intendant.domain.state import SESSION_STATE, TIMERS, timer_member
from intendant.parking import Reply
from intendant.runtime.event_stream import EventStream
from intendant.steps.session import SharedState
from tests.faults.faulty_store import Plan
from tests.faults.lives import Cut, Cutting, Lives
from tests.faults.planned_faults import FAULTS, Fault
from tests.faults.scenarios import Scenario
from tests.faults.stage import Stage
from tests.faults.virtual_time import run_virtual

Wrap = Callable[[MemoryStore], Any]


class Hunt:
    """One scenario, run in every way there is until something is wrong."""

    def __init__(self, stage: Stage, scenario: Scenario, wrap: Wrap | None) -> None:
        self._stage = stage
        self._scenario = scenario
        self._wrap = wrap
        reference = stage.lives(scenario)
        assert reference.live()
        self._wanted = reference.end()

    def run(self) -> str:
        """What is wrong; empty when nothing is."""
        lives = self._lives(None)
        cutting = Cutting(lives)
        return self._live(lives, "fault-free", cutting) or self._crashes(cutting.cuts) or self._faults(lives.commits)

    def _crashes(self, cuts: list[Cut]) -> str:
        for cut in cuts:
            lives = self._lives(cut)
            found = lives.violations()
            if found:
                return f"{self._scenario.name}, died {cut.when}: {found[0]}"
            if wrong := self._live(lives, f"died {cut.when}", None):
                return wrong
        return ""

    def _faults(self, commits: int) -> str:
        for number in range(2, commits + 1):
            for name, (place, error) in FAULTS.items():
                plan = Fault(number, place, error)
                if wrong := self._live(self._lives(None), f"{name}, commit {number}", plan):
                    return wrong
        return ""

    def _lives(self, cut: Cut | None) -> Lives:
        lives = self._stage.lives(self._scenario, cut=cut)
        if self._wrap is not None:
            lives.wrap = self._wrap
        return lives

    def _live(self, lives: Lives, when: str, plan: Plan | None) -> str:
        try:
            lives.live(plan)
        except BaseException as error:  # callers were told something that no correct runtime tells
            return f"{self._scenario.name}, {when}: {error!r}"
        found = lives.violations() + lives.differences(self._wanted)
        return f"{self._scenario.name}, {when}: {found[0]}" if found else ""


def hunt(stage: Stage, wrap: Wrap | None = None, *, first: tuple[str, ...] = ()) -> str:
    """Run all but the largest scenarios in every way there is; returns the first thing that is wrong.

    `first` names those to begin with, by how their names begin.
    """
    for scenario in sorted(stage.scenarios, key=lambda each: not each.name.startswith(first)):
        if not scenario.large and (found := Hunt(stage, scenario, wrap).run()):
            return found
    return ""


# --- stores that break a promise


class BuggyLog(MemoryLog):
    """A log in memory, over another one's data."""

    def __init__(self, inner: MemoryLog) -> None:
        super().__init__(inner.shared)
        self.inner = inner

    def __getattribute__(self, name: str) -> Any:
        if name in {"_life", "_seam"}:  # it lives as long as the one it stands for
            return getattr(object.__getattribute__(self, "inner"), name)
        return object.__getattribute__(self, name)


class BuggyStore:
    """A store whose log breaks a promise."""

    def __init__(self, inner: MemoryStore, log: Callable[[MemoryLog], Log]) -> None:
        self._inner = inner
        self._log = log(inner.log(0))
        self.name = inner.name
        self.partitions = 1
        self.durability = inner.durability
        self.apart = inner.apart
        self.loss_window = inner.loss_window

    async def usage(self) -> Usage:
        return await self._inner.usage()

    async def open(self) -> None:
        await self._inner.open()

    async def close(self) -> None:
        await self._inner.close()

    def log(self, partition: int) -> Log:
        return self._log


def over(log: Callable[[MemoryLog], Log]) -> Wrap:
    return lambda store: BuggyStore(store, log)


class AcknowledgesBeforeCommit(BuggyLog):
    """Says OK at once, and applies the batch when it is next asked anything."""

    late: Batch | None = None

    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        await self._catch_up()
        verdict = self.shared.partition.judge(batch)
        taken = self.shared.partition.taken(batch) if verdict is Verdict.OK else None
        if verdict is Verdict.OK and taken is None:
            self.late = batch
        return taken or verdict

    async def document(self, tenant: str, collection: str, key: str) -> Document | None:
        await self._catch_up()
        return await self.inner.document(tenant, collection, key)

    async def outbox(self, *, after: int = 0, limit: int = 256, tenant: str | None = None) -> list[OutboxItem]:
        await self._catch_up()
        return await self.inner.outbox(after=after, limit=limit, tenant=tenant)

    async def release(self, tenure: Tenure) -> None:
        await self._catch_up()
        await self.inner.release(tenure)

    async def _catch_up(self) -> None:
        late, self.late = self.late, None
        if late is not None:
            await self.inner.commit(late)


class OutboxOutsideTheCommit(BuggyLog):
    """Adds a batch's events in a second move, after the reply."""

    events: Batch | None = None

    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        if self.events is not None:
            events, self.events = self.events, None
            for item in events.outbox_adds:
                self.shared.partition.apply(_only_outbox(events, item))
        verdict = await self.inner.commit(msgspec.structs.replace(batch, outbox_adds=()))
        if verdict is Verdict.OK and batch.outbox_adds:
            self.events = batch
        return verdict


def _only_outbox(batch: Batch, item: tuple[int, str, str, int, bytes]) -> Batch:
    return Batch(
        batch.partition, batch.epoch, batch.token, 0, 0, 0, b"", (), (), (), (), (), (), (), (), (), (item,), (), {}
    )


class KeysWithoutTenant(BuggyLog):
    """Claims keys for all tenants at once."""

    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        claims = [("", key, value) for _, key, value in batch.claims]
        verdict = await self.inner.commit(msgspec.structs.replace(batch, claims=claims))
        if isinstance(verdict, KeysTaken):
            by_key = {key: value for (_, key), value in verdict.taken.items()}
            return KeysTaken({(of, key): by_key[key] for of, key, _ in batch.claims if key in by_key})
        return verdict

    async def key(self, tenant: str, key: str) -> bytes | None:
        return await self.inner.key("", key)


class DocumentsWithoutTenant(BuggyLog):
    """Keeps one document of a key, whosever it is."""

    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        puts = tuple(("", *put[1:]) for put in batch.puts)
        deletes = tuple(("", *place[1:]) for place in batch.deletes)
        return await self.inner.commit(msgspec.structs.replace(batch, puts=puts, deletes=deletes))

    async def document(self, tenant: str, collection: str, key: str) -> Any:
        return await self.inner.document("", collection, key)


class AppliesHalf(BuggyLog):
    """Loses the journal's rows of a batch: not whole, and not nothing."""

    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        return await self.inner.commit(msgspec.structs.replace(batch, journal=[]))


class AppliesRepeats(BuggyLog):
    """Applies a batch that comes a second time once more."""

    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        verdict = await self.inner.commit(batch)
        if verdict is Verdict.DUP:
            self.shared.partition.apply(batch)
        return verdict


STORES: dict[str, Callable[[MemoryLog], Log]] = {
    "acknowledges before the commit": AcknowledgesBeforeCommit,
    "outbox outside of the commit": OutboxOutsideTheCommit,
    "keys without their tenant": KeysWithoutTenant,
    "documents without their tenant": DocumentsWithoutTenant,
    "half a batch": AppliesHalf,
    "repeats are applied again": AppliesRepeats,
}


def test_without_a_bug_nothing_is_found(stage: Stage) -> None:
    found = hunt(replace(stage, scenarios=stage.scenarios[:3]), over(lambda log: log))
    assert found == ""


@pytest.mark.parametrize("bug", STORES)
def test_a_planted_store_is_found(stage: Stage, bug: str) -> None:
    found = hunt(stage, over(STORES[bug]))
    print(f"\n{bug}: {found:.300}")
    assert found


# --- actors that break a promise


async def record_without_waiting(self: Any, step: StepCompleted | StepFailed) -> None:
    """The step's result is used before it is recorded."""
    commits: list[Commit] = []

    class Taking:
        def append(self, commit: Commit) -> Reply[Receipt]:
            commits.append(commit)
            reply: Reply[Receipt] = Reply()
            reply.set(Receipt(0, 0))
            return reply

    history: Any = self.history
    services: Any = getattr(history, "_services")  # noqa: B009
    vars(history)["_services"] = msgspec.structs.replace(services, writer=Taking())
    try:
        await _record_step(self, step)
    finally:
        vars(history)["_services"] = services
    for commit in commits:
        services.writer.append(commit)


_record_step = LiveRecording.record_step
_end = History.end
_seal = getattr(WalWriter, "_seal")  # noqa: B009  private to all but those who break it


def end_twice(self: Any, *arguments: Any) -> Any:
    """The terminal record is written twice."""
    _end(self, *arguments)
    _end(self, *arguments)


async def renumber_and_retry(self: Any, batch: Batch) -> Any:
    """After a lost reply the batch is numbered anew, behind what the store holds by now, and sent again."""
    try:
        return await self._log.commit(batch)
    except StoreUnavailable:
        commits = self.last_commits
        first = self._log.inner.shared.partition.ownership.next_sequence if batch.first > 1 else batch.first
        again, _ = seal(commits, partition=0, epoch=batch.epoch, token=batch.token, first=first, time=batch.time)
        await anyio.sleep(0.01)
        verdict = await self._log.commit(again)
        self.next = again.first
        return Verdict.OK if isinstance(verdict, KeysTaken) else verdict


def seal_and_remember(self: Any, appends: Any) -> Any:
    self._ownership.last_commits = [append.commit for append in appends]
    return _seal(self, appends)


_receive = ExecutionWaits.receive
_append = getattr(ExecutionWaits, "_append")  # noqa: B009


def receive_at_once(self: Any, name: str, id: str, payload: bytes) -> Reply[None]:
    """A signal's sender is told before it is durable."""
    _receive(self, name, id, payload)
    reply: Reply[None] = Reply()
    reply.set(None)
    return reply


def tell_at_once(self: Any, row: Any, outbox: Any = None) -> Any:
    """A wait ends before that is durable."""
    reply = _append(self, row, outbox)
    getattr(self, "_landing").clear()  # noqa: B009
    for waiter in getattr(self, "_standing").values():  # noqa: B009
        if not waiter.done():
            waiter.set_result(None)
    return reply


_cancel = ExecutionWaits.cancel
_take_journal = getattr(History, "_take_journal")  # noqa: B009
_read_some = getattr(Readings, "_read")  # noqa: B009
_attempt_failed = getattr(ExecutionActor, "_attempt_failed")  # noqa: B009
_journal_of = Journal.of


def cancel_at_once(self: Any) -> Reply[None]:
    """A cancel is acknowledged before it is durable."""
    _cancel(self)
    reply: Reply[None] = Reply()
    reply.set(None)
    return reply


def tell_the_handler_at_once(self: Any) -> Reply[None]:
    """The handler is told of a cancel that is not durable."""
    reply = _cancel(self)
    getattr(self, "_on_cancelled")()  # noqa: B009
    return reply


def forget_cancel(self: Any, journal: Journal) -> None:
    """What is resumed knows nothing of its cancel."""
    _take_journal(self, journal)
    self.journal.waits.cancelled = None


async def read_no_journals(self: Any, some: Any) -> Any:
    """What is read of many lacks what they have recorded."""
    return [each and Accepted(each.state, each.since, Journal()) for each in await _read_some(self, some)]


def forget_clean_up(stored: Any) -> Journal:
    """What is resumed knows nothing of the steps of its clean-up."""
    return _journal_of(row for row in stored if not getattr(decode_journal_row(row), "cleanup", False))


async def try_again(self: Any, handler: Any, error: Exception, context: Any) -> bool:
    """An attempt that failed is to be followed by another one, cancelled or not."""
    if context.attempt == 1:
        with anyio.CancelScope(shield=True):
            failed = StepFailed(HANDLER, Failure("again", str(error)), self.recording.now(), final=False)
            await self.recording.record_step(failed)
    return bool(await _attempt_failed(self, handler, error, context))


def forget_signals(self: Any) -> tuple[list[Any], int]:
    """An end lists no undelivered signal."""
    return [], 0


def begin_unarmed(self: Any, timer: Any) -> Any:
    """A timer is not set for when it is due."""
    return AddToIndex(TIMERS, timer_member(self._execution, timer.path), timer.due + 1)


_share = SharedState.__init__


def set_state_behind_the_end(self: Any, payload: Any, shared: bytes | None = None) -> None:
    """A session's state is set in a commit of its own, once the execution's end is durable."""

    def set_state(_ended: object) -> None:
        assert shared is not None
        state = self.state
        record = Record("state_set", state.session, state.id, StateSet(SESSION_STATE, state.session, Raw(shared)))
        put = PutDocument(SESSION_STATE, state.session, shared)
        getattr(self, "_services").writer.append(Commit(state.tenant, [record], [put]))  # noqa: B009

    if shared is not None:
        getattr(self, "_place").wait_end().on_settled(set_state)  # noqa: B009
    _end(self, payload)


def set_by_anybody(self: Any, recording: Any, steps: Any, type: str, *, exclusive: bool) -> None:
    """A handler that is not exclusive sets its session's state."""
    _share(self, recording, steps, type, exclusive=True)


def admit_beside_exclusive(self: Any, contender: Any) -> bool:
    """An exclusive handler does not run alone in its session."""
    return bool(self.begun < self.concurrency)


_committed = Touched.committed
_take = getattr(EventStream, "_take")  # noqa: B009


def trust_in_being_told(self: Any, batch: Batch) -> None:
    """Nobody looks whether a writer that crashed had committed something."""
    self._next = batch.first
    _committed(self, batch)


def take_one_of_each(self: Any, record: LogRecord) -> None:
    """Of each record the first thing is told: a record is taken for one event."""
    before = len(self._found)
    _take(self, record)
    while len(self._found) > before + 1:
        self._found.pop()


ACTORS: dict[str, list[tuple[type, str, Any]]] = {
    "a step is used before it is recorded": [(LiveRecording, "record_step", record_without_waiting)],
    "a terminal record twice": [(History, "end", end_twice)],
    "a signal is acknowledged before it is durable": [(ExecutionWaits, "receive", receive_at_once)],
    "a wait ends before that is durable": [(ExecutionWaits, "_append", tell_at_once)],
    "a timer is set for another time": [(ExecutionWaits, "_arm", begin_unarmed)],
    "signals are forgotten": [(History, "undelivered", forget_signals)],
    "a stream misses what a crashed writer committed": [(Touched, "committed", trust_in_being_told)],
    "a stream tells one thing of each record": [(EventStream, "_take", take_one_of_each)],
    "a cancel is acknowledged before it is durable": [(ExecutionWaits, "cancel", cancel_at_once)],
    "a handler is told of a cancel before it is durable": [(ExecutionWaits, "cancel", tell_the_handler_at_once)],
    "a cancel is forgotten at a resume": [(History, "_take_journal", forget_cancel)],
    "what was recorded is forgotten where many are read": [(Readings, "_read", read_no_journals)],
    "a clean-up's steps run twice": [(Journal, "of", staticmethod(forget_clean_up))],
    "another attempt follows a cancel": [(ExecutionActor, "_attempt_failed", try_again)],
    "a session's state is set behind the end": [(History, "end", set_state_behind_the_end)],
    "a session's state is set by anybody": [(SharedState, "__init__", set_by_anybody)],
    "an exclusive handler is not alone": [(getattr(turns, "_Lane"), "admits", admit_beside_exclusive)],  # noqa: B009
    "a lost reply is answered with new numbers": [
        (Ownership, "_commit", renumber_and_retry),
        (WalWriter, "_seal", seal_and_remember),
    ],
}


SHOWS_IN = {  # scenarios where it is looked for first: all of them take long
    "a step is used before it is recorded": ("resting",),
    "a signal is acknowledged before it is durable": ("signalled",),
    "a wait ends before that is durable": ("timed-out",),
    "a timer is set for another time": ("napping",),
    "signals are forgotten": ("forked-signalled",),
    "a stream misses what a crashed writer committed": ("followed",),
    "a stream tells one thing of each record": ("followed",),
    "a cancel is acknowledged before it is durable": ("cancelled-in-sleep",),
    "a handler is told of a cancel before it is durable": ("cancelled-in-step",),
    "a cancel is forgotten at a resume": ("cancelled-in-step",),
    "what was recorded is forgotten where many are read": ("steps",),
    "a clean-up's steps run twice": ("cancelled-in-step",),
    "another attempt follows a cancel": ("cancelled-failing",),
    "a session's state is set behind the end": ("counted",),
    "a session's state is set by anybody": ("counted",),
    "an exclusive handler is not alone": ("counted",),
}


@pytest.mark.parametrize("bug", ACTORS)
def test_a_planted_actor_is_found(stage: Stage, bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        for place, name, planted in ACTORS[bug]:
            patch.setattr(place, name, planted)
        found = hunt(stage, first=SHOWS_IN.get(bug, ()))
    print(f"\n{bug}: {found:.300}")
    assert found


# --- the fence: two processes, one of which does not know yet that it has lost


class NoFence(BuggyLog):
    """Looks at the numbers of a batch, and not at who sends it."""

    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        ownership = self.shared.partition.ownership
        return await self.inner.commit(
            msgspec.structs.replace(batch, epoch=ownership.epoch, token=ownership.token, first=ownership.next_sequence)
        )


class NoToken(BuggyLog):
    """Compares epochs only, and gives the next owner the same one: as after a fail-over that lost data."""

    async def acquire(self, owner: Owner, *, timeout: float, lease: float, above: int = 0) -> Tenure:
        epoch = self.shared.partition.ownership.epoch
        tenure = await self.inner.acquire(owner, timeout=timeout, lease=lease, above=above)
        self.shared.partition.ownership.epoch = max(epoch, 1)
        return msgspec.structs.replace(tenure, epoch=max(epoch, 1))

    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        ownership = self.shared.partition.ownership
        if batch.epoch != ownership.epoch:
            return Verdict.FENCED
        return await self.inner.commit(msgspec.structs.replace(batch, token=ownership.token))


async def break_in(log: Callable[[MemoryLog], Log]) -> list[str]:
    """A process sleeps past its lease, another takes over, the first goes on: what it gets in, in words."""
    found: list[str] = []
    store = MemoryStore()
    twin = store.twin()
    await store.open()
    await twin.open()
    first, second = log(store.log(0)), log(twin.log(0))
    old = await first.acquire(current_owner(), timeout=0.0, lease=1.0)
    verdict = await first.commit(_batch(old, old.next_sequence, "old"))
    assert verdict is Verdict.OK
    await anyio.sleep(2.0)
    new = await second.acquire(current_owner(), timeout=5.0, lease=1.0)
    late = [await first.commit(_batch(old, new.next_sequence - back, "late")) for back in (0, 1)]
    if late != [Verdict.FENCED, Verdict.FENCED]:
        found.append(f"batches of epoch {old.epoch} are answered {late} in epoch {new.epoch}")
    document = await second.document("acme", "session_data", "s")
    if document is None or document.body != msgspec.msgpack.encode("old"):
        found.append("a fenced owner has written")
    await first.release(old)
    if await second.commit(_batch(new, new.next_sequence, "new")) is not Verdict.OK:
        found.append("the new owner can't write")
    return found


def _batch(tenure: Tenure, first: int, value: str) -> Batch:
    body = msgspec.msgpack.encode(value)
    record = Record("state_set", "s", "", StateSet("session_data", "s", msgspec.Raw(body)))
    commit = Commit("acme", [record], [PutDocument("session_data", "s", body)])
    batch, _ = seal([commit], partition=0, epoch=tenure.epoch, token=tenure.token, first=first, time=1)
    return batch


@pytest.mark.parametrize("planted", [None, NoFence, NoToken])
def test_a_missing_fence_is_found(stage: Stage, planted: Callable[[MemoryLog], Log] | None) -> None:
    found: list[str] = []

    async def main() -> None:
        found.extend(await break_in(planted or (lambda log: log)))

    run_virtual(stage.backend, main)
    assert bool(found) == (planted is not None), found
