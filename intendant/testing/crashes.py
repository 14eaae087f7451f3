"""Crashes at chosen records: a store behind which a runtime dies, and another one goes on.

What a process loses when it dies is decided by the moment: the record that was being written, or only the answer that
it was written, or nothing but what the process had in memory.
"""

from __future__ import annotations

import enum
import inspect
import itertools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, cast

import msgspec
from msgspec import Struct

from intendant.domain.commit import Batch, KeysTaken, Verdict
from intendant.domain.ports import Log, Store, Tenure
from intendant.domain.records import SYSTEM_TENANT, LogRecord, decode_entry
from intendant.testing.faults import FaultyLog, FaultyStore

KEPT: Final = 10_000  # records that are kept for reports


class Lost(enum.StrEnum):
    """What is lost when the process dies at a record, besides what it had in memory."""

    NOTHING = "nothing"  # it is durable, and whoever wrote it was told
    REPLY = "reply"  # it is durable, and nobody was told
    RECORD = "record"  # it was not written


class Moment(Struct, frozen=True):
    """A record to die at: the `nth` that fits. `record` counts all, but for the runtime's own (`writer_opened`)."""

    record: int | None = None
    kind: str | None = None
    step: str | None = None
    nth: int = 1

    def fits(self, record: LogRecord) -> bool:
        """Whether a record is of this kind and of this step."""
        of_kind = self.kind is None or record.type == self.kind
        return of_kind and (self.step is None or self.step == _Path.of(record))

    def __str__(self) -> str:
        which = f"record {self.record}" if self.record is not None else self.kind or "the record"
        step = "" if self.step is None else f" of step {self.step}"
        return which + step + (f", number {self.nth}" if self.nth > 1 else "")


class Crash:
    """One death of the process that was asked for. `came` says whether it has died by now."""

    def __init__(self, moment: Moment | None, lost: Lost) -> None:
        self.came = False
        self.moment = moment
        self.lost = lost
        self.at: LogRecord | None = None  # the record that it died at
        self._seen = 0
        self._fitted = 0

    def meets(self, records: Sequence[LogRecord]) -> bool:
        """Count records that are about to be written; whether the process is to die at one of them."""
        moment = self.moment
        if moment is None or self.came:
            return False
        for record in records:
            self._seen += 1
            fits = self._seen == moment.record if moment.record is not None else moment.fits(record)
            self._fitted += fits
            if fits and self._fitted == moment.nth:
                self.came, self.at = True, record
        return self.came

    def __str__(self) -> str:
        if self.moment is None:
            return "nothing crashed"
        what = {"nothing": "which was durable and told", "reply": "whose reply was lost", "record": "which was lost"}
        where = str(self.moment) if self.at is None else f"{self.moment} ({describe(self.at)})"
        verb = "died" if self.came else "was to die"
        return f"the process {verb} at {where}, {what[self.lost]}"

    def __repr__(self) -> str:
        return f"<Crash: {self}>"


class CrashingStore(FaultyStore):
    """A store that a runtime dies behind: it refuses the dead one, which it is for `on_death` to take away.

    `witness` sees every batch twice: before it is applied, and after. `held` is entered while the store is at work,
    where it works in a thread or elsewhere.
    """

    def __init__(
        self,
        new: Callable[[], Store],
        on_death: Callable[[], None],
        held: Callable[[], AbstractContextManager[None]] | None,
    ) -> None:
        self._new = new
        self._held = held
        self._on_death = on_death
        super().__init__(self._open_new())
        self.crashes: list[Crash] = []
        self.witness: Witness | None = None
        self.batches: list[list[LogRecord]] = []  # what was written, but for the runtime's own records
        self._crashing: dict[int, CrashingLog] = {}

    def _open_new(self) -> Store:
        store = self._new()
        return store if self._held is None else cast("Store", Held(store, self._held))

    def begin_anew(self) -> None:
        """Go on over a new and empty store; only while it is closed."""
        self.inner = self._open_new()
        self._crashing.clear()
        self.crashes.clear()
        self.batches.clear()
        self.commits = self.reads = 0

    def moments(self) -> list[Moment]:
        """The last record of each commit by now."""
        ends = itertools.accumulate(len(batch) for batch in self.batches)
        return [Moment(record=end) for end in ends]

    def revive(self) -> None:
        """The next process begins."""
        self.dead = False

    def die(self) -> None:
        """The process is dead: nothing of it reaches the store any more."""
        if not self.dead:
            self.dead = True
            self._on_death()

    def check_alive(self) -> None:
        """What the dead read is seen by nobody."""

    def log(self, partition: int) -> CrashingLog:
        """The log of a partition."""
        if partition not in self._crashing:
            self._crashing[partition] = CrashingLog(self, self.inner.log(partition))
        return self._crashing[partition]

    async def commit(self, batch: Batch, log: Log) -> Verdict | KeysTaken:
        """Apply a batch, unless the process dies at it."""
        if self.dead:
            return Verdict.FENCED
        self.commits += 1
        records = [each for entry in batch.entries if entry[0] != SYSTEM_TENANT for each in decode_entry(entry[3])]
        deaths = {crash.lost for crash in self.crashes if crash.meets(records)}
        if Lost.RECORD in deaths:
            self.die()
            return Verdict.FENCED
        verdict = await self._apply(batch, records, log)
        if deaths:
            self.die()
        return Verdict.FENCED if Lost.REPLY in deaths or (self.dead and not deaths) else verdict

    async def _apply(self, batch: Batch, records: list[LogRecord], log: Log) -> Verdict | KeysTaken:
        if self.witness is not None:
            await self.witness.before(batch, records, log)
            if self.dead:
                return Verdict.FENCED
        verdict = await log.commit(batch)
        if verdict is Verdict.OK:
            if records and sum(map(len, self.batches)) < KEPT:
                self.batches.append(records)
            if self.witness is not None:
                await self.witness.after(batch, records, log)
        return verdict


class CrashingLog(FaultyLog):
    """The log of a CrashingStore."""

    def __init__(self, store: CrashingStore, inner: Log) -> None:
        super().__init__(store, inner)
        self._crashing = store

    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        """See `Log.commit`."""
        return await self._crashing.commit(batch, self.inner)

    async def renew(self, tenure: Tenure, next_sequence: int) -> Verdict:
        """See `Log.renew`."""
        return Verdict.FENCED if self._crashing.dead else await super().renew(tenure, next_sequence)


class Witness:
    """Sees what is written."""

    async def before(self, batch: Batch, records: Sequence[LogRecord], log: Log) -> None:
        """It is about to be."""

    async def after(self, batch: Batch, records: Sequence[LogRecord], log: Log) -> None:
        """It was."""


class Held:
    """A store or a log during whose async calls something is held."""

    def __init__(self, inner: Any, held: Callable[[], AbstractContextManager[None]]) -> None:
        self._inner = inner
        self._held = held

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name == "log":
            return self._log
        return self._holding(found) if inspect.iscoroutinefunction(found) else found

    def _log(self, partition: int) -> Held:
        return Held(self._inner.log(partition), self._held)

    def _holding(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*arguments: Any, **named: Any) -> Any:
            with self._held():
                return await function(*arguments, **named)

        return call


class _Path(Struct):
    """What records of steps and waits have."""

    path: str = ""

    @classmethod
    def of(cls, record: LogRecord) -> str:
        return msgspec.msgpack.decode(record.raw, type=cls).path


def describe(record: LogRecord) -> str:
    """A record in a few words: its type, and the path of its step."""
    path = _Path.of(record) if record.execution else ""
    return f"{record.type} {path}".rstrip()
