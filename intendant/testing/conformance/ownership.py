"""Promises about who may write: one owner, by lease for liveness and by fence for safety."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from typing import Final

import anyio
from msgspec.structs import replace

from intendant.domain.commit import Commit, MoveCheckpoint, PutDocument, Verdict
from intendant.domain.errors import PartitionOwned
from intendant.domain.ports import Log, Tenure
from intendant.testing.conformance.pen import LEASE_S, PATIENCE_S, Pen, commit, owner
from intendant.testing.conformance.promise import BrokenPromise, LogCheck, OpenStore, promise, refuses, same

RACERS: Final = 4
CLOCKS_DIFFER_US: Final = 600_000_000  # the store's and ours, at most, in a place fit for tests


async def an_empty_log_begins_at_one(open_store: OpenStore) -> None:
    """The first tenure finds nothing: sequences begin at 1."""
    async with open_store() as store:
        tenure = await store.log(0).acquire(owner(), timeout=0, lease=LEASE_S)
        same((tenure.partition, tenure.next_sequence, tenure.last_time), (0, 1, 0), "the first tenure")
        promise(len(tenure.token) >= 16, "a token has 128 bits or more")


async def every_tenure_has_a_higher_epoch_and_a_new_token(open_store: OpenStore) -> None:
    """Also across opening and closing; and it begins where the last one ended."""
    tenures: list[Tenure] = []
    for turn in range(4):
        async with open_store() as store:
            pen = await Pen.take(store.log(0))
            same(pen.next, 2 * turn + 1, "where a tenure begins")
            same(pen.tenure.last_time, 20 * turn, "the time that a tenure begins with")
            await pen.write(commit("t"))
            await pen.write(commit("t"))
            tenures.append(pen.tenure)
            await store.log(0).release(pen.tenure)
    epochs = [tenure.epoch for tenure in tenures]
    promise(epochs == sorted(set(epochs)), f"epochs rise: {epochs}")
    same(len({tenure.token for tenure in tenures}), len(tenures), "how many tokens differ")


async def a_live_owner_is_not_robbed(open_store: OpenStore) -> None:
    """A second process waits as long as it was told to, then learns who owns the partition."""
    async with open_store() as first, open_store() as second:
        pen = await Pen.take(first.log(0), "first")
        for timeout in (0.0, 0.2):
            started = anyio.current_time()
            waiting = second.log(0).acquire(owner("second"), timeout=timeout, lease=LEASE_S)
            error = await refuses(waiting, PartitionOwned, "acquire while another owner lives")
            same((error.partition, error.host, error.pid), (0, "host-first", 4711), "who is said to own it")
            promise(anyio.current_time() - started >= timeout * 0.9, f"it waits {timeout} s before it gives up")
        await pen.write(commit("t"))


async def a_waiting_process_gets_what_is_released(open_store: OpenStore) -> None:
    """And gets it while it waits, not only when it asks again."""
    async with open_store() as first, open_store() as second:
        pen = await Pen.take(first.log(0), "first")
        await pen.write(commit("t"))
        async with anyio.create_task_group() as group:
            group.start_soon(_take_over, second.log(0), pen.tenure.epoch)
            await anyio.sleep(0.1)  # so that it is most likely waiting; if it is not yet, the promise is the same
            await first.log(0).release(pen.tenure)
        same(await first.log(0).renew(pen.tenure, pen.next), Verdict.FENCED, "renewing what was released")


async def _take_over(log: Log, epoch: int) -> None:
    pen = await Pen.take(log, "second")
    promise(pen.tenure.epoch > epoch, "the new epoch is higher")
    await pen.write(commit("t"))


async def a_released_tenure_is_over(open_store: OpenStore) -> None:
    """Its commits are fenced, it can't be renewed, and releasing it again does nothing."""
    async with open_store() as store:
        pen = await Pen.take(store.log(0))
        batch = await pen.write(commit("t"))
        await store.log(0).release(pen.tenure)
        same(await pen.send(pen.seal(commit("t"))), Verdict.FENCED, "a commit after the release")
        same(await pen.send(batch), Verdict.FENCED, "the last batch again, after the release")
        same(await store.log(0).renew(pen.tenure, pen.next), Verdict.FENCED, "renewing after the release")
        await store.log(0).release(pen.tenure)


