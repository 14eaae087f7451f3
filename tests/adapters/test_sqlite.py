"""What only the embedded store promises: its levels, its files, its errors."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import anyio
import apsw
import pytest
from msgspec.structs import replace

from intendant.adapters import mounts
from intendant.adapters.process import current_owner
from intendant.adapters.sqlite import SqliteReader, SqliteStore, database
from intendant.domain.commit import ClaimKey, DeleteDocument, MoveCheckpoint, PutDocument, ReleaseKey, Verdict
from intendant.domain.errors import InternalError, PartitionOwned, StoreUnavailable
from intendant.domain.ports import Durability, Owner
from intendant.domain.records import UnknownFormat
from intendant.testing.conformance.commits import all_of, one_of_everything
from intendant.testing.conformance.pen import LEASE_S, Pen, commit
from tests.adapters.disks import failing_disk, raw

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def opened(path: Path, synchronous: Literal["full", "normal"] = "full") -> AsyncGenerator[SqliteStore]:
    store = SqliteStore(path, synchronous=synchronous)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def refused(path: Path, error: type[Exception], match: str) -> None:
    store = SqliteStore(path)
    for _ in range(2):
        with pytest.raises(error, match=match):
            await store.open()
    await store.close()


@pytest.mark.parametrize(("synchronous", "acknowledged"), [("full", True), ("normal", False)])
async def test_full_survives_a_power_loss_and_normal_does_not(
    tmp_path: Path, synchronous: Literal["full", "normal"], acknowledged: bool
) -> None:
    after = tmp_path / "after"
    after.mkdir()
    with failing_disk() as disk:
        disk.keep_synced = True
        async with opened(tmp_path / "x.db", synchronous) as store:
            pen = await Pen.take(store.log(0))
            for number in range(5):
                await pen.write(commit("t", PutDocument("c", str(number), b"1")))
            survivor = disk.power_loss(tmp_path / "x.db", after)
    async with opened(survivor) as store:
        found = len(await store.log(0).documents("t", "c"))
        assert (found == 5) == acknowledged


async def test_each_commit_is_one_sync(tmp_path: Path) -> None:
    with failing_disk() as disk:
        async with opened(tmp_path / "x.db") as store:
            pen = await Pen.take(store.log(0))
            before = disk.syncs
            batch = await pen.write(*(one_of_everything(mark=str(number)) for number in range(50)))
            assert disk.syncs == before + 1
            assert await pen.send(batch) is Verdict.DUP
            assert disk.syncs == before + 2, "told again, it is made durable again"


async def test_the_level_is_what_the_file_really_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def on_ext4(_: Path) -> str:
        return "ext4"

    def on_tmpfs(_: Path) -> str:
        return "tmpfs"

    monkeypatch.setattr(database, "file_system_of", on_ext4)
    async with opened(tmp_path / "x.db") as store:
        assert store.durability is store.log(0).durability is Durability.FSYNC
    async with opened(tmp_path / "x.db", "normal") as store:
        assert store.durability is Durability.WRITTEN
    monkeypatch.setattr(database, "file_system_of", on_tmpfs)
    async with opened(tmp_path / "x.db") as store:
        assert store.durability is Durability.WRITTEN


async def test_only_what_is_synced_is_safe_at_once(tmp_path: Path) -> None:
    assert SqliteStore(tmp_path / "x.db").loss_window == 0
    assert SqliteStore(tmp_path / "x.db", synchronous="normal").loss_window > 35


async def test_usage_grows_and_shrinks_with_what_is_stored(tmp_path: Path) -> None:
    async with opened(tmp_path / "x.db") as store:
        pen = await Pen.take(store.log(0))
        before = await store.usage()
        await pen.write(*(commit("t", PutDocument("c", str(number), bytes(60_000))) for number in range(14)))
        full = await store.usage()
        assert full.used - before.used >= 14 * 60_000
        assert 0 < before.share < full.share < 1
    async with opened(tmp_path / "x.db") as store:  # its log is folded back
        pen = await Pen.take(store.log(0))
        full = await store.usage()
        await pen.write(commit("t", *(DeleteDocument("c", str(number)) for number in range(14))))
        assert (await store.usage()).used < full.used - 10 * 60_000
        await store.close()
        with pytest.raises(StoreUnavailable, match="not open"):
            await store.usage()


async def test_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(
        "1 0 8:1 / / rw - ext4 /dev/sda rw\n"
        f"2 1 0:1 / {str(tmp_path).replace('_', chr(92) + '137')} rw shared:1 - nfs4 server:/x rw\n"
    )
    monkeypatch.setattr(mounts, "_MOUNTS", mountinfo)
    await refused(tmp_path / "x.db", StoreUnavailable, "nfs4")
    monkeypatch.setattr(mounts, "_MOUNTS", tmp_path / "missing")
    async with opened(tmp_path / "x.db"):
        pass


async def test_wrong_paths_are_told_clearly(tmp_path: Path) -> None:
    await refused(tmp_path, StoreUnavailable, "is a directory")
    await refused(tmp_path / "missing" / "x.db", StoreUnavailable, "missing does not exist")
    (tmp_path / "text.db").write_text("This is not a database, but a text that is long enough to be looked at.\n" * 20)
    await refused(tmp_path / "text.db", UnknownFormat, "not a SQLite database")
    assert (tmp_path / "text.db").read_text().startswith("This is not")
    other = raw(tmp_path / "other.db")
    other.execute("CREATE TABLE t(x)")
    other.close()
    await refused(tmp_path / "other.db", UnknownFormat, "another program")
    assert {each.name for each in os.scandir(tmp_path)} == {"other.db", "text.db"}, "nothing is left beside"


async def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    async with opened(path):
        pass
    connection = raw(path)
    connection.pragma("user_version", database.SCHEMA_VERSION + 1)
    connection.close()
    await refused(path, UnknownFormat, f"schema {database.SCHEMA_VERSION + 1}")
    with pytest.raises(UnknownFormat, match="schema"):
        await SqliteReader(path).open()


async def test_an_old_library_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.51.2")
    await refused(tmp_path / "x.db", StoreUnavailable, r"SQLite 3\.51\.2.*install apsw")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_read_only_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    async with opened(path):
        pass
    path.chmod(0o400)
    await refused(path, StoreUnavailable, "can't be written")


async def test_opening_twice_is_a_bug_and_closing_twice_is_not(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "x.db")
    await store.close()
    await store.open()
    with pytest.raises(InternalError, match="open already"):
        await store.open()
    await store.close()
    await store.close()
    await store.open()
    await store.close()


async def test_a_cancelled_open_leaves_nothing_open(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "x.db")
    with anyio.move_on_after(0) as scope:
        await store.open()
    if scope.cancelled_caught:
        await store.open()
    await Pen.take(store.log(0))
    await store.close()


async def test_a_cancelled_close_closes(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "x.db")
    await store.open()
    await Pen.take(store.log(0))
    with anyio.CancelScope() as scope:
        scope.cancel()
        await store.close()
    assert not [thread for thread in threading.enumerate() if thread.name == store.name]
    async with opened(tmp_path / "x.db") as other:
        await other.log(0).acquire(current_owner(), timeout=0, lease=LEASE_S)


async def test_a_failed_sync_stops_the_store_until_it_is_opened_anew(tmp_path: Path) -> None:
    with failing_disk() as disk:
        store = SqliteStore(tmp_path / "x.db")
        await store.open()
        pen = await Pen.take(store.log(0))
        await pen.write(one_of_everything())
        batch = pen.seal(one_of_everything(mark="2"))
        disk.fail_sync = True
        with pytest.raises(StoreUnavailable, match="fsync failed"):
            await store.log(0).commit(batch)
        disk.fail_sync = False
        with pytest.raises(StoreUnavailable, match="open the store anew"):
            await store.log(0).commit(batch)
        with pytest.raises(StoreUnavailable, match="open the store anew"):
            await store.log(0).key("t", "k1")
        await store.close()
        await store.open()
        pen = await Pen.take(store.log(0), timeout=5)
        applied = await store.log(0).key("t", "k2") is not None
        assert pen.next == (5 if applied else 3)
        assert len(await store.log(0).outbox()) == (2 if applied else 1)
        await pen.write(one_of_everything(mark="3"))
        await store.close()


@pytest.mark.parametrize("error", [apsw.FullError, apsw.IOError])
async def test_a_full_disk_applies_nothing_and_is_left_behind(tmp_path: Path, error: type[apsw.Error]) -> None:
    with failing_disk() as disk:
        async with opened(tmp_path / "x.db") as store:
            pen = await Pen.take(store.log(0))
            await pen.write(one_of_everything())
            found = await all_of(store.log(0))
            batch = pen.seal(one_of_everything(mark="2"))
            disk.fail_write = error
            for _ in range(3):
                with pytest.raises(StoreUnavailable, match=str(tmp_path)):
                    await store.log(0).commit(batch)
                assert await all_of(store.log(0)) == found
            disk.fail_write = None
            assert await pen.send(batch) is Verdict.OK
            await pen.write(one_of_everything(mark="3"))


async def test_a_busy_file_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_WAIT_MS", 10)
    async with opened(tmp_path / "x.db") as store:
        pen = await Pen.take(store.log(0))
        other = raw(tmp_path / "x.db")
        other.execute("BEGIN IMMEDIATE")
        batch = pen.seal(one_of_everything())
        with pytest.raises(StoreUnavailable, match="SQLITE_BUSY"):
            await store.log(0).commit(batch)
        other.execute("ROLLBACK")
        other.close()
        assert await pen.send(batch) is Verdict.OK


async def test_whoever_was_stopped_while_it_wrote_is_waited_for(tmp_path: Path) -> None:
    """Its transaction can't be ended by anyone else, so it owns the file in effect, whatever its lease says."""
    async with opened(tmp_path / "x.db") as store:
        await store.log(0).release((await Pen.take(store.log(0))).tenure)
        other = raw(tmp_path / "x.db")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(PartitionOwned):
            await store.log(0).acquire(current_owner(), timeout=0.1, lease=LEASE_S)
        async with anyio.create_task_group() as group:
            group.start_soon(Pen.take, store.log(0))
            await anyio.sleep(0.1)
            other.execute("ROLLBACK")
        other.close()


