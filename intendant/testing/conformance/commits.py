"""Promises about commits: whole or not at all, in their place, once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import anyio
import anyio.lowlevel
from msgspec.structs import replace

from intendant.domain.commit import (
    PLACES,
    AddToIndex,
    AddToOutbox,
    AppendJournal,
    Batch,
    ClaimKey,
    Commit,
    DeleteDocument,
    DropJournal,
    KeysTaken,
    MoveCheckpoint,
    PutDocument,
    ReleaseKey,
    RemoveFromIndex,
    SettleOutbox,
    Verdict,
)
from intendant.domain.errors import InternalError, StoreUnavailable
from intendant.domain.ports import Log, LogReader
from intendant.testing.conformance.pen import Pen, commit
from intendant.testing.conformance.promise import LogCheck, OpenStore, promise, refuses, same


def one_of_everything(tenant: str = "t", mark: str = "1") -> Commit:
    """A commit that changes whatever a commit can change."""
    return commit(
        tenant,
        PutDocument("documents", f"d{mark}", mark.encode()),
        AppendJournal(f"x{mark}", b"row"),
        AddToIndex("index", f"m{mark}", 5),
        ClaimKey(f"k{mark}", b"value"),
        AddToOutbox("s", b"event"),
        MoveCheckpoint("reader", 7),
        records=2,
    )


async def all_of(log: LogReader, tenant: str = "t", mark: str = "1") -> dict[str, Any]:
    """All that can be read of `one_of_everything`, and of the log."""
    return {
        "documents": await log.documents(tenant, "documents"),
        "journal": await log.journal(tenant, f"x{mark}"),
        "index": await log.index("index"),
        "key": await log.key(tenant, f"k{mark}"),
        "outbox": await log.outbox(),
        "checkpoint": await log.checkpoint("reader"),
        "entries": await log.entries(None),
        "entries of the tenant": await log.entries(tenant),
        "end": await log.position_at(2**62),
    }


async def a_commit_is_seen_whole_and_survives_reopening(open_store: OpenStore) -> None:
    """By the owner at once, by other readers, and after closing and opening again."""
    async with open_store() as store:
        pen = await Pen.take(store.log(0))
        await pen.write(one_of_everything())
        found = await all_of(store.log(0))
        for what, value in found.items():
            promise(bool(value), f"{what} can be read after the commit")
        async with open_store() as reader:
            same(await all_of(reader.log(0)), found, "what another process reads")
        await store.log(0).release(pen.tenure)
    async with open_store() as store:
        same(await all_of(store.log(0)), found, "what is there after opening again")
        same((await Pen.take(store.log(0))).next, 3, "the next sequence after opening again")


async def the_same_batch_is_applied_once(open_store: OpenStore) -> None:
    """However often it is sent; its keys do not stand in its own way."""
    async with open_store() as store:
        pen = await Pen.take(store.log(0))
        batch = await pen.write(one_of_everything())
        found = await all_of(store.log(0))
        for _ in range(3):
            same(await pen.send(batch), Verdict.DUP, "the verdict for a batch sent again")
        same(await all_of(store.log(0)), found, "what is there after sending again")
        await pen.write(one_of_everything(mark="2"))


async def a_batch_out_of_place_changes_nothing(open_store: OpenStore) -> None:
    """Beyond the end: GAP. Where another one stands: CONFLICT, also for what was applied longer ago."""
    async with open_store() as store:
        pen = await Pen.take(store.log(0))
        older = await pen.write(one_of_everything())
        last = await pen.write(commit("t", records=3))
        found = await all_of(store.log(0))
        far = pen.seal(one_of_everything(mark="9"))
        out_of_place = {
            Verdict.GAP: [replace(far, first=pen.next + 1), replace(far, first=pen.next + 1000)],
            Verdict.CONFLICT: [
                older,
                replace(last, first=last.first - 1),
                replace(_checkpoint_only(pen), first=last.first, digest=last.digest),
                replace(far, first=pen.next - 3),
                replace(far, first=pen.next - 1),
                replace(far, first=1),
            ],
        }
        for verdict, batches in out_of_place.items():
            for batch in batches:
                same(await pen.send(batch), verdict, f"a batch at {batch.first} when the log ends at {pen.next}")
        same(await all_of(store.log(0)), found, "what is there after batches out of place")
        await pen.write(commit("t"))


async def a_fenced_batch_changes_nothing(open_store: OpenStore) -> None:
    """Epoch and token must both be the owner's; the fence is looked at before the place and the keys."""
    async with open_store() as store:
        pen = await Pen.take(store.log(0))
        last = await pen.write(one_of_everything())
        found = await all_of(store.log(0))
        fresh = pen.seal(one_of_everything())  # its key is taken, too
        for batch in (fresh, last, replace(fresh, first=1), replace(fresh, first=99), _checkpoint_only(pen)):
            token = bytes(byte ^ 1 for byte in batch.token)
            for wrong in (
                replace(batch, epoch=batch.epoch - 1),
                replace(batch, token=token),
                replace(batch, token=b""),
            ):
                same(await pen.send(wrong), Verdict.FENCED, f"a batch at {wrong.first} with another epoch or token")
        same(await all_of(store.log(0)), found, "what is there after fenced batches")
        same((await Pen.take(store.log(0))).next, pen.next, "where the log ends after fenced batches")


