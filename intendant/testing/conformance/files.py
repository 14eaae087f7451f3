"""The conformance suite of `FileStore`. Every check wants an empty place to itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import anyio

from intendant.domain.ports import FileStore
from intendant.testing.conformance.pen import HOSTILE_IDS
from intendant.testing.conformance.promise import OpenFiles, promise, same

FileCheck = Callable[[OpenFiles], Awaitable[None]]


async def content_comes_back_as_it_was_put(open_files: OpenFiles) -> None:
    """Of any size, under one digest for one content."""
    async with open_files() as files:
        digests: set[str] = set()
        for content in (b"", b"a", bytes(range(256)) * 4096, b"\n" * 10):
            digest = await files.put("t", content)
            same(await files.put("t", content), digest, "the digest of the same content")
            same(await files.get("t", digest), content, "the content")
            digests.add(digest)
        same(await files.digests("t"), sorted(digests), "the digests of the tenant")
        promise(all(digest == digest.lower() and int(digest, 16) >= 0 for digest in digests), "digests are hexadecimal")


async def what_is_deleted_is_gone(open_files: OpenFiles) -> None:
    """Deleting it twice is no error, and it may be put again."""
    async with open_files() as files:
        digest = await files.put("t", b"content")
        for _ in range(2):
            await files.delete("t", digest)
            same(await files.get("t", digest), None, "deleted content")
            same(await files.digests("t"), [], "digests after deleting")
        await files.put("t", b"content")
        same(await files.get("t", digest), b"content", "content that was put again")


async def what_is_cleared_is_gone(open_files: OpenFiles) -> None:
    """Everything of one tenant, also of one that has nothing; it may be put again."""
    async with open_files() as files:
        digests = [await files.put("t", b"%d" % number) for number in range(5)]
        other = await files.put("u", b"1")
        for _ in range(2):
            await files.clear("t")
            same([await files.get("t", each) for each in digests], [None] * 5, "content that was cleared")
            same((await files.digests("t"), await files.digests("u")), ([], [other]), "digests after clearing")
        await files.clear("nobody")
        same(await files.put("t", b"1"), digests[1], "the digest of what is put again")
        same((await files.get("t", digests[1]), await files.get("u", other)), (b"1", b"1"), "content after clearing")


async def no_file_crosses_tenants(open_files: OpenFiles) -> None:
    """A digest of another tenant is one that does not exist."""
    async with open_files() as files:
        digests = {tenant: await files.put(tenant, tenant.encode()) for tenant in HOSTILE_IDS}
        shared = await files.put("t", b"shared")
        same(await files.put("a", b"shared"), shared, "the digest of the same content of another tenant")
        await files.delete("t", shared)
        same(await files.get("a", shared), b"shared", "content that another tenant has deleted")
        for tenant in HOSTILE_IDS:
            same(await files.digests(tenant), sorted({digests[tenant], *([shared] * (tenant == "a"))}), "digests")
            for other, digest in digests.items():
                expected = tenant.encode() if other == tenant else None
                same(await files.get(tenant, digest), expected, f"content of {other!r} asked for by {tenant!r}")


async def no_digest_leads_elsewhere(open_files: OpenFiles) -> None:
    """What is no digest names nothing."""
    async with open_files() as files:
        digest = await files.put("t", b"content")
        for wrong in (
            "",
            ".",
            "..",
            "../x",
            "/etc/hostname",
            digest[:-1],
            digest.upper() + "0",
            digest + "\n",
            "\0",
            "*",
        ):
            same(await files.get("t", wrong), None, f"content of {wrong!r}")
            await files.delete("t", wrong)
        same(await files.digests("t"), [digest], "digests afterwards")


async def many_may_put_at_once(open_files: OpenFiles) -> None:
    """The same content and others."""
    async with open_files() as files:
        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(_put, files, b"%d" % (number % 5))
        same(len(await files.digests("t")), 5, "how many contents there are")


async def _put(files: FileStore, content: bytes) -> None:
    same(await files.get("t", await files.put("t", content)), content, "content put among others")


async def files_survive_reopening(open_files: OpenFiles) -> None:
    """Another object over the same place finds them."""
    async with open_files() as files:
        digest = await files.put("t", b"content")
    async with open_files() as files:
        same(await files.get("t", digest), b"content", "content after opening again")


FILE_CHECKS: Final[Sequence[FileCheck]] = (
    content_comes_back_as_it_was_put,
    what_is_deleted_is_gone,
    what_is_cleared_is_gone,
    no_file_crosses_tenants,
    no_digest_leads_elsewhere,
    many_may_put_at_once,
    files_survive_reopening,
)


async def check_files(new_place: Callable[[], OpenFiles]) -> None:
    """Run all checks, each in a new, empty place. Raises BrokenPromise at the first one that fails."""
    for check in FILE_CHECKS:
        await check(new_place())
