"""Promises about what is taken out of a log, and what is rewritten in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from intendant.domain.commit import MoveCheckpoint, PutDocument, ReplaceEntry, TrimLog, Verdict
from intendant.domain.ports import Log
from intendant.domain.records import decode_entry
from intendant.testing.conformance.pen import Pen, commit
from intendant.testing.conformance.promise import LogCheck, OpenStore, promise, same

Entry = tuple[str, int, int, int, bytes]  # tenant, first sequence, number of records, time, entry


async def written(pen: Pen, batches: int = 12) -> list[Entry]:
    """Entries of the tenants t, u and "", of one to three records each, in batches of their own times."""
    found: list[Entry] = []
    for number in range(batches):
        commits = [commit("t", records=3)] if number % 3 else [commit("u", records=2), commit("t"), commit("")]
        batch = await pen.write(*commits)
        found.extend((tenant, first, count, batch.time, entry) for tenant, first, count, entry in batch.entries)
    return found


async def holds(log: Log, expected: Sequence[Entry], what: str, *, floor: int = 0) -> None:
    """The log holds these entries and no others, whichever way it is read; all of them are read from `floor` on."""
    for tenant in ("t", "u", "", "v", None):
        lowest = floor if tenant is None else 0
        own = [each[4] for each in expected if tenant in (each[0], None) and each[1] + each[2] > lowest]
        same(await log.entries(tenant, limit=1000), own, f"entries of {tenant!r} {what}")
        found = await log.entries(tenant, limit=3, newest_first=True)
        same(found, own[::-1][:3], f"the newest entries of {tenant!r} {what}")
    tenants = sorted({each[0] for each in expected})
    same(await log.tenants(), tenants, f"tenants {what}")
    for time in {0, *(each[3] + more for each in expected for more in (0, 1))}:
        position = await log.position_at(time)
        missed = [each[1] for each in expected if each[1] < position and each[3] >= time]
        early = [each[1] for each in expected if each[1] >= max(position, floor) and each[3] < time]
        same((missed, early), ([], []), f"records on the wrong side of {position}, the position of {time}, {what}")


def without(entries: Sequence[Entry], tenant: str, below: int) -> list[Entry]:
    """What a trim leaves."""
    return [each for each in entries if each[0] != tenant or each[1] + each[2] > below]


async def a_trim_removes_what_ends_below(open_store: OpenStore) -> None:
    """Of one tenant; an entry that holds the sequence stays whole. Again, or below everything, it changes nothing."""
    async with open_store() as store:
        log = store.log(0)
        pen = await Pen.take(log)
        entries = await written(pen)
        first = next(each[1] for each in entries[5:] if each[2] == 3)
        for below in (0, 1, first, first + 1, first + 2, first + 3, 2):
            batch = await pen.write(commit("u", TrimLog(first - 4)), commit("t", TrimLog(below)))
            entries += [(*each[:3], batch.time, each[3]) for each in batch.entries]
            entries = without(without(entries, "u", first - 4), "t", below)
            await holds(log, entries, f"after a trim below {below}")
        for low, high in ((1, 8), (first, first), (first + 3, first + 4), (1, None)):
            own = [e[4] for e in entries if e[0] == "t" and e[1] + e[2] > low and (high is None or e[1] <= high)]
            same(await log.entries("t", first=low, last=high), own, f"entries in {low}..{high} of what is left")
        await log.release(pen.tenure)
    async with open_store() as store:
        await holds(store.log(0), entries, "after opening again")


async def everything_may_be_trimmed(open_store: OpenStore) -> None:
    """The log goes on where it ended, the last batch is still known, and the tenant is there again with its next."""
    async with open_store() as store:
        log = store.log(0)
        pen = await Pen.take(log)
        entries = await written(pen)
        batch = await pen.write(commit("u", TrimLog(10**9)))
        await holds(log, without(entries, "u", 10**9), "after everything of u was trimmed with itself")
        same(await pen.send(batch), Verdict.DUP, "the batch that trimmed its own entry, sent again")
        batch = await pen.write(commit("t", TrimLog(10**9), PutDocument("c", "k", b"body")), commit("", TrimLog(10**9)))
        await holds(log, [], "after everything was trimmed")
        promise(await log.document("t", "c", "k") is not None, "a document stays when the log is trimmed")
        same(await log.position_at(pen.time + 1), pen.next, "the position of a time behind everything")
        same(await log.renew(pen.tenure, pen.next), Verdict.OK, "renewing when everything was trimmed")
        same(await pen.send(batch), Verdict.DUP, "the batch that trimmed everything, sent again")
        await log.release(pen.tenure)
    async with open_store() as store:
        pen = await Pen.take(store.log(0))
        newest = (pen.next, pen.tenure.last_first, pen.tenure.last_digest)
        same(newest, (batch.first + batch.count, batch.first, batch.digest), "the end of a log that is empty")
        same(await store.log(0).tenants(), [], "tenants of a log that is empty")


async def reading_all_begins_where_the_partition_was_trimmed(open_store: OpenStore) -> None:
    """Each tenant keeps what is its own. It never goes back, and outlasts opening again."""
    async with open_store() as store:
        log = store.log(0)
        pen = await Pen.take(log)
        entries: list[Entry] = []
        floors: list[int] = []
        for turn in range(4):
            entries += await written(pen, 6)
            floors.append(pen.next)
            below = floors[max(turn - 1, 0)] if turn < 3 else floors[0]
            batch = await pen.write(commit("", TrimLog(below)))
            entries += [(*each[:3], batch.time, each[3]) for each in batch.entries]
            entries = without(entries, "", below)
            await holds(log, entries, f"after the partition was trimmed below {below}", floor=floors[turn // 2])
        own = [each[4] for each in entries if each[0] == "t" and each[1] <= 9]
        same(await log.entries("t", last=9), own, "entries of a tenant from before")
        same(await log.entries(None, last=9), [], "entries of all from before")
        promise(len(own) > 2, "there are entries from before")
        await log.release(pen.tenure)
    async with open_store() as store:
        await holds(store.log(0), entries, "after opening again", floor=floors[1])
        same(await store.log(0).checkpoint("reader"), 0, "a checkpoint that never moved")


async def an_entry_is_rewritten_in_its_place(open_store: OpenStore) -> None:
    """However long it is now; it keeps its sequences and its time, is trimmed like any other, and was never another."""
    async with open_store() as store:
        log = store.log(0)
        pen = await Pen.take(log)
        entries = await written(pen)
        for turn, body in enumerate((b"short", bytes(range(256)) * 300, b"", b"again")):
            for place in (0, 4, 7, len(entries) - 1):
                tenant, first, _, _, _ = entries[place]
                entries[place] = (*entries[place][:4], body + b"%d" % place)
                batch = await pen.write(commit(tenant, ReplaceEntry(first, entries[place][4])))
                entries += [(*each[:3], batch.time, each[3]) for each in batch.entries]
            await holds(log, entries, f"after the {turn + 1}. rewriting")
        tenant, first, count, _, body = next(each for each in entries if each[2] == 3 and each[1] > 4)
        same(await log.entries(tenant, first=first + 1, last=first + 1), [body], "an entry by one of its sequences")
        same(count, 3, "its sequences")
        await log.release(pen.tenure)
    async with open_store() as store:
        await holds(store.log(0), entries, "after opening again")
        pen = await Pen.take(store.log(0))
        below = entries[4][1] + entries[4][2]
        batch = await pen.write(commit("t", TrimLog(below), PutDocument("c", "k", b""), MoveCheckpoint("reader", 1)))
        entries += [(*each[:3], batch.time, each[3]) for each in batch.entries]
        await holds(store.log(0), without(entries, "t", below), "after a trim of what was rewritten")


async def what_is_not_there_is_not_rewritten(open_store: OpenStore) -> None:
    """Another tenant's entry, a sequence within an entry, one that was trimmed, one that never was."""
    async with open_store() as store:
        log = store.log(0)
        pen = await Pen.take(log)
        entries = await written(pen)
        of_t = [each for each in entries if each[0] == "t" and each[2] == 3]
        batch = await pen.write(commit("t", TrimLog(of_t[1][1])))
        entries += [(*each[:3], batch.time, each[3]) for each in batch.entries]
        entries = without(entries, "t", of_t[1][1])
        replaces = [
            ReplaceEntry(of_t[0][1], b"trimmed"),
            ReplaceEntry(of_t[1][1] + 1, b"within"),
            ReplaceEntry(pen.next + 1000, b"never"),
            ReplaceEntry(next(each[1] for each in entries if each[0] == "u"), b"of another tenant"),
        ]
        batch = await pen.write(commit("t", *replaces), commit("v", ReplaceEntry(of_t[1][1], b"of another tenant")))
        entries += [(*each[:3], batch.time, each[3]) for each in batch.entries]
        own = [each for each in entries if each[0] != "v"]
        same([each[4] for each in own if each[0] == "t"], await log.entries("t"), "entries of t")
        same([each[4] for each in own if each[0] == "u"], await log.entries("u"), "entries of u")
        same([each[4] for each in entries], await log.entries(None), "entries of all")


