"""The WAL writer: the only one that writes a partition's log.

It gathers commits while one batch flies and seals what has gathered when that batch has landed: group commit without
a timer. A batch is sent again, unchanged, until its outcome is known; it is never cancelled in flight. What accepted
executions commit goes ahead of new acceptances and is never refused.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Final

import anyio
from msgspec import Struct

from intendant.actors.mailbox import Mailbox
from intendant.domain.codec import COMMIT_BYTES_MAX
from intendant.domain.commit import (
    RECORDS_MAX,
    Batch,
    ClaimKey,
    Commit,
    KeysTaken,
    Receipt,
    Verdict,
    check_commit,
    seal,
)
from intendant.domain.errors import (
    AcknowledgedDataMissing,
    ActorStopped,
    Fenced,
    IntendantError,
    InternalError,
    StoreUnavailable,
)
from intendant.domain.payloads import WriterOpened
from intendant.domain.ports import Clock, Log, Owner, Tenure
from intendant.domain.records import SYSTEM_TENANT, Record
from intendant.parking import Reply, Seam
from intendant.supervisor import Backoff, Started

logger = logging.getLogger("intendant.wal")

_LAST_WORDS_SECONDS: Final = 5.0  # how long a cancelled writer waits for the batch in flight


class KeyClaimed(IntendantError):
    """The commit was not applied: some of its keys are taken. `taken` has what they were claimed with."""

    code = "key_claimed"

    def __init__(self, taken: dict[str, bytes]) -> None:
        super().__init__(f"keys are taken: {', '.join(sorted(taken))}")
        self.taken = taken


class Append(Struct, frozen=True, gc=False):
    """Commit this and answer with its receipt, or with KeyClaimed, Fenced, ActorStopped."""

    commit: Commit
    reply: Reply[Receipt]
    size: int


class WriterSettings(Struct, frozen=True):
    """Seconds, except `capacity`: how many new acceptances may wait to be committed."""

    takeover_timeout: float = 5.0
    lease: float = 10.0
    capacity: int = 10_000
    retry: Backoff = Backoff(initial=0.02, maximum=1.0)


class WalWriter:
    """Serializes every write to one partition. `run` is its life; a restart acquires the partition anew."""

    def __init__(
        self,
        log: Log,
        owner: Owner,
        partition: int,
        *,
        clock: Clock,
        seam: Seam,
        settings: WriterSettings,
        on_committed: Callable[[Batch], None] = lambda _batch: None,
    ) -> None:
        self.partition = partition
        self.commits = 0  # batches that were committed, and
        self.records = 0  # records in them, since this process began
        self._log = log
        self._owner = owner
        self._clock = clock
        self._seam = seam
        self._settings = settings
        self._on_committed = on_committed
        self._mailbox: Mailbox[Append] = Mailbox(f"wal-writer[{partition}]", settings.capacity)
        self._parking = seam.parking()
        self.serving = False
        self._stopping = False
        self._acquiring = anyio.CancelScope()
        self._tenure: Tenure
        self._next = 0
        self._last_time = 0
        self._renewed = 0.0

    @property
    def depth(self) -> int:
        """How many commits wait."""
        return len(self._mailbox)

    @property
    def committed(self) -> int:
        """The sequence of the newest committed record."""
        return self._next - 1

    def append(self, commit: Commit, reply: Reply[Receipt] | None = None) -> Reply[Receipt]:
        """Commit what accepted work needs; never refused for lack of room. Raises InvalidValue when it is too large."""
        append = Append(commit, reply or Reply(), check_commit(commit))
        if self._admits(append):
            self._mailbox.put_control(append)
            self._parking.wake()
        return append.reply

    def accept(self, commit: Commit, reply: Reply[Receipt] | None = None) -> Reply[Receipt]:
        """Commit new work. Raises Overloaded when too much waits already, InvalidValue when it is too large."""
        append = Append(commit, reply or Reply(), check_commit(commit))
        if self._admits(append):
            self._mailbox.put(append)
            self._parking.wake()
        return append.reply

    async def commit(self, commit: Commit) -> Receipt:
        """Append and wait. A cancelled wait takes nothing back."""
        return await self.append(commit).wait(self._seam)

    def stop(self) -> None:
        """Commit what waits, release the partition, end."""
        self._stopping = True
        self._acquiring.cancel()
        self._parking.wake()

    async def run(self, task_status: Started) -> None:
        """Own the partition and write, until stopped. Raises Fenced or AcknowledgedDataMissing when it must not go on.

        However it ends, every commit that waits is answered; one in flight is left to be found at the next resume.
        """
        self._stopping = False
        self._acquiring = anyio.CancelScope()
        try:
            with self._acquiring:
                await self._acquire()
            if self._acquiring.cancelled_caught:
                return  # it was stopped while it stood by
            self.serving = True
            async with anyio.create_task_group() as group:
                group.start_soon(self._heartbeat)
                await self._write_opened()
                task_status.started(self)
                await self._write()
                group.cancel_scope.cancel()
            await self._log.release(self._tenure)
        except BaseExceptionGroup as error:
            single = _single(error)
            raise single from single.__cause__  # not from the group that holds it: a chain must not lead in a circle
        finally:
            self.serving = False
            self._abandon(self._mailbox.clear())

    async def _acquire(self) -> None:
        tenure = await self._granted()
        self._tenure = tenure
        self._next = tenure.next_sequence
        self._last_time = tenure.last_time
        self._renewed = self._seam.time()

    async def _granted(self) -> Tenure:
        """Become the owner. Whoever was it before waits out an outage of the store; at first, an outage is an error."""
        settings = self._settings
        attempt = 0
        while True:
            try:
                return await self._log.acquire(self._owner, timeout=settings.takeover_timeout, lease=settings.lease)
            except StoreUnavailable as error:
                if not self.commits:
                    raise
                attempt += 1
                delay = settings.retry.delay(attempt, lambda: 0.5)
                logger.warning("partition %d can't be taken, trying again in %.2f s: %s", self.partition, delay, error)
            await anyio.sleep(delay)

    async def _write_opened(self) -> None:
        opened = WriterOpened(self._owner.host, self._owner.pid, self._clock.now())
        commit = Commit(SYSTEM_TENANT, [Record("writer_opened", "", "", opened)], ())
        await self._land([Append(commit, Reply(), check_commit(commit))])

    async def _write(self) -> None:
        while True:
            while gathered := self._gather():
                await self._land(gathered)
            if self._stopping:
                return
            await self._parking.wait()

    def _gather(self) -> list[Append]:
        """Take the next batch: bounded, and with each key claimed once, because the store must tell who was first."""
        gathered: list[Append] = []
        claimed: set[tuple[str, str]] = set()
        records = size = 0
        mailbox = self._mailbox
        while mailbox:
            append = mailbox.take()
            commit = append.commit
            records += len(commit.records)
            size += append.size
            keys = {(commit.tenant, each.key) for each in commit.operations if isinstance(each, ClaimKey)}
            if gathered and (records > RECORDS_MAX or size > COMMIT_BYTES_MAX or not claimed.isdisjoint(keys)):
                mailbox.put_back(append)
                break
            claimed |= keys
            gathered.append(append)
        return gathered

    async def _land(self, appends: list[Append]) -> None:
        """Commit these as one batch. What keys are taken from is answered, and the rest numbered and sent again."""
        try:
            while appends:
                batch, receipts = self._seal(appends)
                verdict = await self._send(batch)
                if not isinstance(verdict, KeysTaken):
                    self._check(verdict, batch)
                    self._landed(batch, appends, receipts)
                    return
                appends = _refuse(appends, verdict)
        except BaseException:
            self._abandon(appends)
            raise

    def _landed(self, batch: Batch, appends: list[Append], receipts: list[Receipt]) -> None:
        self._next = batch.first + batch.count
        self._last_time = batch.time
        self._renewed = self._seam.time()
        self.commits += 1
        self.records += batch.count
        for append, receipt in zip(appends, receipts, strict=True):
            append.reply.set(receipt)
        self._on_committed(batch)

    def _seal(self, appends: list[Append]) -> tuple[Batch, list[Receipt]]:
        return seal(
            [append.commit for append in appends],
            partition=self.partition,
            epoch=self._tenure.epoch,
            token=self._tenure.token,
            first=self._next,
            time=max(self._last_time, self._clock.now()),
        )

    async def _send(self, batch: Batch) -> Verdict | KeysTaken:
        """Send the same batch until the store has told what became of it. Cancelling waits a little for the answer."""
        with anyio.CancelScope(shield=True) as scope:
            attempt = 0
            while True:
                try:
                    return await self._log.commit(batch)
                except StoreUnavailable as error:
                    attempt += 1
                    delay = self._settings.retry.delay(attempt, lambda: 0.5)
                    logger.warning("the log does not answer, trying again in %.2f s: %s", delay, error)
                if self._stopping:
                    scope.deadline = min(scope.deadline, anyio.current_time() + _LAST_WORDS_SECONDS)
                await anyio.sleep(delay)
        raise ActorStopped("the log did not answer before the writer had to stop")

    def _check(self, verdict: Verdict, batch: Batch) -> None:
        if verdict is Verdict.OK or verdict is Verdict.DUP:
            return
        place = f"partition {self.partition}, epoch {batch.epoch}, sequence {batch.first}"
        if verdict is Verdict.FENCED:
            raise Fenced(f"another owner has taken {place}; this process must not write it any more")
        if verdict is Verdict.GAP:
            raise AcknowledgedDataMissing(
                f"the store's log ends before {place}: it lost records that were acknowledged"
            )
        raise InternalError(f"the store holds another batch at {place}")

    def _admits(self, append: Append) -> bool:
        if self.serving:
            return True
        append.reply.fail(ActorStopped(f"wal-writer[{self.partition}] is not running"))
        return False

    def _abandon(self, appends: list[Append]) -> None:
        for append in appends:
            append.reply.fail(ActorStopped(f"wal-writer[{self.partition}] stopped before it could tell"))

    async def _heartbeat(self) -> None:
        """Renew the lease while nothing is committed."""
        pause = self._settings.lease / 3
        while math.isfinite(pause):
            await anyio.sleep(pause)
            if self._seam.time() - self._renewed < pause:
                continue
            try:
                renewed = await self._log.renew(self._tenure)
            except StoreUnavailable as error:
                logger.warning("the lease of partition %d could not be renewed: %s", self.partition, error)
                continue
            if not renewed:
                raise Fenced(f"another owner has taken partition {self.partition}")
            self._renewed = self._seam.time()


def _refuse(appends: list[Append], verdict: KeysTaken) -> list[Append]:
    """Answer those whose keys are taken; return the others."""
    others: list[Append] = []
    for append in appends:
        taken = {
            each.key: verdict.taken[append.commit.tenant, each.key]
            for each in append.commit.operations
            if isinstance(each, ClaimKey) and (append.commit.tenant, each.key) in verdict.taken
        }
        if taken:
            append.reply.fail(KeyClaimed(taken))
        else:
            others.append(append)
    if len(others) == len(appends):
        raise InternalError("the store says keys are taken that nobody claims")
    return others


def _single(group: BaseExceptionGroup) -> BaseException:
    """The one exception in a group of one, else the group: callers catch Fenced, not a group with it."""
    return group.exceptions[0] if len(group.exceptions) == 1 else group