async def an_ended_lease_is_taken_over(open_store: OpenStore) -> None:
    """The old owner is fenced from that moment on: nothing it sends is applied, and it can't release the new tenure."""
    async with open_store() as first, open_store() as second:
        old = await Pen.take(first.log(0), "first", lease=0.2)
        await old.write(commit("t", PutDocument("c", "k", b"old")))
        unsent = old.seal(commit("t", PutDocument("c", "k", b"zombie")))
        new = await Pen.take(second.log(0), "second")
        promise(new.tenure.epoch > old.tenure.epoch, "the new epoch is higher")
        same(await old.send(unsent), Verdict.FENCED, "what the old owner sends after the takeover")
        same(await first.log(0).renew(old.tenure, old.next), Verdict.FENCED, "the old owner renews")
        await first.log(0).release(old.tenure)
        same(
            await second.log(0).renew(new.tenure, new.next), Verdict.OK, "the new owner renews, after the old released"
        )
        document = await second.log(0).document("t", "c", "k")
        same(document and document.body, b"old", "the document that a fenced owner wanted to change")
        await new.write(commit("t"))


async def renewals_and_commits_keep_the_lease(open_store: OpenStore) -> None:
    """The lease is counted from the last one of them."""
    async with open_store() as first, open_store() as second:
        pen = await Pen.take(first.log(0), "first", lease=1.0)
        for keep in ("renew", "commit"):
            await anyio.sleep(0.6)
            if keep == "renew":
                same(await first.log(0).renew(pen.tenure, pen.next), Verdict.OK, "renewing a live lease")
            else:
                await pen.write(commit("t"))
            waiting = second.log(0).acquire(owner("second"), timeout=0.6, lease=LEASE_S)
            await refuses(waiting, PartitionOwned, f"acquire within the lease that a {keep} gave")


async def the_same_log_may_be_acquired_again(open_store: OpenStore) -> None:
    """Whoever holds the log object is one process: it need not wait for itself, and its older tenure is over."""
    async with open_store() as store:
        old = await Pen.take(store.log(0))
        await old.write(commit("t"))
        new = await Pen.take(store.log(0), timeout=0)
        same(await old.send(old.seal(commit("t"))), Verdict.FENCED, "a commit of the older tenure")
        await new.write(commit("t"))


async def one_of_many_wins(open_store: OpenStore) -> None:
    """Of processes that ask at once exactly one becomes owner, and each has its turn in the end."""
    async with AsyncExitStack() as stack:
        logs = [(await stack.enter_async_context(open_store())).log(0) for _ in range(RACERS)]
        winners: list[tuple[Log, Tenure]] = []
        async with anyio.create_task_group() as group:
            for log in logs:
                group.start_soon(_race, log, winners)
        same(len(winners), 1, "how many of them own the partition")
        await winners[0][0].release(winners[0][1])
        epochs: list[int] = []
        async with anyio.create_task_group() as group:
            for log in logs:
                group.start_soon(_one_turn, log, epochs)
        same(len(set(epochs)), RACERS, "how many epochs there were")


async def _race(log: Log, winners: list[tuple[Log, Tenure]]) -> None:
    with suppress(PartitionOwned):
        winners.append((log, await log.acquire(owner(), timeout=0, lease=LEASE_S)))


async def _one_turn(log: Log, epochs: list[int]) -> None:
    pen = await Pen.take(log)
    await pen.write(commit("t"))
    epochs.append(pen.tenure.epoch)
    await log.release(pen.tenure)


async def a_cancelled_acquire_gives_up(open_store: OpenStore) -> None:
    """Wherever the cancel finds it, nobody owns the partition because of it afterwards."""
    async with open_store() as first, open_store() as second:
        for patience in (0.0, 0.001, 0.003):
            tenure: Tenure | None = None
            with anyio.move_on_after(patience):
                tenure = await first.log(0).acquire(owner("first"), timeout=PATIENCE_S, lease=LEASE_S)
            if tenure is not None:
                await first.log(0).release(tenure)
            pen = await Pen.take(second.log(0), "second")
            with anyio.move_on_after(patience + 0.05):
                await first.log(0).acquire(owner("first"), timeout=PATIENCE_S, lease=LEASE_S)
            await pen.write(commit("t"))
            await second.log(0).release(pen.tenure)


async def a_store_that_knows_only_lower_epochs_says_so(open_store: OpenStore) -> None:
    """LOST, to a commit and to a renewal: it went back in time. Nothing is applied, and its own owner goes on."""
    async with open_store() as store:
        log = store.log(0)
        later = Pen(log, Tenure(0, 7, b"0123456789abcdef", 1, 0))
        await _is_lost(later)
        await log.release(later.tenure)
        pen = await Pen.take(log)
        promise(pen.tenure.epoch < 7, "epochs rise by little")
        await pen.write(commit("t"))
        await _is_lost(later)
        later.next = pen.next
        await _is_lost(later)
        later.tenure = replace(pen.tenure, epoch=pen.tenure.epoch + 1)
        await _is_lost(later)
        await log.release(replace(later.tenure, token=b"0123456789abcdef"))
        await pen.write(commit("t"))
        await log.release(pen.tenure)
        await _is_lost(later)
        same(len(await log.entries(None)), 2, "entries, after lost tenures have sent theirs")


