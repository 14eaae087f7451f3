"""A pen to write logs with, as the WAL writer does: it numbers and sends what a check wants written."""

from __future__ import annotations

from typing import Final

from intendant.domain.commit import Batch, Commit, KeysTaken, Operation, Verdict, seal
from intendant.domain.ports import Log, Owner, Tenure
from intendant.domain.records import Record
from intendant.testing.conformance.promise import same

LEASE_S: Final = 60.0  # longer than any check
PATIENCE_S: Final = 20.0  # how long a check waits for what must come

# Ids that an adapter may confuse if it builds keys by joining, folds case, or leaves anything unquoted.
HOSTILE_IDS: Final = (
    "a",
    "A",
    "a:b",
    "a:b:c",
    "b",
    "b:c",
    "c",
    "{}",
    "{a}",
    "a{b}c",
    "a/b",
    "../a",
    "a b",
    "a'--",
    'a"b',
    "a%",
    "a*",
    "a\\b",
    "a\nb",
    "\u00e9",
    "e\u0301",
    "\u65e5\u672c",
    "\U0001f3ad",
    "\uffff",
    "1",
    "01",
    "..",
    "%41",  # which is A where somebody decodes it
    "\0",
    "a\0",
    "a\0b",
    "\u0430",  # a Cyrillic a, which looks like a Latin one
    "\uff41",  # a full-width a, which is one where somebody normalises
    "\u212a",  # the sign for kelvin, which is a K where somebody folds case
    "x" * 128,
    "x" * 10_000,
    "x" * 9_999 + "y",
)

# Of those, the ones that are taken for each other most easily: few enough to try all pairs.
CONFUSABLE_IDS: Final = (
    *("a", "A", "a:b", "a:b:c", "b", "b:c", "{a}", "a{b}c", "a/b", "..", "../a", "%41"),
    *("\0", "a\0", "a\0b", "\u0430", "\uff41", "x" * 10_000, "x" * 9_999 + "y"),
)


def owner(name: str = "a") -> Owner:
    """A process on another machine: nobody here can prove it dead."""
    return Owner(host=f"host-{name}", boot_id=f"boot-{name}", pid=4711, started="1")


def commit(tenant: str, *operations: Operation, records: int = 1, session: str = "s", execution: str = "x") -> Commit:
    """A commit with so many records and these operations."""
    record = Record("step_completed", session, execution, {"tenant": tenant})
    return Commit(tenant, [record] * records, operations)


class Pen:
    """Writes to a log under one tenure. `next` is the sequence that its next batch begins with."""

    def __init__(self, log: Log, tenure: Tenure) -> None:
        self.log = log
        self.tenure = tenure
        self.next = tenure.next_sequence
        self.time = tenure.last_time

    @classmethod
    async def take(cls, log: Log, name: str = "a", *, timeout: float = PATIENCE_S, lease: float = LEASE_S) -> Pen:
        """Acquire the log and return a pen for it."""
        return cls(log, await log.acquire(owner(name), timeout=timeout, lease=lease))

    def seal(self, *commits: Commit, time: int | None = None) -> Batch:
        """A batch that follows the last one; by default each is 10 µs later."""
        self.time = self.time + 10 if time is None else time
        tenure = self.tenure
        batch, _ = seal(
            commits, partition=tenure.partition, epoch=tenure.epoch, token=tenure.token, first=self.next, time=self.time
        )
        return batch

    async def send(self, batch: Batch) -> Verdict | KeysTaken:
        """Send a batch, and go on behind it if it was applied."""
        verdict = await self.log.commit(batch)
        if verdict is Verdict.OK:
            self.next = batch.first + batch.count
        return verdict

    async def write(self, *commits: Commit, time: int | None = None) -> Batch:
        """Seal and send what must be applied; return the batch."""
        batch = self.seal(*commits, time=time)
        same(await self.send(batch), Verdict.OK, f"the verdict for the batch at {batch.first}")
        return batch