def _checkpoint_only(pen: Pen) -> Batch:
    return pen.seal(Commit("", [], [MoveCheckpoint("reader", 99)]))


async def taken_keys_stop_the_whole_batch(open_store: OpenStore) -> None:
    """Nothing is applied, and all that are taken are told with what they were claimed with, and no others."""
    async with open_store() as store:
        log = store.log(0)
        pen = await Pen.take(log)
        await pen.write(one_of_everything(mark="1"), commit("t", ClaimKey("k2", b"second")), commit("u"))
        found = await all_of(log)
        free = commit("t", ClaimKey("free", b"new"), PutDocument("documents", "new", b"new"))
        other_tenant = commit("u", ClaimKey("k1", b"of u"))
        taken = [commit("t", ClaimKey("k1", b"other")), commit("t", ClaimKey("k2", b"other"))]
        batch = pen.seal(free, taken[0], one_of_everything(mark="3"), taken[1], other_tenant)
        for _ in range(2):
            expected = KeysTaken({("t", "k1"): b"value", ("t", "k2"): b"second"})
            same(await pen.send(batch), expected, "the answer to a batch with taken keys")
        same(await all_of(log), found, "what is there after a batch with taken keys")
        same(await log.key("t", "free"), None, "a key that was free in a batch with taken ones")
        far = replace(batch, first=pen.next + 1)
        same(await pen.send(far), Verdict.GAP, "a batch out of place whose keys are taken")
        await pen.write(free, one_of_everything(mark="3"), other_tenant)
        same(await log.key("u", "k1"), b"of u", "the same key of another tenant")


async def a_released_key_can_be_claimed(open_store: OpenStore) -> None:
    """From the next batch on: within one batch claims come before releases."""
    async with open_store() as store:
        log = store.log(0)
        pen = await Pen.take(log)
        await pen.write(commit("t", ClaimKey("k", b"1")), commit("u", ClaimKey("k", b"of u")))
        batch = pen.seal(commit("t", ReleaseKey("k")), commit("t", ClaimKey("k", b"2")))
        same(await pen.send(batch), KeysTaken({("t", "k"): b"1"}), "a batch that releases a key and claims it")
        await pen.write(commit("t", ReleaseKey("k"), ReleaseKey("never claimed")))
        same(await log.key("t", "k"), None, "a released key")
        same(await log.key("u", "k"), b"of u", "another tenant's key after the release")
        await pen.write(commit("t", ClaimKey("k", b"3")))
        same(await log.key("t", "k"), b"3", "the key claimed again")
        await pen.write(commit("t", ClaimKey("passing", b"4"), ReleaseKey("passing")))
        same(await log.key("t", "passing"), None, "a key claimed and released in one batch")


