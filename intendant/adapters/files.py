"""Files in a directory: one file per tenant and content, named by digest.

    root/<digest of the tenant>/<digest of the content>

Names are made of our own digests only, so that no id and no letter case of a file system can lead elsewhere. Content
is written beside its place, synced, renamed, and the directory synced: a name never stands for half a content.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Final, TypeVar

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

from intendant.domain.errors import InvalidValue, StoreUnavailable
from intendant.domain.records import DamagedEntry

THREADS_MAX: Final = 8

T = TypeVar("T")

_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_limiter: RunVar[anyio.CapacityLimiter] = RunVar("intendant_files_limiter")


def content_digest(content: bytes) -> str:
    """BLAKE2b of 256 bits, as 64 hexadecimal digits."""
    return blake2b(content, digest_size=32).hexdigest()


class DirectoryFileStore:
    """Keeps content under a directory, which is made when the first content is put. Works in threads of its own."""

    def __init__(self, path: str | Path) -> None:
        self._root = Path(path)

    async def put(self, tenant: str, content: bytes) -> str:
        """See `FileStore.put`. After a cancel or crash the content is kept whole, as an orphan, or not at all."""
        return await self._run(partial(_put, self._folder(tenant), bytes(content)))

    async def get(self, tenant: str, digest: str) -> bytes | None:
        """See `FileStore.get`. Raises DamagedEntry, an InternalError, when content does not match its digest."""
        if not _DIGEST.match(digest):
            return None
        return await self._run(partial(_get, self._folder(tenant), digest))

    async def delete(self, tenant: str, digest: str) -> None:
        """See `FileStore.delete`."""
        if _DIGEST.match(digest):
            await self._run(partial(_delete, self._folder(tenant), digest))

    async def digests(self, tenant: str) -> list[str]:
        """See `FileStore.digests`."""
        return await self._run(partial(_digests, self._folder(tenant)))

    async def clear(self, tenant: str) -> None:
        """See `FileStore.clear`."""
        await self._run(partial(_clear, self._folder(tenant)))

    def _folder(self, tenant: str) -> Path:
        return self._root / blake2b(tenant.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

    async def _run(self, work: Callable[[], T]) -> T:
        limiter = _limiter.get(None)
        if limiter is None:
            limiter = anyio.CapacityLimiter(THREADS_MAX)
            _limiter.set(limiter)
        try:
            return await anyio.to_thread.run_sync(work, limiter=limiter)
        except OSError as error:
            raise StoreUnavailable(f"files in {self._root}: {error}") from error


class NoFileStore:
    """Holds no files: for a hot store that has no place beside it. `put` says what to do."""

    def __init__(self, store: str) -> None:
        self._store = store

    async def put(self, tenant: str, content: bytes) -> str:
        """Raises InvalidValue, always."""
        del tenant, content
        raise InvalidValue(
            "files",
            f"{self._store} has no place for files; give Runtime(files='file:/a/directory') or set INTENDANT_FILES, "
            "with a directory that every process of this store reaches",
        )

    async def get(self, tenant: str, digest: str) -> None:
        """There is none."""

    async def delete(self, tenant: str, digest: str) -> None:
        """There is none."""

    async def digests(self, tenant: str) -> list[str]:
        """There are none."""
        del tenant
        return []

    async def clear(self, tenant: str) -> None:
        """There are none."""


def copy_directory(source: Path, target: Path, progress: Callable[[int], object] = bool) -> int:
    """Copy all content of a DirectoryFileStore into the directory of another one; returns how many files were copied.

    What is removed meanwhile is left out. `progress` is told how many there are by now. Raises DamagedEntry for content
    that is not what its name says, OSError.
    """
    count = 0
    for folder in sorted(source.iterdir()) if source.is_dir() else []:
        for digest in _digests(folder) if folder.is_dir() else []:
            content = _get(folder, digest)
            if content is not None:
                _put(target / folder.name, content)
                count += 1
                progress(count)
    return count


def _put(folder: Path, content: bytes) -> str:
    digest = content_digest(content)
    place = folder / digest
    if _is_kept(place, content):
        return digest
    _make_folder(folder)
    beside = folder / f"{digest}.{os.urandom(8).hex()}.part"
    try:
        with beside.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(place)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    _sync(folder)
    return digest


def _is_kept(place: Path, content: bytes) -> bool:
    """Whether the content is there already, and whole: what is damaged is written again."""
    try:
        if place.read_bytes() != content:
            return False
    except FileNotFoundError:
        return False
    _sync(place.parent)  # a crash may have come between its rename and this
    return True


def _get(folder: Path, digest: str) -> bytes | None:
    try:
        content = (folder / digest).read_bytes()
    except FileNotFoundError:
        return None
    if content_digest(content) != digest:
        raise DamagedEntry(f"the file {folder / digest} does not hold what its name says; restore it from a copy")
    return content


def _delete(folder: Path, digest: str) -> None:
    with suppress(FileNotFoundError):
        (folder / digest).unlink()
        _sync(folder)


def _digests(folder: Path) -> list[str]:
    try:
        return sorted(each.name for each in folder.iterdir() if _DIGEST.match(each.name))
    except FileNotFoundError:
        return []


def _clear(folder: Path) -> None:
    """The folder as well, unless something is put into it at this moment."""
    try:
        names = list(folder.iterdir())
    except FileNotFoundError:
        return
    for each in names:
        each.unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()
    _sync(folder.parent)


def _make_folder(folder: Path) -> None:
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    for each in reversed(missing):
        each.mkdir(exist_ok=True)
        _sync(each.parent)


def _sync(folder: Path) -> None:
    if os.name == "nt":  # where directories can't be opened, and need not be
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
