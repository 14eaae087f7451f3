"""SQLite's own log is folded back beside the commits: it stays short, and nothing else hangs on it."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from intendant.adapters.sqlite import SqliteStore, checkpointer
from intendant.adapters.sqlite.driver import Connection
from intendant.domain.commit import PutDocument
from intendant.domain.errors import StoreUnavailable
from intendant.testing.conformance.pen import Pen, commit
from tests.adapters.disks import failing_disk, raw

pytestmark = pytest.mark.anyio
PAGE = 4096
PAGES, ROUNDS = 50, 40  # of the log until it is folded back; commits of some 15 pages each


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpointer, "PAGES", PAGES)


@pytest.fixture
def folded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """By which threads it was folded back."""
    by: list[str] = []
    fold_back = checkpointer.fold_back

    def note(connection: Connection) -> None:
        fold_back(connection)
        by.append(threading.current_thread().name)

    monkeypatch.setattr(checkpointer, "fold_back", note)
    return by


@asynccontextmanager
async def writing(path: Path) -> AsyncGenerator[Pen]:
    store = SqliteStore(path)
    await store.open()
    try:
        yield await Pen.take(store.log(0))
    finally:
        await store.close()


async def write(pen: Pen, first: int = 0, last: int = ROUNDS) -> None:
    for number in range(first, last):
        await pen.write(commit("t", PutDocument("c", f"{number}", bytes(10 * PAGE))))


def log_of(path: Path) -> int:
    """Pages that SQLite's log has ever had: it is begun anew in place."""
    return path.with_name(path.name + "-wal").stat().st_size // PAGE


async def write_until_begun_anew(pen: Pen, path: Path) -> None:
    for _ in range(10):
        long = log_of(path)
        await write(pen, 0, PAGES // 10)
        if log_of(path) == long:
            return
    pytest.fail(f"the log only grows: it has {log_of(path)} pages")


class InStep:
    """The second connection has copied, and the store commits once more before that is known: the load is constant."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.copying, self.copied, self.go_on = threading.Event(), threading.Event(), threading.Event()
        self._fold_back = checkpointer.fold_back
        monkeypatch.setattr(checkpointer, "fold_back", self.fold_back)

    def fold_back(self, connection: Connection) -> None:
        beside = threading.current_thread().name.endswith("checkpoints")
        if beside:
            self.copying.set()
        self._fold_back(connection)
        if beside:
            self.copied.set()
            assert self.go_on.wait(10.0)
            self.go_on.clear()

    async def write(self, pen: Pen) -> None:
        for number in range(ROUNDS):
            await write(pen, number, number + 1)
            if self.copying.is_set():
                await anyio.to_thread.run_sync(self.copied.wait)
                await write(pen, number, number + 1)
                self.copying.clear()
                self.copied.clear()
                self.go_on.set()


async def test_the_log_stays_short_under_constant_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, in_step = tmp_path / "x.db", InStep(monkeypatch)
    async with writing(path) as pen:
        await in_step.write(pen)
        in_step.go_on.set()
        assert log_of(path) < ROUNDS * 10 // 2
    assert not [thread for thread in threading.enumerate() if str(path) in thread.name]


async def test_without_the_last_pages_it_would_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted fault: only the second connection copies, which never comes to the end of a log that grows."""
    monkeypatch.setattr(checkpointer.Checkpointer, "_copy_rest", checkpointer.Checkpointer._ended)  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(AssertionError):
        await test_the_log_stays_short_under_constant_load(tmp_path, monkeypatch)


async def test_a_reader_that_keeps_it_from_the_end_is_not_asked_at_each_commit(
    tmp_path: Path, folded: list[str]
) -> None:
    path = tmp_path / "x.db"
    async with writing(path) as pen:
        await write(pen, 0, 1)
        other = raw(path)
        other.execute("BEGIN")
        other.execute("SELECT 1 FROM documents").fetchall()  # from here on it reads what was then
        await write(pen)
        assert len(folded) <= 2 * log_of(path) // PAGES, "by one and then by the other"
        other.execute("COMMIT")
        other.close()
        await write_until_begun_anew(pen, path)


async def test_when_it_can_not_be_folded_back_commits_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_connection: Connection) -> None:
        raise StoreUnavailable("the disk is elsewhere")

    path = tmp_path / "x.db"
    async with writing(path) as pen:
        with monkeypatch.context() as patch:
            patch.setattr(checkpointer, "fold_back", fail)
            await write(pen)
        assert "was not folded back into it: the disk is elsewhere" in caplog.text
        await write_until_begun_anew(pen, path)


async def test_a_power_loss_while_it_is_folded_back_takes_nothing(tmp_path: Path, folded: list[str]) -> None:
    path = tmp_path / "x.db"
    with failing_disk() as disk:
        disk.keep_synced = True
        async with writing(path) as pen:
            for number in range(ROUNDS):
                await write(pen, number, number + 1)
                after = tmp_path / f"after {number}"
                after.mkdir()
                survivor = raw(disk.power_loss(path, after))
                assert survivor.execute("SELECT count(*) FROM documents").fetchall() == [(number + 1,)]
                survivor.close()
    assert folded