async def entries_come_before_what_changes_them(open_store: OpenStore) -> None:
    """Within a batch: what it adds it may rewrite, and what it rewrites it may trim; sent again, it is the same one."""
    async with open_store() as store:
        log = store.log(0)
        pen = await Pen.take(log)
        await pen.write(commit("t"), commit("u"))
        batch = await pen.write(commit("t", ReplaceEntry(3, b"new"), ReplaceEntry(1, b"old")), commit("u"))
        same(await log.entries("t"), [b"old", b"new"], "entries that were rewritten")
        same(await pen.send(batch), Verdict.DUP, "the batch that rewrote its own entry, sent again")
        same(len(decode_entry((await log.entries("u"))[1])), 1, "the other tenant's entry")
        await pen.write(commit("t", TrimLog(2), ReplaceEntry(1, b"late")), commit("v", TrimLog(100)))
        same((await log.entries("t"))[0], b"new", "the first entry after a trim that came with a rewriting")
        same(await log.entries("v"), [], "an entry that was trimmed with its own batch")


async def scrubbing_changes_nothing_that_is_there(open_store: OpenStore) -> None:
    """Whatever was removed before; the log goes on, the owner stays, and it may be done again."""
    async with open_store() as store:
        log = store.log(0)
        pen = await Pen.take(log)
        entries = await written(pen)
        tenant, first, _, _, _ = entries[-1]
        entries[-1] = (*entries[-1][:4], b"rewritten")
        below = entries[5][1]
        batch = await pen.write(
            commit(tenant, ReplaceEntry(first, b"rewritten"), PutDocument("c", "k", b"body")),
            commit("u", TrimLog(below)),
        )
        entries += [(*each[:3], batch.time, each[3]) for each in batch.entries]
        entries = without(entries, "u", below)
        for _ in range(2):
            await log.scrub()
            await holds(log, entries, "after scrubbing")
        document = await log.document(tenant, "c", "k")
        same(None if document is None else document.body, b"body", "a document after scrubbing")
        same(await pen.send(batch), Verdict.DUP, "the last batch, sent again after scrubbing")
        batch = await pen.write(commit("t"))
        entries += [(*each[:3], batch.time, each[3]) for each in batch.entries]
        await holds(log, entries, "after scrubbing and writing")
        await log.release(pen.tenure)
    async with open_store() as store:
        await holds(store.log(0), entries, "after opening again")


TRIM_CHECKS: Final[Sequence[LogCheck]] = (
    a_trim_removes_what_ends_below,
    everything_may_be_trimmed,
    reading_all_begins_where_the_partition_was_trimmed,
    an_entry_is_rewritten_in_its_place,
    what_is_not_there_is_not_rewritten,
    entries_come_before_what_changes_them,
    scrubbing_changes_nothing_that_is_there,
)
