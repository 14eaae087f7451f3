"""The conformance suite of `ColdStore`. Every check wants an empty place to itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from intendant.domain.ports import ColdDocument
from intendant.testing.conformance.pen import HOSTILE_IDS
from intendant.testing.conformance.promise import OpenCold, same

ColdCheck = Callable[[OpenCold], Awaitable[None]]


async def an_older_version_never_wins(open_cold: OpenCold) -> None:
    """Whatever order writes come in, and however often each comes; a tombstone is a version like any other."""
    async with open_cold() as store:
        for version, expected in ((5, 5), (3, 5), (5, 5), (8, 8), (7, 8), (8, 8)):
            await store.put([_document(version)])
            same(await store.document("t", "c", "k"), _document(expected), f"the document after version {version}")
        await store.put([ColdDocument("t", "c", "k", 9, None)])
        await store.put([_document(8)])
        same(await store.document("t", "c", "k"), None, "the document after its tombstone")
        await store.put([_document(10)])
        same(await store.document("t", "c", "k"), _document(10), "the document after a newer version")


def _document(version: int) -> ColdDocument:
    return ColdDocument("t", "c", "k", version, b"body %d" % version)


async def one_call_may_hold_a_document_twice(open_cold: OpenCold) -> None:
    """The highest version of it is kept."""
    async with open_cold() as store:
        await store.put([_document(2), _document(4), _document(3)])
        same(await store.document("t", "c", "k"), _document(4), "the document")
        await store.put([])


async def what_is_archived_stays_as_it_is(open_cold: OpenCold) -> None:
    """In order of sequence, per partition and tenant; archiving again changes nothing."""
    async with open_cold() as store:
        entries = [
            ("t", 1, b"one"),
            ("u", 3, b"three"),
            ("t", 4, b"four"),
            ("t", 20, b"twenty"),
            ("t", 100, b"hundred"),
        ]
        await store.archive(0, entries[3:])
        await store.archive(0, entries[:4])
        await store.archive(0, entries)
        await store.archive(1, [("t", 2, b"of another partition")])
        await store.archive(0, [])
        same(await store.archived(0), [entry for _, _, entry in entries], "the archive")
        same(await store.archived(0, "t"), [b"one", b"four", b"twenty", b"hundred"], "the archive of one tenant")
        same(await store.archived(0, "v"), [], "the archive of a tenant that has none")
        same(await store.archived(1), [b"of another partition"], "the archive of another partition")


async def no_read_crosses_cold_tenants(open_cold: OpenCold) -> None:
    """Whatever ids look like."""
    async with open_cold() as store:
        some = HOSTILE_IDS[:12]
        await store.put([ColdDocument(t, "c", k, 1, f"{t} {k}".encode()) for t in some for k in some if t <= k])
        await store.archive(0, [(tenant, place + 1, tenant.encode()) for place, tenant in enumerate(HOSTILE_IDS)])
        for tenant in some:
            for key in some:
                expected = ColdDocument(tenant, "c", key, 1, f"{tenant} {key}".encode()) if tenant <= key else None
                same(await store.document(tenant, "c", key), expected, f"the document {key!r} of {tenant!r}")
        for tenant in HOSTILE_IDS:
            same(await store.archived(0, tenant), [tenant.encode()], f"the archive of {tenant!r}")


async def cold_state_survives_reopening(open_cold: OpenCold) -> None:
    """Closing twice is no error."""
    async with open_cold() as store:
        await store.put([_document(1)])
        await store.archive(0, [("t", 1, b"one")])
        await store.close()
    async with open_cold() as store:
        same(await store.document("t", "c", "k"), _document(1), "the document after opening again")
        same(await store.archived(0), [b"one"], "the archive after opening again")


COLD_CHECKS: Final[Sequence[ColdCheck]] = (
    an_older_version_never_wins,
    one_call_may_hold_a_document_twice,
    what_is_archived_stays_as_it_is,
    no_read_crosses_cold_tenants,
    cold_state_survives_reopening,
)


async def check_cold(new_place: Callable[[], OpenCold]) -> None:
    """Run all checks, each in a new, empty place. Raises BrokenPromise at the first one that fails."""
    for check in COLD_CHECKS:
        await check(new_place())
