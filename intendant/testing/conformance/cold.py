"""The conformance suite of `ColdStore`. Every check wants an empty place to itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from itertools import permutations
from typing import Any, Final

from intendant.domain.codec import COMMIT_BYTES_MAX
from intendant.domain.commit import RECORDS_MAX
from intendant.domain.errors import StoreUnavailable
from intendant.domain.ports import Chunk, ColdDocument, ColdStore
from intendant.domain.refused import REFUSED, Refused
from intendant.testing.conformance.pen import CONFUSABLE_IDS, HOSTILE_IDS
from intendant.testing.conformance.promise import BrokenPromise, OpenCold, promise, refuses, same

ColdCheck = Callable[[OpenCold], Awaitable[None]]

_ENDS: Final = ((0, None), (1, 1), (10, 10), (9, 11), (15, 24), (20, 29), (21, 28), (30, 5), (99, None), (1, 999))


def _document(version: int, key: str = "k", tenant: str = "t", body: bytes | None = b"body") -> ColdDocument:
    return ColdDocument(tenant, "c", key, version, None if body is None else b"%s %d" % (body, version))


def _chunk(tenant: str, first: int, last: int, version: int = 0) -> Chunk:
    entries = [f"{tenant} {first} {last} {version or last} {number}".encode() for number in range(3)]
    return Chunk(tenant, first, last, version or last, entries)


def _tombstone(tenant: str, first: int, last: int, version: int) -> Chunk:
    return Chunk(tenant, first, last, version, [])


async def nothing_is_cold_at_first(open_cold: OpenCold) -> None:
    """Every read of an empty store says so, and removing from it is no error."""
    async with open_cold() as store:
        same(await store.document("t", "c", "k"), None, "a document")
        same(await store.documents("t", "c"), [], "documents")
        same(await store.documents("t", "c", after="k", newest_first=True), [], "documents, newest first")
        same((await store.chunks(0, "t"), await store.chunks(0, None)), ([], []), "chunks")
        same((await store.tail(0), await store.tail(3)), (0, 0), "the tail")
        same(await store.tenants(), [], "tenants")
        await store.remove([("t", "c", "k")])
        await store.trim(0, "t", below=99)
        for nothing in (store.put([]), store.archive(0, []), store.remove([])):
            await nothing
        same(await store.tenants(), [], "tenants, after nothing was written")


# --- documents


async def an_older_version_never_wins(open_cold: OpenCold) -> None:
    """Whatever order writes come in, and however often each comes; a tombstone is a version like any other."""
    async with open_cold() as store:
        for version, expected in ((5, 5), (3, 5), (5, 5), (8, 8), (7, 8), (8, 8)):
            await store.put([_document(version)])
            same(await store.document("t", "c", "k"), _document(expected), f"the document after version {version}")
        await store.put([_document(8, body=b"another")])
        same(await store.document("t", "c", "k"), _document(8), "the document after another one of its version")
        await store.put([_document(9, body=None)])
        for version in (8, 9, 1):
            await store.put([_document(version)])
            same(await store.document("t", "c", "k"), None, f"a deleted document, when version {version} comes late")
            same(await store.documents("t", "c"), [], "the list of documents without it")
        await store.put([_document(10)])
        same(await store.document("t", "c", "k"), _document(10), "the document after a newer version")
        same(await store.documents("t", "c"), [_document(10)], "the list with it")


async def writes_of_documents_may_come_in_any_order(open_cold: OpenCold) -> None:
    """With the same end: what the highest version says, be it a tombstone."""
    async with open_cold() as store:
        for place, order in enumerate(permutations((1, 2, 3, 4))):
            alive, buried = f"a{place}", f"b{place}"
            for version in order:
                await store.put([_document(version, alive, body=None if version % 2 else b"body")])
                await store.put([_document(version, buried, body=b"body" if version % 2 else None)])
            same(await store.document("t", "c", alive), _document(4, alive), f"versions in the order {order}")
            same(await store.document("t", "c", buried), None, f"versions in the order {order}, the last one deletes")


async def one_call_may_hold_a_document_twice(open_cold: OpenCold) -> None:
    """The highest version of it is kept."""
    async with open_cold() as store:
        await store.put([_document(2), _document(4), _document(3)])
        same(await store.document("t", "c", "k"), _document(4), "the document")
        await store.put([_document(6, body=None), _document(5), _document(4)])
        same(await store.document("t", "c", "k"), None, "the document, deleted by the highest version")


async def many_documents_are_kept_by_one_call(open_cold: OpenCold) -> None:
    """512 of them, of every size, some not there, some deleted; each as it was."""
    async with open_cold() as store:
        documents = [_document(n + 1, f"{n:03}", body=None if n % 7 == 3 else b"x" * (n * 37)) for n in range(512)]
        documents.append(ColdDocument("t", "c", "empty", 1, b""))
        documents.append(ColdDocument("t", "c", "every byte", 2**53 - 1, bytes(range(256)) * 256))
        await store.put(documents)
        await store.put(documents[::-1])
        alive = [document for document in documents if document.body is not None]
        same(await _documents(store, 100), sorted(alive, key=_key), "the documents")
        same(await store.document("t", "c", "003"), None, "a deleted document")


def _key(document: ColdDocument) -> str:
    return document.key


async def _documents(store: ColdStore, limit: int, newest_first: bool = False) -> list[ColdDocument]:
    found: list[ColdDocument] = []
    while page := await store.documents(
        "t", "c", after=found[-1].key if found else "", limit=limit, newest_first=newest_first
    ):
        promise(len(page) <= limit, "no page is longer than was asked for")
        found.extend(page)
        promise(len(found) < 1000, "pages come to an end")
    return found


async def cold_documents_are_read_in_the_order_of_keys(open_cold: OpenCold) -> None:
    """By code points, in both directions, in pages that neither lose nor repeat one; no tombstones, also none that
    make a page shorter.
    """
    async with open_cold() as store:
        keys = sorted({*HOSTILE_IDS, *(f"{number:03}" for number in range(20))})
        deleted = [f"{key}!" for key in keys]
        await store.put([_document(1, key) for key in reversed(keys)])
        await store.put([_document(2, key, body=None) for key in deleted])
        for newest_first in (False, True):
            expected = keys[::-1] if newest_first else keys
            for limit in (1, 7, len(keys), len(keys) + 1):
                found = await _documents(store, limit, newest_first)
                same([document.key for document in found], expected, f"pages of {limit}, newest first: {newest_first}")
        same(len(await store.documents("t", "c", limit=30)), 30, "a page among tombstones")
        between = await store.documents("t", "c", after="0055", limit=2)
        same([document.key for document in between], ["006", "007"], "behind a key that is not there")
        between = await store.documents("t", "c", after="0055", limit=2, newest_first=True)
        same([document.key for document in between], ["005", "004"], "before a key that is not there")


async def what_is_removed_leaves_no_trace(open_cold: OpenCold) -> None:
    """Not even a version: it may come again with a lower one. A tombstone can be removed, too."""
    async with open_cold() as store:
        await store.put([_document(5, key) for key in ("a", "b", "d")])
        await store.put([_document(5, "dead", body=None), _document(5, "a", tenant="u")])
        places = [("t", "c", key) for key in ("a", "b", "dead", "never", "a")]
        for _ in range(2):
            await store.remove(places)
            same([document.key for document in await store.documents("t", "c")], ["d"], "what is left")
        same(await store.document("u", "c", "a"), _document(5, "a", tenant="u"), "another tenant's document")
        await store.put([_document(1, key) for key in ("a", "dead", "d")])
        found = [(document.key, document.version) for document in await store.documents("t", "c")]
        same(found, [("a", 1), ("d", 5), ("dead", 1)], "documents after some came again")


# --- chunks


async def chunks_are_found_by_sequence(open_cold: OpenCold) -> None:
    """Those that hold a sequence of the range, rising or falling, of one tenant or of all; whole at the boundaries."""
    async with open_cold() as store:
        chunks = [
            *(_chunk("t", first, first + 9) for first in (10, 20, 40, 300)),
            *(_chunk("u", first, last) for first, last in ((1, 25), (26, 26), (31, 39))),
            _chunk("", 5, 9),
            _chunk("v", 50, 10**6),
        ]
        for part in (chunks[5:], chunks[:6], [chunks[0]]):
            await store.archive(0, part)
        await store.archive(1, [_chunk("t", 12, 13)])
        for tenant in ("t", "u", "", "v", "w", None):
            for first, last in _ENDS:
                expected = [each for each in chunks if tenant in (each.tenant, None) and _overlaps(each, first, last)]
                expected.sort(key=_first)
                await _ranges(store, tenant, first, last, expected)
        same(await store.chunks(1, None), [_chunk("t", 12, 13)], "chunks of another partition")
        same(await store.chunks(2, None), [], "chunks of a partition that has none")
        same([await store.tail(partition) for partition in range(3)], [10**6, 13, 0], "tails")


def _first(chunk: Chunk) -> int:
    return chunk.first


def _overlaps(chunk: Chunk, first: int, last: int | None) -> bool:
    return chunk.last >= first and (last is None or chunk.first <= last)


async def _ranges(store: ColdStore, tenant: str | None, first: int, last: int | None, expected: list[Chunk]) -> None:
    what = f"chunks of {tenant!r} in {first}..{last}"
    for newest_first in (False, True):
        asked: dict[str, Any] = {"first": first, "last": last, "newest_first": newest_first}
        ordered = expected[::-1] if newest_first else expected
        same(await store.chunks(0, tenant, **asked), ordered, f"{what}, newest first: {newest_first}")
        same(await store.chunks(0, tenant, limit=2, **asked), ordered[:2], f"two {what}, newest first: {newest_first}")


async def a_chunk_grows_at_its_place(open_cold: OpenCold) -> None:
    """The one with the higher version is kept, also when what it replaces was longer."""
    async with open_cold() as store:
        for first, last, version, kept in (
            (10, 12, 0, (12, 12)),
            (10, 19, 0, (19, 19)),
            (10, 15, 0, (19, 19)),
            (10, 19, 99, (19, 99)),
            (10, 25, 0, (19, 99)),
            (10, 12, 100, (12, 100)),
            (10, 30, 101, (30, 101)),
        ):
            await store.archive(0, [_chunk("t", first, last, version), _chunk("u", 40, 45)])
            expected = [_chunk("t", 10, *kept), _chunk("u", 40, 45)]
            same(await store.chunks(0, None), expected, f"chunks after {first}..{last}, version {version}")
        same(await store.chunks(0, "t", first=30, last=30), [_chunk("t", 10, 30, 101)], "by the end it has grown to")
        again = Chunk("t", 10, 30, 101, [b"another"])
        await store.archive(0, [again])
        same(await store.chunks(0, "t"), [_chunk("t", 10, 30, 101)], "the chunk after another one of its version")


async def one_call_may_hold_a_chunk_twice(open_cold: OpenCold) -> None:
    """The highest version of it is kept."""
    async with open_cold() as store:
        await store.archive(0, [_chunk("t", 1, 5), _chunk("t", 1, 9), _chunk("t", 1, 7)])
        same(await store.chunks(0, "t"), [_chunk("t", 1, 9)], "the chunk")


async def a_buried_chunk_stays_buried(open_cold: OpenCold) -> None:
    """Late writes of older versions bring nothing back; the tail still knows it."""
    async with open_cold() as store:
        await store.archive(0, [_chunk("t", 1, 9), _chunk("t", 10, 19)])
        for _ in range(2):
            await store.archive(0, [_tombstone("t", 10, 19, 50), _tombstone("t", 30, 39, 50)])
            late = [_chunk("t", 10, 19), _chunk("t", 10, 29), _chunk("t", 30, 39), _chunk("t", 10, 19, 50)]
            for chunk in late:
                await store.archive(0, [chunk])
            for tenant in ("t", None):
                same(await store.chunks(0, tenant), [_chunk("t", 1, 9)], f"chunks of {tenant!r} beside tombstones")
                same(await store.chunks(0, tenant, first=10), [], f"chunks of {tenant!r}, where there are tombstones")
                found = await store.chunks(0, tenant, limit=1, newest_first=True)
                same(found, [_chunk("t", 1, 9)], f"the newest chunk of {tenant!r} that is no tombstone")
        same(await store.tail(0), 39, "the tail, which tombstones have, too")
        await store.archive(0, [_chunk("t", 10, 19, 51)])
        same(len(await store.chunks(0, "t")), 2, "chunks after a newer version came")


async def a_rewritten_chunk_stays_rewritten(open_cold: OpenCold) -> None:
    """With a version behind its last record, and fewer entries than sequences; also where a longer one comes late."""
    async with open_cold() as store:
        rewritten = Chunk("t", 10, 19, 50, [b"without"])
        await store.archive(0, [_chunk("t", 1, 9), _chunk("t", 10, 19)])
        await store.archive(0, [rewritten])
        for late in (_chunk("t", 10, 19), _chunk("t", 10, 29), _chunk("t", 10, 49), _chunk("t", 10, 50)):
            await store.archive(0, [late])
            same(await store.chunks(0, "t"), [_chunk("t", 1, 9), rewritten], f"chunks when {late.last} comes late")
            same(await store.chunks(0, "t", first=15, last=15), [rewritten], "the chunk by one of its sequences")
        same(await store.tail(0), 19, "the tail")
        await store.archive(0, [Chunk("t", 10, 19, 60, [])])
        same(await store.chunks(0, "t"), [_chunk("t", 1, 9)], "chunks when it was buried afterwards")


async def a_chunk_is_as_large_as_a_batch(open_cold: OpenCold) -> None:
    """512 entries, 1 MiB, any bytes, also no byte at all."""
    async with open_cold() as store:
        entries = [bytes([number % 256]) * (COMMIT_BYTES_MAX // RECORDS_MAX) for number in range(RECORDS_MAX)]
        large = Chunk("t", 1, RECORDS_MAX, RECORDS_MAX, entries)
        odd = Chunk("t", 600, 603, 2**53 - 1, [b"", bytes(range(256)), b"", b"\xff\xfe"])
        many = [_chunk("t", first, first + 1) for first in range(1000, 1400, 2)]
        await store.archive(0, [large, odd, *many])
        found = await store.chunks(0, "t", limit=1000)
        same([(each.first, each.last, each.version, len(each.entries)) for each in found[:1]], [(1, 512, 512, 512)], "")
        promise(found[0].entries == entries, "a large chunk comes back as it was")
        same(found[1:], [odd, *many], "the other chunks")
        pages: list[Chunk] = []
        while page := await store.chunks(0, None, first=pages[-1].last + 1 if pages else 0, limit=60):
            pages.extend(page)
        same([each.first for each in pages], [each.first for each in found], "chunks in pages")


async def a_trim_removes_chunks_that_end_below(open_cold: OpenCold) -> None:
    """Of one tenant of one partition, tombstones as well; what holds the sequence stays whole."""
    async with open_cold() as store:
        chunks = [_chunk(tenant, first, first + 9) for first in (10, 30, 50) for tenant in ("t", "u")]
        chunks = [each if each.tenant == "t" else _chunk("u", each.first + 10, each.last + 10) for each in chunks]
        await store.archive(0, chunks)
        await store.archive(1, [_chunk("t", 10, 19)])
        await store.archive(0, [_tombstone("t", 1, 2, 9), _tombstone("t", 90, 95, 96)])
        for below, left in ((10, 3), (19, 3), (20, 2), (20, 2), (39, 2), (50, 1), (5, 1)):
            await store.trim(0, "t", below=below)
            expected = [each for each in chunks if each.tenant == "t"][3 - left :]
            same(await store.chunks(0, "t"), expected, f"chunks after a trim below {below}")
        same(len(await store.chunks(0, "u")), 3, "chunks of another tenant")
        same(await store.chunks(1, "t"), [_chunk("t", 10, 19)], "chunks of another partition")
        same(await store.tail(0), 95, "the tail, which a tombstone has")
        await store.archive(0, [_chunk("t", 1, 2)])
        same(len(await store.chunks(0, "t")), 2, "chunks after one came again whose tombstone was trimmed")
        await store.trim(0, "t", below=10**9)
        same((await store.chunks(0, "t"), await store.tail(0)), ([], 69), "what is left of t, and the tail")


# --- tenants


async def letters_leave_with_what_they_are_of(open_cold: OpenCold) -> None:
    """What was refused is a document of its tenant, and goes when the document or the chunk at its place goes."""
    chunks = [_chunk("t", 1, 9), _chunk("t", 11, 19), _chunk("u", 1, 9)]
    places = [(0, chunks[0]), (0, chunks[1]), (0, chunks[2]), (12, chunks[0]), (1, chunks[0])]
    refused: list[ColdDocument | tuple[int, Chunk]] = [
        *places,
        _document(3, "a"),
        _document(3, "b"),
        _document(3, "a", "u"),
    ]
    letters = [Refused(each, "why").letter for each in refused]
    async with open_cold() as store:
        await store.put(letters)
        same(await store.tenants(), ["t", "u"], "tenants of which only letters are there")
        for letter in letters:
            same(await store.document(letter.tenant, REFUSED, letter.key), letter, "a letter")
        await store.remove([("t", "c", "a")])
        await store.trim(0, "t", below=19)
        left = {each.key for each in await store.documents("t", REFUSED)}
        expected = {letters[place].key for place in (1, 3, 4, 6)}
        same(left, expected, "letters that are left")
        same(len(await store.documents("u", REFUSED)), 2, "letters of another tenant")
        await store.trim(0, "t", below=20)
        same(await store.document("t", REFUSED, letters[1].key), None, "a letter that was trimmed later")


async def cold_tenants_are_read_in_their_order(open_cold: OpenCold) -> None:
    """Those that have documents or chunks, in pages that neither lose nor repeat one; tombstones do not count."""
    async with open_cold() as store:
        tenants = sorted({"", *HOSTILE_IDS})
        await store.put([_document(1, tenant=tenant) for tenant in tenants[::2]])
        await store.archive(3, [_chunk(tenant, place + 1, place + 1) for place, tenant in enumerate(tenants[1::2])])
        await store.archive(0, [_chunk(tenants[4], 1, 1), _chunk(tenants[5], 2, 2)])
        await store.put([_document(5, tenant="only a tombstone", body=None)])
        await store.archive(0, [_tombstone("only tombstones", 5, 6, 7)])
        for limit in (2, 7, len(tenants), 1000):
            found: list[str] = []
            while page := await store.tenants(after=found[-1] if found else "", limit=limit):
                found.extend(page)
                promise(len(found) <= len(tenants), f"pages of {limit} come to an end, and no tombstone is told")
            same(found, tenants, f"tenants in pages of {limit}")
        await store.remove([(tenants[0], "c", "k")])
        await store.put([_document(2, tenant=tenants[2], body=None)])
        await store.trim(3, tenants[1], below=10**6)
        same(await store.tenants(), tenants[3:], "tenants, after all of some was removed")


async def no_read_crosses_cold_tenants(open_cold: OpenCold) -> None:
    """Whatever ids look like, of tenants, collections and keys."""
    async with open_cold() as store:
        some = CONFUSABLE_IDS
        pairs = [(tenant, key) for tenant in some for key in some if tenant <= key]
        await store.put([ColdDocument(t, "c", k, 1, f"{t} {k}".encode()) for t, k in pairs])
        await store.put([ColdDocument("t", name, "k", 1, name.encode()) for name in HOSTILE_IDS])
        await store.archive(0, [_chunk(tenant, 2 * place + 1, 2 * place + 2) for place, tenant in enumerate(some)])
        for place, tenant in enumerate(some):
            for key in some:
                expected = ColdDocument(tenant, "c", key, 1, f"{tenant} {key}".encode()) if tenant <= key else None
                same(await store.document(tenant, "c", key), expected, f"the document {key!r} of {tenant!r}")
            own = sorted(key for of, key in pairs if of == tenant)
            same([d.key for d in await store.documents(tenant, "c")], own, f"documents of {tenant!r}")
            chunk = _chunk(tenant, 2 * place + 1, 2 * place + 2)
            same(await store.chunks(0, tenant), [chunk], f"chunks of {tenant!r}")
        for name in HOSTILE_IDS:
            same([d.body for d in await store.documents("t", name)], [name.encode()], f"documents in {name!r}")
        await store.trim(0, "a", below=10**6)
        await store.remove([("a", "c", "a:b")])
        same(len(await store.chunks(0, None)), len(some) - 1, "chunks after one tenant's were trimmed")
        same(await store.document("a:b", "c", "a:b"), ColdDocument("a:b", "c", "a:b", 1, b"a:b a:b"), "another's")


async def cold_state_survives_reopening(open_cold: OpenCold) -> None:
    """Tombstones as well. Closing twice is no error, and a closed store refuses."""
    async with open_cold() as store:
        await store.put([_document(1), _document(9, "dead", body=None)])
        await store.archive(0, [_chunk("t", 1, 5), _tombstone("t", 6, 9, 20)])
        await store.close()
        await store.close()
        await refuses(store.put([_document(2)]), StoreUnavailable, "a write after closing")
        await refuses(store.tail(0), StoreUnavailable, "a read after closing")
    async with open_cold() as store:
        await store.put([_document(8, "dead")])
        await store.archive(0, [_chunk("t", 6, 9)])
        same(await store.documents("t", "c"), [_document(1)], "the documents after opening again")
        same(await store.chunks(0, None), [_chunk("t", 1, 5)], "the chunks after opening again")
        same((await store.tail(0), await store.tenants()), (9, ["t"]), "tail and tenants after opening again")


COLD_CHECKS: Final[Sequence[ColdCheck]] = (
    nothing_is_cold_at_first,
    an_older_version_never_wins,
    writes_of_documents_may_come_in_any_order,
    one_call_may_hold_a_document_twice,
    many_documents_are_kept_by_one_call,
    cold_documents_are_read_in_the_order_of_keys,
    what_is_removed_leaves_no_trace,
    chunks_are_found_by_sequence,
    a_chunk_grows_at_its_place,
    one_call_may_hold_a_chunk_twice,
    a_buried_chunk_stays_buried,
    a_rewritten_chunk_stays_rewritten,
    a_chunk_is_as_large_as_a_batch,
    a_trim_removes_chunks_that_end_below,
    letters_leave_with_what_they_are_of,
    cold_tenants_are_read_in_their_order,
    no_read_crosses_cold_tenants,
    cold_state_survives_reopening,
)


async def check_cold(new_place: Callable[[], OpenCold], checks: Sequence[ColdCheck] = COLD_CHECKS) -> None:
    """Run checks, each in a new, empty place. Raises BrokenPromise, naming the check, at the first one that fails."""
    for check in checks:
        try:
            await check(new_place())
        except Exception as error:
            name = getattr(check, "__name__", repr(check)).replace("_", " ")
            raise BrokenPromise(f"{name}: {type(error).__name__}: {error}") from error
