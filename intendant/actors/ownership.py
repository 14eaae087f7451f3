"""The owner's side of a partition: takes it, keeps it, sends its batches, and puts back what the store lost.

After an outage the store's end is compared with what was acknowledged, by the next commit or by the heartbeat. A log
that is shorter gets the missing batches again, under a new epoch, before anything else is sent; while that goes on
nothing is acknowledged. What can't be put back ends the ownership for good.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Final

import anyio
from msgspec.structs import replace

from intendant.actors.ages import Ages
from intendant.actors.outage import wait_out
from intendant.actors.ring import Ring, place_of
from intendant.domain.commit import Batch, KeysTaken, Verdict
from intendant.domain.errors import (
    AcknowledgedDataMissing,
    ActorStopped,
    Fenced,
    InternalError,
    PartitionOwned,
    StoreUnavailable,
)
from intendant.domain.logs import about
from intendant.domain.ports import Log, Owner, Tenure
from intendant.parking import Seam
from intendant.supervisor import Backoff

logger = logging.getLogger("intendant.wal")

_LAST_WORDS_SECONDS: Final = 5.0  # how long a writer that is to stop waits for a store that does not answer
ROUNDS: Final = 8  # restorations in a row, some seconds: a store that goes on losing is not to be trusted
_WENT_BACK: Final = (Verdict.GAP, Verdict.LOST)


class Ownership:
    """One partition's log in our hands. One task acquires and sends; `heartbeat` is a second one beside it."""

    def __init__(
        self,
        log: Log,
        owner: Owner,
        partition: int,
        *,
        seam: Seam,
        takeover_timeout: float,
        lease: float,
        retry: Backoff,
        ring: int,
        on_torn: Callable[[], None],
    ) -> None:
        self.next = 0  # the sequence of the next record: what stands before it was acknowledged
        self.last_time = 0
        self.restored = 0  # records that were put back, since this process began
        self.torn = False  # the heartbeat found the log too short: `mend` before anything else
        self.tenure: Tenure
        self._log = log
        self._owner = owner
        self._partition = partition
        self._seam = seam
        self._takeover_timeout = takeover_timeout
        self._lease = lease
        self._retry = retry
        self._on_torn = on_torn
        self._ring = Ring(ring)
        self._ages = Ages()
        self._epoch = 0  # the highest that was ever granted to us
        self._renewed = 0.0
        self._restoring = False
        self._stopping = False
        self._acquiring = anyio.CancelScope()
        self._patience = anyio.CancelScope()

    # --- taking and giving back

    async def acquire(self) -> None:
        """Become the owner, and put back what the store lost of what we have acknowledged before, if it did.

        Waits for whoever owns it up to the takeover timeout, then raises PartitionOwned, or Fenced when it was ours
        before. An outage of the store is waited out, but not the first time. Raises ActorStopped once stopped.
        """
        self._stopping = False
        tenure = await self._granted_unless_stopped()
        known, self.tenure, self._renewed = self.next, tenure, self._seam.time()
        if tenure.next_sequence > known:  # new here, or others went on where we had left
            self.next = tenure.next_sequence
            self.last_time = tenure.last_time
            self._ring.begin(place_of(tenure))
            self._ages.begin(self._seam.time(), self.next - 1)
        else:
            await self.mend(tenure)

    async def release(self) -> None:
        """Give the partition back, so that the next owner need not wait."""
        await self._log.release(self.tenure)

    def stop(self) -> None:
        """Wait for nobody any more; a batch that is under way has a few seconds left once it meets an outage."""
        self._stopping = True
        self._acquiring.cancel()
        if self._restoring:
            self._hurry()

    async def _granted(self) -> Tenure:
        """Ask for the partition. Whoever was its owner outlasts the lease of an owner that only the past knows."""
        timeout = self._takeover_timeout + (self._lease if self._epoch else 0.0)

        async def ask() -> Tenure:
            return await self._log.acquire(self._owner, timeout=timeout, lease=self._lease, above=self._epoch)

        try:
            tenure = await wait_out(ask, self._retry, self._acquire_later)
        except PartitionOwned as error:
            if not self._epoch:
                raise
            raise Fenced(
                f"process {error.pid} on {error.host} has taken partition {self._partition} meanwhile; "
                "this process must not write it any more"
            ) from error
        self._epoch = tenure.epoch
        return tenure

    async def _granted_unless_stopped(self) -> Tenure:
        with anyio.CancelScope() as self._acquiring:
            return await self._granted()
        raise ActorStopped(f"the writer was stopped before partition {self._partition} was its own")

    def _acquire_later(self, delay: float, error: StoreUnavailable) -> None:
        if not self._epoch:
            raise error
        self._hurry()
        logger.warning(
            "partition %d can't be taken, trying again in %.2f s: %s",
            *(self._partition, delay, error),
            extra=about(),
        )

    # --- sending

    async def send(self, batch: Batch) -> KeysTaken | None:
        """Send a batch until the store has told what became of it: applied (None), or the keys that are taken.

        Cancelling waits a little for the answer. Raises Fenced, AcknowledgedDataMissing, and ActorStopped when the
        store did not tell before the writer had to stop.
        """
        with anyio.CancelScope(shield=True) as self._patience:
            for attempt in range(ROUNDS):
                await self._pause_before(attempt)
                answer = await self._commit(batch)
                if answer not in _WENT_BACK:
                    return self._judge(answer, batch)
                await self._restore(None, batch)
                batch = self._under(self.tenure, batch)
            raise self._untrustworthy()
        raise self._silent()

    async def mend(self, tenure: Tenure | None = None) -> None:
        """Put back what the log lacks, under this tenure or a new one. Raises as `send`."""
        with anyio.CancelScope(shield=True) as self._patience:
            for attempt in range(ROUNDS):
                await self._pause_before(attempt)
                if await self._restore(tenure, None):
                    return
                tenure = None
            raise self._untrustworthy()
        raise self._silent()

    def landed(self, batch: Batch, size: int) -> None:
        """A batch is durable; it is kept for as long as the ring has room."""
        now = self._seam.time()
        self.next = batch.first + batch.count
        self.last_time = batch.time
        self._renewed = now
        self._ring.add(batch, size)
        self._ages.add(now, self.next - 1)

    @property
    def epoch(self) -> int:
        """The epoch of the newest tenure that was granted; 0 before the first."""
        return self._epoch

    def settled(self, seconds: float) -> int:
        """The highest sequence that was committed at least so many seconds ago; 0 if none is known."""
        return self._ages.settled(self._seam.time() - seconds)

    def age(self, sequence: int) -> float:
        """Seconds since a sequence was committed; 0 when it was not, or nobody knows any more."""
        since = self._ages.since(sequence)
        return 0.0 if since is None else max(self._seam.time() - since, 0.0)

    async def _commit(self, batch: Batch) -> Verdict | KeysTaken:
        return await wait_out(lambda: self._log.commit(batch), self._retry, self._commit_later)

    def _commit_later(self, delay: float, error: StoreUnavailable) -> None:
        self._hurry()
        logger.warning("the log does not answer, trying again in %.2f s: %s", delay, error, extra=about())

    def _hurry(self) -> None:
        """A writer that is to stop does not wait for ever."""
        if self._stopping:
            self._patience.deadline = min(self._patience.deadline, anyio.current_time() + _LAST_WORDS_SECONDS)

    def _judge(self, answer: Verdict | KeysTaken, batch: Batch) -> KeysTaken | None:
        if isinstance(answer, KeysTaken):
            return answer
        if answer is Verdict.OK or answer is Verdict.DUP:
            return None
        place = f"partition {self._partition}, epoch {batch.epoch}, sequence {batch.first}"
        if answer is Verdict.FENCED:
            raise Fenced(f"another owner has taken {place}; this process must not write it any more")
        raise InternalError(f"the store holds another batch at {place}")

    # --- putting back

    async def _restore(self, granted: Tenure | None, flying: Batch | None) -> bool:
        """Go on under a new tenure, and send again what the log lacks; False when it went back once more meanwhile.

        `flying` follows what was acknowledged, and may be applied or not.
        """
        self._restoring = True
        self._hurry()
        try:
            tenure = granted or await self._granted()
            whole = await self._put_back(tenure, flying)
        finally:
            self._restoring = False
        self.tenure = tenure
        self.torn = False
        self._renewed = self._seam.time()
        return whole

    async def _put_back(self, tenure: Tenure, flying: Batch | None) -> bool:
        try:
            batches = self._ring.missing(place_of(tenure), flying)
        except AcknowledgedDataMissing as error:
            raise self._lost(str(error)) from None
        for batch in batches:
            answer = await self._commit(self._under(tenure, batch))
            if answer in _WENT_BACK:
                return False
            if isinstance(answer, KeysTaken) or answer is Verdict.CONFLICT:
                raise self._lost(f"what was acknowledged from sequence {batch.first} on does not fit it any more")
            self._judge(answer, batch)
        if batches:
            self._tell_restored(tenure.next_sequence)
        return True

    async def _pause_before(self, attempt: int) -> None:
        """A failover may need a moment: a store that went back once more is left alone for a while."""
        if attempt:
            await anyio.sleep(self._retry.delay(attempt - 1, lambda: 0.5))

    def _under(self, tenure: Tenure, batch: Batch) -> Batch:
        """The same batch, sent by another tenure; its entries and so its digest stay as they are."""
        return replace(batch, epoch=tenure.epoch, token=tenure.token)

    def _tell_restored(self, first: int) -> None:
        count = self.next - first
        self.restored += count
        self._ages.again(self._seam.time(), first, self.next - 1)
        logger.critical(
            "the store had lost %d acknowledged records of partition %d (sequences %d to %d); they were put back. "
            "Find out why it lost them: a failover, or a start from an older copy",
            count,
            self._partition,
            first,
            self.next - 1,
            extra=about(),
        )

    def _lost(self, what: str) -> AcknowledgedDataMissing:
        return AcknowledgedDataMissing(
            f"partition {self._partition}: {what}. The partition stops; bring back the store's newest copy and start "
            "again, or start again as it is and go on with what it holds"
        )

    def _untrustworthy(self) -> AcknowledgedDataMissing:
        return self._lost(f"the store went back in time {ROUNDS} times in a row, before sequence {self.next}")

    def _silent(self) -> ActorStopped:
        return ActorStopped("the log did not answer before the writer had to stop")

    # --- staying alive

    async def heartbeat(self) -> None:
        """Renew the lease while nothing is committed, until cancelled. Raises Fenced."""
        pause = self._lease / 3
        while math.isfinite(pause):
            await anyio.sleep(pause)
            if self._seam.time() - self._renewed >= pause:
                await self._renew()

    async def _renew(self) -> None:
        tenure = self.tenure
        try:
            verdict = await self._log.renew(tenure, self.next)
        except StoreUnavailable as error:
            logger.warning("the lease of partition %d could not be renewed: %s", self._partition, error, extra=about())
            return
        if self._restoring or tenure is not self.tenure:
            return  # told of a tenure that is over
        if verdict is Verdict.OK:
            self._renewed = self._seam.time()
        elif verdict in _WENT_BACK:
            self.torn = True
            self._on_torn()
        else:
            raise Fenced(f"another owner has taken partition {self._partition}")
