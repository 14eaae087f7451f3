"""`intendant doctor --kill`: kills a workload at its commits, one after the other, and audits what is left."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urlsplit

import anyio
from msgspec import Struct
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from intendant.adapters.urls import open_store, without_secrets
from intendant.cli.exits import USAGE, Refusal
from intendant.cli.kill_work import SECONDS, TENANT, Book, live
from intendant.domain.errors import IntendantError
from intendant.runtime.audit import Audit, Told, audit
from intendant.testing.faults import FaultyStore

FINDINGS_MAX: Final = 20


class Killed(Struct, frozen=True):
    """What came of it: `places` is how many there are to kill at, `records` how many were read, `left` what is kept."""

    kills: int
    places: int
    records: int
    sound: bool
    findings: list[str]
    left: str = ""


def kill_at_every_commit(url: str, kills: int) -> Killed:
    """Kill up to `kills` times, spread over the workload. Raises Refusal when it does not even run undisturbed."""
    if not url.startswith("sqlite:"):
        from intendant.adapters.redis.scratch import is_cluster  # noqa: PLC0415  hiredis is optional

        if anyio.run(is_cluster, url):
            raise Refusal("--kill does not clean up behind itself in a cluster: name a server that is none", USAGE)
    with _scratch(url) as (scratch, keep):
        commits = _undisturbed(scratch)
        places = [(commit, when) for commit in range(1, commits + 1) for when in ("before", "after")]
        chosen = places if kills >= len(places) else [places[n * len(places) // kills] for n in range(kills)]
        records, done, findings = 0, 0, list[str]()
        for commit, when in _progress(chosen):
            store = scratch.store()
            ended, found = _kill(store, scratch.book, commit, when)
            done += ended
            findings += [f"killed {when} commit {commit}: {each}" for each in found.faults]
            records += found.records
            if found.faults:
                break  # and it is left as it is
            scratch.clear(store)
        left = keep() if findings else ""
    return Killed(done, len(places), records, not findings, findings[:FINDINGS_MAX], left)


class _Found(Struct, frozen=True):
    records: int
    faults: list[str]


def _undisturbed(scratch: _Scratch) -> int:
    """How many commits the workload has; the real ones may differ by some."""
    url = scratch.store()
    store, book = FaultyStore(open_store(url)), Book(scratch.book)
    try:
        anyio.run(live, store, book)
    except (IntendantError, ValueError, TimeoutError) as error:
        raise Refusal(f"the workload does not run on {without_secrets(url)}: {error}") from None
    finally:
        book.close()
        scratch.clear(url)
    return store.commits


def _kill(url: str, book: Path, commit: int, when: str) -> tuple[bool, _Found]:
    """One life that is killed, one that goes on, and the audit; and whether the first one came to its kill."""
    command = [sys.executable, "-m", "intendant.cli.kill_work", str(commit), when, str(book)]
    try:
        life = subprocess.run(  # noqa: S603  our own module
            command, input=url, capture_output=True, text=True, timeout=2 * SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return False, _Found(0, [f"it did not end within {2 * SECONDS:g} s"])
    if life.returncode not in (0, -9):
        return False, _Found(0, [f"it failed by itself: {life.stderr.strip()[-500:]}"])
    later = Book(book)
    try:
        anyio.run(live, open_store(url), later)
        found = anyio.run(_audit, url, _told(book))
    except (IntendantError, TimeoutError) as error:
        return True, _Found(0, [f"what was left could not be gone on with: {error!r}"])
    finally:
        later.close()
    faults = [str(each) for each in found.findings] + list(_steps_run_again(book))
    return life.returncode == -9, _Found(found.records, faults)


async def _audit(url: str, told: Told) -> Audit:
    store = open_store(url)
    await store.open()
    try:
        return await audit([store.log(number) for number in range(store.partitions)], told, all_ended=True)
    finally:
        await store.close()


def _lines(book: Path) -> Iterator[list[str]]:
    yield from (line.split() for line in book.read_text().splitlines())


def _told(book: Path) -> Told:
    """What both lives were told."""
    told = Told()
    for kind, first, second in _lines(book):
        if kind == "A":
            told.accept(TENANT, first, second)
        elif kind == "E":
            told.ends[TENANT, first] = bytes.fromhex(second)
    return told


def _steps_run_again(book: Path) -> Iterator[str]:
    """Steps whose body began after their result was known to be recorded; ends that were told differently."""
    recorded: set[tuple[str, str]] = set()
    ends: dict[str, str] = {}
    for kind, first, second in _lines(book):
        if kind == "B" and (first, second) in recorded:
            yield f"step {second} of {first} ran again after it was recorded"
        elif kind == "S":
            recorded.add((first, second))
        elif kind == "E" and ends.setdefault(first, second) != second:
            yield f"execution {first} was told to have two ends"


def _progress(chosen: list[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    columns = (TextColumn("kills"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
        yield from bar.track(chosen)


# --- the scratch place


class _Scratch:
    """Stores beside the user's own, one after the other, and a book on the disk of temporary files, or theirs."""

    def __init__(self, directory: Path, url: str) -> None:
        self.directory = directory
        self._url = url
        self.book = directory / "book"

    def store(self) -> str:
        """A new store of the same kind and settings."""
        self.book.unlink(missing_ok=True)
        if self._url.startswith("sqlite:"):
            _, mark, options = self._url.partition("?")
            return f"sqlite:{quote(str(self.directory / f'{secrets.token_hex(4)}.db'))}{mark}{options}"
        before, _, options = self._url.partition("?")
        kept = [each for each in options.split("&") if each and not each.startswith(("prefix=", "partitions="))]
        return f"{before}?{'&'.join([*kept, f'prefix=doctor-{secrets.token_hex(8)}'])}"

    def clear(self, url: str) -> None:
        """Remove what the store left."""
        if url.startswith("sqlite:"):
            for each in self.directory.iterdir():
                shutil.rmtree(each) if each.is_dir() else each.unlink()
            return
        from intendant.adapters.redis.scratch import remove  # noqa: PLC0415  hiredis is optional

        anyio.run(remove, url)


@contextmanager
def _scratch(url: str) -> Generator[tuple[_Scratch, Callable[[], str]]]:
    parent = Path(unquote(urlsplit(url).path)).absolute().parent if url.startswith("sqlite:") else None
    try:
        directory = Path(tempfile.mkdtemp(prefix=".intendant-doctor-", dir=parent))
    except OSError as error:
        raise Refusal(f"no scratch directory can be made beside the store: {error}") from None
    kept: list[Path] = []

    def keep() -> str:
        kept.append(directory)
        return str(directory)

    try:
        yield _Scratch(directory, url), keep
    finally:
        if not kept:
            shutil.rmtree(directory, ignore_errors=True)