async def a_batch_no_writer_sends_is_refused_whole(open_store: OpenStore) -> None:
    """InternalError, and nothing applied: one key claimed twice, changes without records, another partition's batch."""
    async with open_store() as store:
        log = store.log(0)
        pen = await Pen.take(log)
        await pen.write(one_of_everything())
        found = await all_of(log)
        empty, fresh = _checkpoint_only(pen), pen.seal(one_of_everything(mark="2"))
        wrong = {
            "one key claimed twice": pen.seal(
                one_of_everything(mark="2"), commit("t", ClaimKey("k", b"1")), commit("t", ClaimKey("k", b"2"))
            ),
            "a document without a record": replace(empty, puts=pen.seal(one_of_everything()).puts),
            "a settlement without a record": replace(empty, outbox_settles=[item.position for item in found["outbox"]]),
            "a position of the outbox used again": replace(
                fresh, outbox_adds=[(found["outbox"][0].position, "t", "s", 1, b"")]
            ),
            "a position of a journal used again": replace(fresh, journal=[("t", "x1", PLACES, b"")]),
            "another partition": replace(fresh, partition=store.partitions),
        }
        for what, batch in wrong.items():
            await refuses(pen.send(batch), InternalError, what)
            same(await all_of(log), found, f"what is there after a batch with {what}")
        await pen.write(one_of_everything(mark="2"))


async def checkpoints_move_without_records(open_store: OpenStore) -> None:
    """Such a batch takes no place in the log and may be applied again; it moves forth and back, as it is told."""
    async with open_store() as store:
        log = store.log(0)
        pen = await Pen.take(log)
        same(await log.checkpoint("reader"), 0, "a checkpoint that never moved")
        last = await pen.write(one_of_everything())
        batch = pen.seal(Commit("", [], [MoveCheckpoint("other", 1)]))
        await pen.send(batch)
        for position in (7, 8, 3, 2**60):
            batch = pen.seal(Commit("", [], [MoveCheckpoint("reader", position)]))
            for _ in range(2):
                same(await pen.send(batch), Verdict.OK, "a batch that only moves checkpoints")
            same(await log.checkpoint("reader"), position, "the checkpoint")
        same(await log.checkpoint("other"), 1, "the other checkpoint")
        same(await pen.send(last), Verdict.DUP, "the last batch with records, sent again")
        same(await pen.send(replace(batch, first=pen.next + 1)), Verdict.GAP, "checkpoints beyond the log's end")
        same(await pen.send(replace(batch, first=pen.next - 1)), Verdict.CONFLICT, "checkpoints of an older end")
        await pen.write(commit("t"))


async def the_last_word_on_each_thing_counts(open_store: OpenStore) -> None:
    """Within a batch as across batches; removing what is not there is no error."""
    async with open_store() as store:
        log = store.log(0)
        pen = await Pen.take(log)
        await pen.write(
            commit("t", PutDocument("c", "k", b"1"), PutDocument("c", "gone", b"1"), AddToIndex("i", "m", 1)),
            commit("t", PutDocument("c", "k", b"2"), DeleteDocument("c", "gone"), RemoveFromIndex("i", "m", 1)),
            commit("t", AppendJournal("x", b"1"), DropJournal("x"), AddToIndex("i", "m", 2), AddToIndex("i", "m", 2)),
            commit("t", DeleteDocument("c", "never"), RemoveFromIndex("i", "never"), DropJournal("never")),
            commit("t", SettleOutbox((1, 2, 3))),
            commit("u", AddToOutbox("s", b"settled at once"), AddToOutbox("s", b"waits"), SettleOutbox((6 * PLACES,))),
        )
        same([item.body for item in await log.outbox()], [b"waits"], "events of the batch")
        same([d.body for d in await log.documents("t", "c")], [b"2"], "documents of the batch")
        same(await log.journal("t", "x"), [], "a journal that was dropped with what was appended")
        same([(m.score, m.member) for m in await log.index("i")], [(2, "m")], "members of the index")
        await pen.write(commit("t", RemoveFromIndex("i", "m", 1), AddToIndex("i", "m", 3)))
        same([m.score for m in await log.index("i")], [2, 3], "a member is removed with its own score only")
        await pen.write(
            commit("t", DeleteDocument("c", "k"), RemoveFromIndex("i", "m", 2), RemoveFromIndex("i", "m", 3))
        )
        same((await log.documents("t", "c"), await log.index("i")), ([], []), "what is left")


