"""Promises about reading: order, ranges, limits, and that no tenant sees another's data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from intendant.domain.commit import (
    PLACES,
    AddToIndex,
    AddToOutbox,
    AppendJournal,
    ClaimKey,
    Commit,
    DropJournal,
    PutDocument,
    ReleaseKey,
    SettleOutbox,
)
from intendant.domain.ports import Document, IndexMember, Log, OutboxItem
from intendant.domain.records import decode_entry
from intendant.testing.conformance.pen import CONFUSABLE_IDS, HOSTILE_IDS, Pen, commit
from intendant.testing.conformance.promise import LogCheck, OpenStore, promise, same


async def nothing_is_there_at_first(open_store: OpenStore) -> None:
    """Every read of an empty log says so, owned or not."""
    async with open_store() as store:
        log = store.log(0)
        same(await log.document("t", "c", "k"), None, "a document")
        same(await log.fetch([("t", "c", "k"), ("t", "c", "l")]), [None, None], "documents by their keys")
        same(await log.documents("t", "c"), [], "documents")
        same(await log.documents("t", "c", after="k", newest_first=True), [], "documents, newest first")
        same(await log.journal("t", "x"), [], "a journal")
        same(await log.journals([("t", "x"), ("t", "y")]), [[], []], "journals")
        same(await log.index("i"), [], "an index")
        same(await log.key("t", "k"), None, "a key")
        same((await log.keys("t"), await log.keys("")), ([], []), "keys")
        same(await log.tenants(), [], "tenants")
        same(await log.outbox(), [], "the outbox")
        same(await log.checkpoint("reader"), 0, "a checkpoint")
        same(await log.entries("t"), [], "entries of a tenant")
        same(await log.entries(None, newest_first=True), [], "entries")
        same(await log.position_at(0), 1, "the position of any time")


async def documents_keep_since_and_version(open_store: OpenStore) -> None:
    """`since` is the sequence of the first record, `version` of the newest; a replaced body is gone."""
    async with open_store() as store:
        log = store.log(0)
        pen = await Pen.take(log)
        await pen.write(commit("t", records=4), commit("t", PutDocument("c", "k", b"1"), records=2))
        same(await log.document("t", "c", "k"), Document("k", b"1", 5, 6), "the document when it is new")
        await pen.write(commit("t", PutDocument("c", "k", b"two", since=5), PutDocument("c", "empty", b"")))
        same(await log.document("t", "c", "k"), Document("k", b"two", 5, 7), "the document when it was replaced")
        same(await log.document("t", "c", "empty"), Document("empty", b"", 7, 7), "a document without content")
        same(await log.document("t", "c", "other"), None, "a document that is not there")


async def documents_are_read_in_the_order_of_keys(open_store: OpenStore) -> None:
    """By code points, in both directions, in pages that neither lose nor repeat one."""
    async with open_store() as store:
        log = store.log(0)
        pen = await Pen.take(log)
        keys = sorted({*HOSTILE_IDS, *(f"{number:03}" for number in range(20))})
        await pen.write(*(commit("t", PutDocument("c", key, key.encode())) for key in reversed(keys)))
        for newest_first in (False, True):
            expected = keys[::-1] if newest_first else keys
            for limit in (1, 7, len(keys), len(keys) + 1):
                found = await _pages(log, limit, newest_first)
                same(found, expected, f"documents in pages of {limit}, newest first: {newest_first}")
        same(await log.documents("t", "c", limit=0), [], "a page of nothing")
        between = await log.documents("t", "c", after="0055", limit=2)
        same([document.key for document in between], ["006", "007"], "behind a key that is not there")
        between = await log.documents("t", "c", after="0055", limit=2, newest_first=True)
        same([document.key for document in between], ["005", "004"], "before a key that is not there")


async def _pages(log: Log, limit: int, newest_first: bool) -> list[str]:
    found: list[str] = []
    while page := await log.documents(
        "t", "c", after=found[-1] if found else "", limit=limit, newest_first=newest_first
    ):
        same([document.body for document in page], [document.key.encode() for document in page], "bodies of keys")
        found.extend(document.key for document in page)
        promise(len(found) < 1000, "pages come to an end")
    return found


async def documents_are_fetched_in_the_order_asked_for(open_store: OpenStore) -> None:
    """Some hundreds at once, of several tenants; None for what is not there, and twice what is asked for twice."""
    async with open_store() as store:
        log = store.log(0)
        pen = await Pen.take(log)
        keys = [*HOSTILE_IDS, *(f"{number:03}" for number in range(200))]
        for tenant in ("t", "t:a", "T"):
            await pen.write(*(commit(tenant, PutDocument("c", key, f"{tenant} {key}".encode())) for key in keys))
        places = [(tenant, collection, key) for key in keys for tenant in ("t:a", "u", "t") for collection in "cd"]
        wanted = [*places[::3], *places[::-2][:300], ("t", "c", "a"), ("t", "c", "a")]
        found = await log.fetch(wanted)
        same([document and document.body for document in found], [_fetched(*place) for place in wanted], "documents")
        one_by_one = [await log.document(*place) for place in wanted[-50:]]
        same(found[-50:], one_by_one, "documents fetched together, and one by one")
        same(await log.fetch([]), [], "nothing")


def _fetched(tenant: str, collection: str, key: str) -> bytes | None:
    return f"{tenant} {key}".encode() if collection == "c" and tenant != "u" else None


async def keys_are_read_in_their_order(open_store: OpenStore) -> None:
    """Each with its value, of one tenant, in pages that neither lose nor repeat one; released ones are gone."""
    async with open_store() as store:
        log = store.log(0)
        pen = await Pen.take(log)
        keys = sorted({*HOSTILE_IDS, *(f"{number:03}" for number in range(20))})
        tenants = ("t", "T", "t:", "s", "u")
        for tenant in tenants:
            await pen.write(*(commit(tenant, ClaimKey(key, f"{tenant} {key}".encode())) for key in reversed(keys)))
        for tenant in tenants:
            expected = [(key, f"{tenant} {key}".encode()) for key in keys]
            for limit in (1, 7, len(keys), 1000):
                found: list[tuple[str, bytes]] = []
                while page := await log.keys(tenant, after=found[-1][0] if found else "", limit=limit):
                    found.extend(page)
                    promise(len(found) <= len(keys), "pages come to an end")
                same(found, expected, f"keys of {tenant!r} in pages of {limit}")
        same([key for key, _ in await log.keys("t", after="0055", limit=2)], ["006", "007"], "behind what is not there")
        await pen.write(*(commit("t", ReleaseKey(key)) for key in keys[::2]))
        same([key for key, _ in await log.keys("t")], keys[1::2], "keys after some were released")
        same([key for key, _ in await log.keys("u")], keys, "keys of another tenant")


async def tenants_are_read_in_their_order(open_store: OpenStore) -> None:
    """Those that have log entries, the partition itself among them, in pages that neither lose nor repeat one."""
    async with open_store() as store:
        log = store.log(0)
        pen = await Pen.take(log)
        tenants = sorted({"", *HOSTILE_IDS, *(f"{number:03}" for number in range(40))})
        await pen.write(*(commit(tenant) for tenant in reversed(tenants[1:])))
        same(await log.tenants(), tenants[1:], "tenants, before the partition has records of its own")
        for turn in range(3):
            await pen.write(*(commit(tenant, records=2) for tenant in tenants[turn:]))
            for limit in (2, 7, len(tenants), 1000):
                found: list[str] = []
                while page := await log.tenants(after=found[-1] if found else "", limit=limit):
                    promise(len(page) <= limit, "no page is longer than was asked for")
                    found.extend(page)
                    promise(len(found) <= len(tenants), "pages come to an end")
                same(found, tenants, f"tenants in pages of {limit}")
        same(await log.tenants(after="0055", limit=2), ["006", "007"], "behind a tenant that is not there")


async def a_journal_keeps_its_order(open_store: OpenStore) -> None:
    """The order of appending, across batches; each execution has its own, and begins anew after it was dropped."""
    async with open_store() as store:
        log = store.log(0)
        pen = await Pen.take(log)
        rows = [str(number).encode() for number in range(40)]
        for start in range(0, 40, 8):
            batch = rows[start : start + 8]
            await pen.write(
                commit("t", *(AppendJournal("x", row) for row in batch[:5])),
                commit("t", AppendJournal("y", b"of y")),
                *(commit("t", AppendJournal("x", row)) for row in batch[5:]),
            )
        same(await log.journal("t", "x"), rows, "the journal")
        same(await log.journal("t", "y"), [b"of y"] * 5, "the other journal")
        same(await log.journals([("t", "y"), ("u", "x"), ("t", "x")]), [[b"of y"] * 5, [], rows], "journals, together")
        same(await log.journals([]), [], "no journals")
        await pen.write(commit("t", DropJournal("x")))
        same(await log.journal("t", "x"), [], "the dropped journal")
        same(await log.journal("t", "y"), [b"of y"] * 5, "the other journal, after the drop")
        await pen.write(commit("t", AppendJournal("x", b"again")))
        same(await log.journal("t", "x"), [b"again"], "the journal begun anew")


async def an_index_is_ordered_by_score_tenant_and_member(open_store: OpenStore) -> None:
    """Across tenants, with any 64-bit score, in pages that neither lose nor repeat one."""
    async with open_store() as store:
        log = store.log(0)
        pen = await Pen.take(log)
        scores = (0, 5, -1, 2**62, -(2**62), 1_700_000_000_000_000)
        members = [IndexMember(s, t, m) for s in scores for t in HOSTILE_IDS[:8] for m in ("m", "n", "a:b", "b")]
        for member in reversed(members):
            if member.member == "b":
                await pen.write(commit(member.tenant, AddToIndex("other", member.member, member.score)))
        await pen.write(
            *(commit(m.tenant, AddToIndex("i", m.member, m.score)) for m in reversed(members)),
        )
        expected = sorted(members, key=lambda m: (m.score, m.tenant, m.member))
        for limit in (1, 50, 1000):
            found: list[IndexMember] = []
            while page := await log.index("i", after=found[-1] if found else None, limit=limit):
                found.extend(page)
                promise(len(found) <= len(members), "pages come to an end")
            same(found, expected, f"the index in pages of {limit}")
        same(
            await log.index("i", after=IndexMember(5, "", ""), limit=1), [IndexMember(5, "A", "a:b")], "from a score on"
        )
        same(len(await log.index("other")), len(scores) * 8, "members of another index")
        same(await log.index("ghost"), [], "an index that is not there")


async def the_outbox_keeps_the_order_of_the_log(open_store: OpenStore) -> None:
    """Until an event is settled; with its position, tenant, session and time."""
    async with open_store() as store:
        log = store.log(0)
        pen = await Pen.take(log)
        for number in range(6):
            sessions = (f"s{number}", f"r{number}")
            await pen.write(
                commit("u", *(AddToOutbox(session, session.encode()) for session in sessions)),
                commit("t", AddToOutbox("q", str(number).encode())),
            )
        items = await log.outbox()
        same(sorted(items, key=lambda item: item.position), items, "the order of positions")
        same([i.body for i in items[:3]], [b"0", b"s0", b"r0"], "the first batch, tenants brought together")
        same(items[1], OutboxItem(2 * PLACES, "u", "s0", 10, b"s0"), "an event of the first batch")
        same([i.time for i in items], [10 * (n // 3 + 1) for n in range(18)], "times")
        same(await log.outbox(after=items[4].position, limit=3), items[5:8], "from a position on")
        same(await log.outbox(tenant="t"), items[::3], "events of one tenant")
        same(await log.outbox(tenant="t", after=items[3].position, limit=2), items[6:12:3], "a page of one tenant")
        same(await log.outbox(tenant="v"), [], "events of a tenant that has none")
        settled = (items[0], items[4], items[17])
        await pen.write(commit("t", SettleOutbox(tuple(item.position for item in settled)), SettleOutbox((5, 6))))
        same(await log.outbox(), [item for item in items if item not in settled], "what waits after a settlement")


async def entries_are_found_by_sequence(open_store: OpenStore) -> None:
    """Those that hold a sequence of the range, rising or falling, of one tenant or all; whole at the boundaries."""
    async with open_store() as store:
        log = store.log(0)
        pen = await Pen.take(log)
        written: list[tuple[str, int, int, bytes]] = []
        for number in range(12):
            commits = [commit("t", records=3)] if number % 3 else [commit("u", records=2), commit("t"), commit("a")]
            written.extend((await pen.write(*commits)).entries)
        last = pen.next - 1
        for tenant in ("t", "u", "a", "v", None):
            for first, end in ((0, None), (1, 1), (2, 5), (4, 4), (6, 20), (9, 8), (last, None), (last + 1, None)):
                expected = [
                    entry
                    for of, begin, count, entry in written
                    if tenant in (of, None) and begin + count > first and (end is None or begin <= end)
                ]
                what = f"entries of {tenant!r} in {first}..{end}"
                same(await log.entries(tenant, first=first, last=end), expected, what)
                found = await log.entries(tenant, first=first, last=end, newest_first=True)
                same(found, expected[::-1], f"{what}, newest first")
                same(await log.entries(tenant, first=first, last=end, limit=2), expected[:2], f"{what}, two of them")
                found = await log.entries(tenant, first=first, last=end, limit=2, newest_first=True)
                same(found, expected[::-1][:2], f"{what}, the newest two")
        records = [record for entry in await log.entries(None) for record in decode_entry(entry)]
        same([record.sequence for record in records], list(range(1, last + 1)), "sequences without gaps")


async def times_are_found_by_halving(open_store: OpenStore) -> None:
    """The first record that is not before a time; several batches may have one time."""
    async with open_store() as store:
        log = store.log(0)
        pen = await Pen.take(log)
        firsts: list[tuple[int, int]] = []  # time, sequence
        for time in (100, 100, 105, 200, 200, 200, 300, 1000, 1001, 1001, 5000):
            batch = await pen.write(commit("t", records=1 + time % 3), commit("u"), time=time)
            firsts.append((time, batch.first))
        for time in (0, 1, 99, 100, 101, 105, 106, 199, 200, 201, 300, 999, 1000, 1001, 1002, 5000, 5001, 2**62):
            expected = min([first for at, first in firsts if at >= time], default=pen.next)
            same(await log.position_at(time), expected, f"the position of {time}")


async def no_read_crosses_tenants(open_store: OpenStore) -> None:
    """Whatever ids look like: each tenant finds its own, and nothing under an id that is not its own."""
    async with open_store() as store:
        log = store.log(0)
        pen = await Pen.take(log)
        some = list(enumerate(CONFUSABLE_IDS))
        pairs = [(tenant, key) for row, tenant in some for column, key in some if row * column % 3 != 1]
        await pen.write(*(_marked(tenant, key) for tenant, key in pairs[:120]))
        await pen.write(*(_marked(tenant, key) for tenant, key in pairs[120:]))
        for tenant in HOSTILE_IDS:
            own = sorted(key for of, key in pairs if of == tenant)
            same([d.key for d in await log.documents(tenant, "c")], own, f"documents of {tenant!r}")
            same({i.session for i in await log.outbox(tenant=tenant)}, set(own), f"events of {tenant!r}")
            entries = [record for entry in await log.entries(tenant) for record in decode_entry(entry)]
            same({r.tenant for r in entries}, {tenant} if own else set(), f"tenants in the log of {tenant!r}")
            same(len(entries), len(own), f"records of {tenant!r}")
            for key in CONFUSABLE_IDS:
                mark = _mark(tenant, key) if (tenant, key) in pairs else None
                document = await log.document(tenant, "c", key)
                same(document and document.body, mark, f"the document {key!r} of {tenant!r}")
                same(await log.key(tenant, key), mark, f"the key {key!r} of {tenant!r}")
                same(await log.journal(tenant, key), [mark] if mark else [], f"the journal {key!r} of {tenant!r}")


def _marked(tenant: str, key: str) -> Commit:
    mark = _mark(tenant, key)
    return commit(
        tenant, PutDocument("c", key, mark), ClaimKey(key, mark), AppendJournal(key, mark), AddToOutbox(key, mark)
    )


def _mark(tenant: str, key: str) -> bytes:
    return f"{len(tenant)} {tenant} {key}".encode()


async def no_read_crosses_collections(open_store: OpenStore) -> None:
    """Collections, indexes and checkpoints of hostile names are as separate as tenants."""
    async with open_store() as store:
        log = store.log(0)
        pen = await Pen.take(log)
        for name in HOSTILE_IDS:
            await pen.write(commit("t", PutDocument(name, "k", name.encode()), AddToIndex(name, name)))
        for name in HOSTILE_IDS:
            same([d.body for d in await log.documents("t", name)], [name.encode()], f"documents in {name!r}")
            same([m.member for m in await log.index(name)], [name], f"members of {name!r}")


READ_CHECKS: Final[Sequence[LogCheck]] = (
    nothing_is_there_at_first,
    documents_keep_since_and_version,
    documents_are_read_in_the_order_of_keys,
    documents_are_fetched_in_the_order_asked_for,
    keys_are_read_in_their_order,
    tenants_are_read_in_their_order,
    a_journal_keeps_its_order,
    an_index_is_ordered_by_score_tenant_and_member,
    the_outbox_keeps_the_order_of_the_log,
    entries_are_found_by_sequence,
    times_are_found_by_halving,
    no_read_crosses_tenants,
    no_read_crosses_collections,
)