async def test_a_damaged_file_is_not_served(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    async with opened(path) as store:
        pen = await Pen.take(store.log(0))
        for number in range(20):
            await pen.write(commit("t", PutDocument("c", str(number), bytes(3000))))
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(InternalError, match="damaged"):
        await own(path)


async def own(path: Path) -> None:
    async with opened(path) as store:
        await Pen.take(store.log(0))


async def test_the_lock_file_names_the_owner_and_stays(tmp_path: Path) -> None:
    lock = tmp_path / "x.db.lock"
    async with opened(tmp_path / "x.db") as store:
        assert not lock.exists()
        tenure = await store.log(0).acquire(current_owner(), timeout=0, lease=LEASE_S)
        note = json.loads(lock.read_text())
        assert (note["host"], note["pid"]) == (socket.gethostname(), os.getpid())
        assert note["since"].endswith("Z")
        await store.log(0).release(tenure)
        assert not lock.read_text()
    assert lock.exists()


async def test_a_lock_file_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.db.lock").mkdir()
    async with opened(tmp_path / "x.db") as store:
        with pytest.raises(StoreUnavailable, match=r"lock file .*x\.db\.lock"):
            await store.log(0).acquire(current_owner(), timeout=1, lease=LEASE_S)


async def test_a_removed_lock_file_does_not_make_two_owners(tmp_path: Path) -> None:
    async with opened(tmp_path / "x.db") as first, opened(tmp_path / "x.db") as second:
        old = await Pen.take(first.log(0))
        (tmp_path / "x.db.lock").unlink()
        new = await Pen.take(second.log(0))
        assert await old.send(old.seal(commit("t"))) is Verdict.FENCED
        await new.write(commit("t"))


async def test_the_lock_follows_the_ownership(tmp_path: Path) -> None:
    """Whoever took over a lease takes the lock when the old owner has learnt that it is fenced."""
    lock = tmp_path / "x.db.lock"
    async with opened(tmp_path / "x.db") as first, opened(tmp_path / "x.db") as second:
        old = await Pen.take(first.log(0), "old", lease=0.1)
        new = await Pen.take(second.log(0), "new")
        assert await second.log(0).renew(new.tenure, new.next) is Verdict.OK
        assert json.loads(lock.read_text())["host"] == "host-old"
        assert await first.log(0).renew(old.tenure, old.next) is Verdict.FENCED
        assert not lock.read_text()
        assert await second.log(0).renew(new.tenure, new.next) is Verdict.OK
        assert json.loads(lock.read_text())["host"] == "host-new"


async def test_the_dead_are_taken_over_from_where_no_lock_tells(tmp_path: Path) -> None:
    process = await anyio.run_process([sys.executable, "-c", "import os; print(os.getpid())"])
    dead = replace(current_owner(), pid=int(process.stdout))
    async with opened(tmp_path / "x.db") as first, opened(tmp_path / "x.db") as second:
        for owner, taken in ((dead, True), (replace(dead, boot_id="another"), False)):
            await first.log(0).acquire(owner, timeout=5, lease=LEASE_S)
            other = raw(tmp_path / "x.db")
            other.execute("UPDATE ownership SET locked = 0")
            other.close()
            if taken:
                await second.log(0).acquire(current_owner(), timeout=0, lease=0)
            else:
                with pytest.raises(PartitionOwned):
                    await second.log(0).acquire(current_owner(), timeout=0, lease=LEASE_S)


async def test_one_process_may_not_own_a_file_twice(tmp_path: Path) -> None:
    async with opened(tmp_path / "x.db") as first, opened(tmp_path / "x.db") as second:
        pen = await Pen.take(first.log(0))
        with pytest.raises(PartitionOwned):
            await second.log(0).acquire(current_owner(), timeout=0.1, lease=LEASE_S)
        await pen.write(commit("t"))
        await first.close()
        await (await Pen.take(second.log(0), timeout=5)).write(commit("t"))


async def test_many_reads_at_once_cost_one_wake_up_each_round(tmp_path: Path) -> None:
    async with opened(tmp_path / "x.db") as store:
        pen = await Pen.take(store.log(0))
        await pen.write(*(commit("t", ClaimKey(str(number), str(number).encode())) for number in range(100)))
        found: dict[int, bytes | None] = {}

        async def read(number: int) -> None:
            found[number] = await store.log(0).key("t", str(number))

        async with anyio.create_task_group() as group:
            for number in range(100):
                group.start_soon(read, number)
        assert found == {number: str(number).encode() for number in range(100)}


async def test_a_checkpoint_alone_is_durable_too(tmp_path: Path) -> None:
    async with opened(tmp_path / "x.db") as store:
        pen = await Pen.take(store.log(0))
        await pen.write(commit("t", MoveCheckpoint("reader", 5)))
    reader = SqliteReader(tmp_path / "x.db")
    with pytest.raises(StoreUnavailable, match="not open"):
        await reader.checkpoint("reader")
    await reader.open()
    assert await reader.checkpoint("reader") == 5
    await reader.close()
    with pytest.raises(StoreUnavailable, match="does not exist"):
        await SqliteReader(tmp_path / "y.db").open()


async def test_a_scrub_leaves_no_byte_of_what_was_deleted_and_keeps_the_owner(tmp_path: Path) -> None:
    def look() -> bytes:
        return b"".join(each.read_bytes() for each in tmp_path.iterdir() if each.is_file())

    path = tmp_path / "work.db"
    store, standby = SqliteStore(path), SqliteStore(path)
    await store.open()
    await standby.open()
    log = store.log(0)
    pen = await Pen.take(log, lease=0.2)
    for number in range(30):
        await pen.write(
            commit("t", PutDocument("c", "k", b"secret" * (3000 - 90 * number)), ClaimKey(f"secret-{number}", b""))
        )
    await pen.write(commit("t", DeleteDocument("c", "k"), *[ReleaseKey(f"secret-{number}") for number in range(30)]))
    assert b"secret" in look()
    await log.scrub()
    assert b"secret" not in look()
    await anyio.sleep(0.3)
    with pytest.raises(PartitionOwned):
        await standby.log(0).acquire(Owner("other-host", "boot", 2, "start"), timeout=0, lease=10)
    await pen.write(commit("t"))
    await anyio.sleep(0.3)
    tenure = await standby.log(0).acquire(Owner("other-host", "boot", 2, "start"), timeout=0, lease=10)
    assert tenure.epoch > pen.tenure.epoch, "the lease is as short as ever from the next commit on"
    await standby.close()
    await store.close()