async def a_large_batch_is_applied(open_store: OpenStore) -> None:
    """As large as batches get: 512 records, 1 MiB."""
    async with open_store() as store:
        log = store.log(0)
        pen = await Pen.take(log)
        body = bytes(range(256)) * 256
        puts = [PutDocument("c", f"{number:03}", body) for number in range(14)]
        await pen.write(commit("t", *puts, records=256), commit("u", records=256))
        same([d.body == body for d in await log.documents("t", "c")], [True] * 14, "the documents are whole")
        same(pen.next, 513, "the end of the log")
        same([len(await log.entries(tenant)) for tenant in ("t", "u", None)], [1, 1, 2], "entries")


async def a_cancelled_wait_leaves_no_half(open_store: OpenStore) -> None:
    """Only whoever waits is cancelled: the batch is applied whole or not at all, and may be sent again to know."""
    async with open_store() as store:
        log = store.log(0)
        pen = await Pen.take(log)
        for turn, patience in enumerate((0.0, 0.0002, 0.0005, 0.001, 0.003), start=1):
            mark = str(turn)
            batch = pen.seal(one_of_everything(mark=mark))
            with anyio.move_on_after(patience):
                await log.commit(batch)
            verdict = await log.commit(batch)
            promise(verdict in (Verdict.OK, Verdict.DUP), f"sent again after a cancel: {verdict}")
            pen.next = batch.first + batch.count
            same(await log.journal("t", f"x{mark}"), [b"row"], "the journal after a cancel")
            same(len(await log.outbox()), turn, "events after a cancel")
            with anyio.move_on_after(patience):
                await log.entries(None)
        await pen.write(commit("t"))


async def readers_see_each_batch_whole(open_store: OpenStore) -> None:
    """One read never shows part of a batch, whoever reads while it is written."""
    async with open_store() as store, open_store() as other:
        pen = await Pen.take(store.log(0))
        async with anyio.create_task_group() as group:
            group.start_soon(_watch, other.log(0))
            group.start_soon(_watch, store.log(0))
            for number in range(1, 31):
                body = str(number).encode()
                await pen.write(*(commit("t", PutDocument("c", key, body)) for key in "abcdefgh"))
                await anyio.lowlevel.checkpoint()


async def _watch(log: Log) -> None:
    seen = b"0"
    while seen != b"30":
        bodies = [document.body for document in await log.documents("t", "c")]
        promise(len(set(bodies)) <= 1 and len(bodies) in (0, 8), f"documents of one batch are read together: {bodies}")
        seen = bodies[0] if bodies else b"0"
        await anyio.lowlevel.checkpoint()


async def a_closed_store_refuses(open_store: OpenStore) -> None:
    """Closing twice is no error; every call is answered with StoreUnavailable, not with silence."""
    async with open_store() as store:
        pen = await Pen.take(store.log(0))
        batch = await pen.write(commit("t"))
        await store.close()
        await store.close()
        await refuses(store.log(0).commit(batch), StoreUnavailable, "a commit after closing")
        await refuses(store.log(0).documents("t", "c"), StoreUnavailable, "a read after closing")
        await refuses(store.log(0).renew(pen.tenure, pen.next), StoreUnavailable, "a renewal after closing")


COMMIT_CHECKS: Final[Sequence[LogCheck]] = (
    a_commit_is_seen_whole_and_survives_reopening,
    the_same_batch_is_applied_once,
    a_batch_out_of_place_changes_nothing,
    a_fenced_batch_changes_nothing,
    taken_keys_stop_the_whole_batch,
    a_released_key_can_be_claimed,
    a_batch_no_writer_sends_is_refused_whole,
    checkpoints_move_without_records,
    the_last_word_on_each_thing_counts,
    a_large_batch_is_applied,
    a_cancelled_wait_leaves_no_half,
    readers_see_each_batch_whole,
    a_closed_store_refuses,
)
