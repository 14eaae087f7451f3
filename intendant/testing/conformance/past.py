"""What an owner can learn of a store that went back in time. For places that can be taken back: a `Past`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from intendant.domain.commit import Verdict
from intendant.testing.conformance.commits import all_of, one_of_everything
from intendant.testing.conformance.pen import LEASE_S, Pen, commit, owner
from intendant.testing.conformance.promise import Past, PastCheck, promise, same


async def a_forgotten_tenure_is_lost_and_its_batches_can_be_put_back(past: Past) -> None:
    """The store knows only tenures from before. An owner that names its own epoch gets a higher one, sees where the log
    ends, and sends again what is missing.
    """
    async with past.open_store() as store:
        older = await Pen.take(store.log(0))
        kept = await older.write(one_of_everything())
        await store.log(0).release(older.tenure)
    await past.keep()
    async with past.open_store() as store:
        pen = await Pen.take(store.log(0))
        missing = [await pen.write(one_of_everything(mark=mark)) for mark in ("2", "3")]
        complete = await all_of(store.log(0), mark="3")
        await store.log(0).release(pen.tenure)
    await past.go_back()
    async with past.open_store() as store:
        log = store.log(0)
        for batch in (*missing, pen.seal(commit("t"))):
            same(await log.commit(batch), Verdict.LOST, f"the batch at {batch.first} of a forgotten tenure")
        same(await log.renew(pen.tenure, pen.next), Verdict.LOST, "renewing a forgotten tenure")
        same(await log.commit(kept), Verdict.FENCED, "the batch of a tenure that was released before")
        tenure = await log.acquire(owner(), timeout=0, lease=LEASE_S, above=pen.tenure.epoch)
        promise(tenure.epoch > pen.tenure.epoch, "the epoch is higher than the forgotten one")
        place = (tenure.next_sequence, tenure.last_first, tenure.last_digest)
        same(place, (3, kept.first, kept.digest), "where the log ends now")
        same(await log.renew(tenure, pen.next), Verdict.GAP, "renewing, with the end that the log once had")
        again = [replace(batch, epoch=tenure.epoch, token=tenure.token) for batch in missing]
        same(await log.commit(again[1]), Verdict.GAP, "the second missing batch before the first")
        same([await log.commit(batch) for batch in again], [Verdict.OK] * 2, "the missing batches, put back")
        same(await all_of(log, mark="3"), complete, "what is there after they were put back")
        same(await log.commit(again[1]), Verdict.DUP, "the last of them, sent again")
        same(await log.commit(missing[1]), Verdict.FENCED, "the last of them, under the forgotten tenure")
        same(await log.renew(tenure, pen.next), Verdict.OK, "renewing when all is there again")


async def an_empty_past_is_noticed(past: Past) -> None:
    """The store knows nothing at all any more."""
    await past.keep()
    async with past.open_store() as store:
        pen = await Pen.take(store.log(0))
        batch = await pen.write(one_of_everything())
        await store.log(0).release(pen.tenure)
    await past.go_back()
    async with past.open_store() as store:
        log = store.log(0)
        same(await log.commit(batch), Verdict.LOST, "a batch, when the store knows nothing")
        same(await log.renew(pen.tenure, 1), Verdict.LOST, "renewing, when the store knows nothing")
        tenure = await log.acquire(owner(), timeout=0, lease=LEASE_S, above=pen.tenure.epoch)
        same((tenure.next_sequence, tenure.last_first, tenure.last_digest), (1, 0, b""), "where the log ends")
        same(await log.commit(replace(batch, epoch=tenure.epoch, token=tenure.token)), Verdict.OK, "the batch, again")
        same(await log.key("t", "k1"), b"value", "what it claimed")


PAST_CHECKS: Final[Sequence[PastCheck]] = (
    a_forgotten_tenure_is_lost_and_its_batches_can_be_put_back,
    an_empty_past_is_noticed,
)
