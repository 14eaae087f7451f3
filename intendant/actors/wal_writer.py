"""The WAL writer: the only one that writes a partition's log.

It gathers commits while one batch flies and seals what has gathered when that batch has landed: group commit without
a timer. A batch is sent again, unchanged, until its outcome is known; it is never cancelled in flight (`ownership`).
What accepted executions commit goes ahead of new acceptances and is never refused.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Final, TypeVar, overload

import anyio
from msgspec import Struct

from intendant.actors.barred import Barred
from intendant.actors.crowding import Crowding
from intendant.actors.intake import Append, Intake, Told
from intendant.actors.landing import MANY, Landing, is_worth_halving
from intendant.actors.lives import Lives
from intendant.actors.ownership import Ownership
from intendant.actors.ring import RING_BYTES
from intendant.domain.codec import COMMIT_BYTES_MAX
from intendant.domain.commit import (
    RECORDS_MAX,
    Batch,
    Commit,
    KeysTaken,
    Receipt,
    check_commit,
    seal,
)
from intendant.domain.errors import (
    AcknowledgedDataMissing,
    ActorStopped,
    Fenced,
    IntendantError,
    InternalError,
    Overloaded,
)
from intendant.domain.payloads import WriterOpened
from intendant.domain.ports import Clock, Log, Owner
from intendant.domain.records import SYSTEM_TENANT, Record
from intendant.domain.telemetry import Distribution
from intendant.parking import Reply, Seam
from intendant.supervisor import Backoff, Started

T = TypeVar("T", bound=Told)

DURATIONS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class KeyClaimed(IntendantError):
    """The commit was not applied: some of its keys are taken. `taken` has what they were claimed with."""

    code = "key_claimed"

    def __init__(self, taken: dict[str, bytes]) -> None:
        super().__init__(f"keys are taken: {', '.join(sorted(taken))}")
        self.taken = taken


class WriterSettings(Struct, frozen=True):
    """Seconds, except `capacity`: how many new acceptances may wait to be committed, `ring`, and `apart`.

    `ring` is the bytes of acknowledged batches that are kept to put back what a store loses; `apart` is as
    `Store.apart` says.
    """

    takeover_timeout: float = 5.0
    lease: float = 10.0
    capacity: int = 10_000
    retry: Backoff = Backoff(initial=0.04, maximum=1.0)
    ring: int = RING_BYTES
    apart: bool = False


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
        barred: Barred | None = None,
    ) -> None:
        self.partition = partition
        self.commits = 0  # batches that were committed, and
        self.records = 0  # records in them, since this process began
        self.durations = Distribution(DURATIONS)  # seconds from a batch's sending until its outcome was known
        self.sizes = Distribution(SIZES)  # records of a batch
        self.serving = False
        self.refusal: Callable[[], Overloaded] | None = None  # set while the store has no room for new work
        self._owner = owner
        self._clock = clock
        self._seam = seam
        self._on_committed = on_committed
        self._intake = Intake(f"wal-writer[{partition}]", settings.capacity)
        self._parking = seam.parking()
        self.crowding = Crowding(self._waiting)
        self._landing = Landing(seam, self.crowding.told)
        self._flying: list[Append] = []
        self._barred = Barred() if barred is None else barred
        self._stopping = False
        self._lost: AcknowledgedDataMissing | None = None
        self._fences = 0
        self._sent: float | None = None  # when the batch in flight was
        self._many_landed = 0.0  # when a batch of many last did
        self._apart = settings.apart
        self._opened = 0  # the epoch whose beginning is in the log
        self._lives = Lives(log)
        self._ownership = Ownership(
            log,
            owner,
            partition,
            seam=seam,
            takeover_timeout=settings.takeover_timeout,
            lease=settings.lease,
            retry=settings.retry,
            ring=settings.ring,
            on_torn=self._parking.wake,
        )

    @property
    def depth(self) -> int:
        """How many commits wait."""
        return len(self._intake)

    @property
    def flying(self) -> float:
        """Seconds since the batch in flight was sent; 0 when none is. From any thread."""
        sent = self._sent
        return 0.0 if sent is None else max(self._seam.time() - sent, 0.0)

    def age(self, sequence: int) -> float:
        """Seconds since a sequence was committed; 0 when it was not, or nobody knows any more. From any thread."""
        return self._ownership.age(sequence)

    @property
    def committed(self) -> int:
        """The sequence of the newest committed record."""
        return self._ownership.next - 1

    @property
    def deaths(self) -> list[int]:
        """When the processes died that owned the partition before, µs since 1970 UTC, as far as is remembered."""
        return self._lives.deaths

    @property
    def restored(self) -> int:
        """How many acknowledged records the store had lost and were put back, since this process began."""
        return self._ownership.restored

    def settled(self, seconds: float) -> int:
        """The highest sequence that was committed at least so many seconds ago, by the event loop's clock.

        What stood in the log when the partition was taken counts from then. 0 when nothing is that old.
        """
        return self._ownership.settled(seconds)

    def fence(self) -> int:
        """A fencing token: higher than every one given out before, by this owner or an earlier one."""
        self._fences += 1
        return self._ownership.epoch << 32 | self._fences

    @overload
    def append(self, commit: Commit, told: None = None, *, erasing: bool = False) -> Reply[Receipt]: ...
    @overload
    def append(self, commit: Commit, told: T, *, erasing: bool = False) -> T: ...
    def append(self, commit: Commit, told: Told | None = None, *, erasing: bool = False) -> Told:
        """Commit what accepted work needs, and tell what became of it: who is given, or a new reply; returns that.

        Never refused for lack of room. Raises InvalidValue when it is too large.
        """
        if told is None:
            reply: Reply[Receipt] = Reply()
            told = reply
        size, claims = check_commit(commit)
        if self._take_in(Append(commit, told, size, claims, False, erasing)) and self._landing.several:
            self.crowding.committing(commit.tenant, self._seam.time())
        return told

    def accept(self, commit: Commit, told: Told) -> None:
        """Commit new work, and tell what became of it.

        Raises Overloaded when too much waits already or the store has no room, InvalidValue when it is too large.
        """
        if self.refusal is not None:
            raise self.refusal()
        size, claims = check_commit(commit)
        self._take_in(Append(commit, told, size, claims, True))

    def check_room(self) -> None:
        """Raise what `accept` would: for new work that must keep its place among what accepted work commits."""
        if self.refusal is not None:
            raise self.refusal()

    def _waiting(self, tenant: str) -> int:
        flying = sum(append.commit.tenant == tenant for append in self._flying)
        return self._intake.waiting(tenant) + flying + self._landing.waiting(tenant)

    async def commit(self, commit: Commit, *, erasing: bool = False) -> Receipt:
        """Append and wait. A cancelled wait takes nothing back."""
        return await self.append(commit, erasing=erasing).wait(self._seam)

    async def stand(self, *, aside: bool) -> None:
        """Note, durably, that an execution of another partition runs alone in this process, or does not any more."""
        await self.commit(Commit(SYSTEM_TENANT, (), [self._lives.stand(aside=aside)]))

    def stop(self) -> None:
        """Commit what waits, release the partition, end."""
        self._stopping = True
        self._ownership.stop()
        self._parking.wake()

    def lose(self, error: AcknowledgedDataMissing) -> None:
        """Write nothing more: somebody found that the log lacks what was acknowledged. `run` raises it."""
        self._lost = error
        self._parking.wake()

    async def run(self, task_status: Started) -> None:
        """Own the partition and write, until stopped. Raises Fenced or AcknowledgedDataMissing when it must not go on.

        However it ends, every commit that waits is answered; one in flight is left to be found at the next resume.
        """
        self._stopping = False
        try:
            if not await self._acquired():
                return  # it was stopped while it stood by
            self.serving = True
            async with anyio.create_task_group() as group:
                group.start_soon(self._ownership.heartbeat)
                group.start_soon(self._landing.run)
                await self._write_opened()
                task_status.started(self)
                await self._write()
                await self._note_leaving()
                group.cancel_scope.cancel()
            await self._ownership.release()
        except BaseExceptionGroup as error:
            single = _single(error)
            raise single from single.__cause__  # not from the group that holds it: a chain must not lead in a circle
        finally:
            self.serving = False
            self._abandon(list(self._intake.take()))
            self._flying.clear()
            self.crowding.told()

    async def _acquired(self) -> bool:
        try:
            await self._ownership.acquire()
        except ActorStopped:
            return False
        return True

    async def _write_opened(self) -> None:
        self._opened = self._ownership.tenure.epoch
        await self._lives.begin(self._clock.now())
        opened = WriterOpened(self._owner.host, self._owner.pid, self._clock.now(), self._lives.deaths)
        record = Record("writer_opened", "", "", opened)
        await self._land([_of_system(Commit(SYSTEM_TENANT, [record], self._lives.opened(self._ownership.next)))])

    async def _note_leaving(self) -> None:
        """This life ends in good order; whether it did is no reason not to end."""
        with contextlib.suppress(Fenced, ActorStopped):
            await self._land([_of_system(Commit(SYSTEM_TENANT, (), [self._lives.left()]))])

    async def _write(self) -> None:
        while True:
            while self._lost is None and (gathered := self._gather()):
                self._flying = gathered
                await self._land(gathered)
                self._flying = []
                self.crowding.told()
            if self._lost is not None:
                raise self._lost
            if self._ownership.torn:
                await self._ownership.mend()
            if self._opened != self._ownership.tenure.epoch:
                await self._write_opened()
                continue
            if self._stopping:
                return
            await self._parking.wait()

    def _gather(self) -> list[Append]:
        """Take the next batch: bounded, and with each key claimed once, because the store must tell who was first."""
        gathered: list[Append] = []
        claimed: set[tuple[str, str]] = set()
        records = size = 0
        tenant: str | None = None
        barred = self._barred or None
        most = self.crowding.batch(self._seam.time(), several=self._landing.several)
        for append in self._intake.take():
            commit = append.commit
            if commit.tenant != tenant:
                tenant = commit.tenant
                self._landing.note(tenant)
            if barred is not None and not append.erasing and (refusal := barred.refusal(commit, new=append.new)):
                append.told.fail(refusal)
                continue
            records += len(commit.records)
            size += append.size
            if gathered and (records > RECORDS_MAX or size > COMMIT_BYTES_MAX or not claimed.isdisjoint(append.claims)):
                self._intake.put_back(append)
                break
            claimed.update(append.claims)
            gathered.append(append)
            if len(gathered) == most:
                break
        return gathered

    async def _land(self, appends: list[Append]) -> None:
        """Commit these as one batch. What keys are taken from is answered, and the rest numbered and sent again."""
        try:
            while appends:
                batch, receipts = self._seal(appends)
                self._sent, began = self._seam.time(), time.perf_counter()  # uvloop's clock has whole milliseconds
                refused = await self._ownership.send(batch)
                now = time.perf_counter()
                self.durations.add(now - began)
                if refused is None:
                    halved = self._apart and self._note_many(appends, began, now)
                    self._landed(batch, appends, receipts, halved=halved)
                    return
                appends = _refuse(appends, refused)
        except BaseException:
            self._abandon(appends)
            raise
        finally:
            self._sent = None

    def _note_many(self, appends: list[Append], began: float, now: float) -> bool:
        """If many have landed, note when; whether they are worth halving."""
        if len(appends) < MANY:
            return False
        work, self._many_landed = began - self._many_landed, now
        return is_worth_halving(len(appends), len(self._intake), now - began, work)

    def _landed(self, batch: Batch, appends: list[Append], receipts: list[Receipt], *, halved: bool) -> None:
        self._ownership.landed(batch, sum([append.size for append in appends]))
        self.commits += 1
        self.records += batch.count
        self.sizes.add(batch.count)
        self._landing.tell(appends, receipts, halved=halved)
        self._on_committed(batch)

    def _seal(self, appends: list[Append]) -> tuple[Batch, list[Receipt]]:
        ownership = self._ownership
        return seal(
            [append.commit for append in appends],
            partition=self.partition,
            epoch=ownership.tenure.epoch,
            token=ownership.tenure.token,
            first=ownership.next,
            time=max(ownership.last_time, self._clock.now()),
        )

    def _take_in(self, append: Append) -> bool:
        if not self.serving:
            append.told.fail(ActorStopped(f"wal-writer[{self.partition}] is not running"))
            return False
        if self._intake.put(append):  # who waits already is taken up when the batch in flight has landed
            self._parking.wake()
        return True

    def _abandon(self, appends: list[Append]) -> None:
        """Tell them so, and empty the list: frames hold it, and a crash that is kept holds those by its traceback.

        From there a way leads through executions, which the collector does not see, back to whoever keeps the crash.
        """
        for append in appends:
            append.told.fail(ActorStopped(f"wal-writer[{self.partition}] stopped before it could tell"))
        appends.clear()


def _of_system(commit: Commit) -> Append:
    reply: Reply[Receipt] = Reply()
    return Append(commit, reply, *check_commit(commit))


def _refuse(appends: list[Append], verdict: KeysTaken) -> list[Append]:
    """Answer those whose keys are taken; return the others."""
    others: list[Append] = []
    for append in appends:
        taken = {claim[1]: verdict.taken[claim] for claim in append.claims if claim in verdict.taken}
        if taken:
            append.told.fail(KeyClaimed(taken))
        else:
            others.append(append)
    if len(others) == len(appends):
        raise InternalError("the store says keys are taken that nobody claims")
    return others


def _single(group: BaseExceptionGroup) -> BaseException:
    """The one exception in a group of one, else the group: callers catch Fenced, not a group with it."""
    return group.exceptions[0] if len(group.exceptions) == 1 else group