async def _is_lost(pen: Pen) -> None:
    for next in (1, pen.next, pen.next + 100):
        same(await pen.log.renew(pen.tenure, next), Verdict.LOST, "a renewal of a tenure that the store does not know")
    batches = (pen.seal(commit("t")), pen.seal(Commit("", [], [MoveCheckpoint("reader", 9)])))
    for batch in (*batches, replace(batches[0], first=pen.next + 100)):
        same(await pen.log.commit(batch), Verdict.LOST, "a batch of a tenure that the store does not know")


async def a_renewal_compares_the_logs_end(open_store: OpenStore) -> None:
    """GAP if the log ends before what the owner has acknowledged; it may hold more."""
    async with open_store() as store:
        log = store.log(0)
        pen = await Pen.take(log)
        same(await log.renew(pen.tenure, 2), Verdict.GAP, "renewing when the log is empty and should not be")
        await pen.write(commit("t", records=5))
        for next, verdict in ((1, Verdict.OK), (5, Verdict.OK), (6, Verdict.OK), (7, Verdict.GAP), (9**9, Verdict.GAP)):
            same(await log.renew(pen.tenure, next), verdict, f"renewing with {next} when the log ends at 6")
        await pen.write(commit("t"))


async def the_holder_is_told(open_store: OpenStore) -> None:
    """To everybody, with the time it took the partition; None once it released, or its lease is over."""
    async with open_store() as first, open_store() as second:
        logs = first.log(0), second.log(0)
        same([await log.holder() for log in logs], [None, None], "the holder of what nobody ever owned")
        for name in ("one", "two"):
            pen = await Pen.take(logs[0], name)
            now = time.time_ns() // 1000
            for log in logs:
                holding = await log.holder()
                if holding is None:
                    raise BrokenPromise("somebody owns the partition, and no holder is told")
                same((holding.owner, holding.epoch), (owner(name), pen.tenure.epoch), "the holder")
                promise(abs(now - holding.since) < CLOCKS_DIFFER_US, f"it owns it since {holding.since}, now is {now}")
            await logs[0].release(pen.tenure)
            same([await log.holder() for log in logs], [None, None], "the holder after a release")
        await Pen.take(logs[0], lease=0.1)
        await anyio.sleep(0.3)
        same([await log.holder() for log in logs], [None, None], "the holder when its lease is over")


async def an_epoch_above_is_granted(open_store: OpenStore) -> None:
    """Higher than the one it was told, than the one before, and so are those that follow."""
    async with open_store() as store:
        log = store.log(0)
        epochs: list[int] = []
        for above in (0, 41, 3, 0, 41, 10**9):
            tenure = await log.acquire(owner(), timeout=0, lease=LEASE_S, above=above)
            promise(tenure.epoch > max([above, *epochs]), f"epoch {tenure.epoch} above {above}, after {epochs}")
            epochs.append(tenure.epoch)
        await (await Pen.take(log)).write(commit("t"))


async def a_tenure_knows_the_newest_batch(open_store: OpenStore) -> None:
    """Where it begins, and its digest: what it takes to see whether it is one's own."""
    async with open_store() as store:
        pen = await Pen.take(store.log(0))
        same((pen.tenure.last_first, pen.tenure.last_digest), (0, b""), "the newest batch of an empty log")
        await pen.write(commit("t", records=3))
        batch = await pen.write(commit("t", records=2), commit("u"))
        await pen.send(pen.seal(Commit("", [], [MoveCheckpoint("reader", 9)])))
        await store.log(0).release(pen.tenure)
    async with open_store() as store:
        tenure = (await Pen.take(store.log(0))).tenure
        newest = (tenure.last_first, tenure.last_digest, tenure.last_time, tenure.next_sequence)
        same(newest, (4, batch.digest, batch.time, 7), "the newest batch, as the next tenure knows it")


OWNERSHIP_CHECKS: Final[Sequence[LogCheck]] = (
    an_empty_log_begins_at_one,
    every_tenure_has_a_higher_epoch_and_a_new_token,
    a_live_owner_is_not_robbed,
    a_waiting_process_gets_what_is_released,
    a_released_tenure_is_over,
    an_ended_lease_is_taken_over,
    renewals_and_commits_keep_the_lease,
    the_same_log_may_be_acquired_again,
    one_of_many_wins,
    a_cancelled_acquire_gives_up,
    a_store_that_knows_only_lower_epochs_says_so,
    a_renewal_compares_the_logs_end,
    the_holder_is_told,
    an_epoch_above_is_granted,
    a_tenure_knows_the_newest_batch,
)
