"""The embedded store among processes: killed, stopped, forked, racing."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from intendant.adapters.process import current_owner
from intendant.adapters.sqlite import SqliteReader, SqliteStore
from intendant.domain.commit import Verdict
from intendant.domain.errors import PartitionOwned
from intendant.domain.ports import LogReader
from intendant.testing.conformance.pen import LEASE_S, Pen, commit

pytestmark = pytest.mark.anyio

OWNER = Path(__file__).with_name("owner_process.py")


def owner_process(
    path: Path, lease: float = LEASE_S, stop_at: int = 0
) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
    return running([sys.executable, str(OWNER), str(path), str(lease), str(stop_at)])


@contextlib.contextmanager
def running(command: list[str]) -> Generator[subprocess.Popen[str]]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


async def lines(process: subprocess.Popen[str], count: int) -> list[str]:
    assert process.stdout is not None
    readline = process.stdout.readline
    return [(await anyio.to_thread.run_sync(readline)).strip() for _ in range(count)]


async def acknowledged(process: subprocess.Popen[str]) -> list[int]:
    """What else a killed process had said."""
    assert process.stdout is not None
    rest = await anyio.to_thread.run_sync(process.stdout.read)
    return [int(line.split()[1]) for line in rest.splitlines() if line.startswith("acked ")]


async def whole_batches(log: LogReader) -> set[int]:
    """The first sequences of the batches that are there, each checked to be there whole."""
    keys = {document.key for document in await log.documents("t", "c", limit=10**6)}
    assert keys == {document.key for document in await log.documents("u", "c", limit=10**6)}
    assert keys == {member.member for member in await log.index("i", limit=10**6)}
    assert len(await log.entries(None, limit=10**6)) == 2 * len(keys)
    for key in keys:
        body = key.encode() * 50
        assert await log.key("t", key) == body
        assert await log.journal("u", key) == [body]
    return {int(key) for key in keys}


async def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    acked: set[int] = set()
    next_sequence = 1
    for kill in range(1, 6):
        with owner_process(path) as process:
            first, *rest = await lines(process, 1 + 7 * kill)
            assert first == f"owned {2 * kill - 1} {next_sequence}"
            process.send_signal(signal.SIGKILL)
            acked |= {int(line.split()[1]) for line in rest} | set(await acknowledged(process))
        store = SqliteStore(path)
        await store.open()
        # The lease would last for a minute: the dead owner is recognised.
        tenure = await store.log(0).acquire(current_owner(), timeout=2, lease=LEASE_S)
        found = await whole_batches(store.log(0))
        assert acked <= found
        assert found <= acked | {max(acked) + 2}, "at most the batch in flight is there without having been told"
        next_sequence = tenure.next_sequence
        assert next_sequence == max(found) + 2
        await store.log(0).release(tenure)
        await store.close()
        acked = found


async def test_a_stopped_owner_is_fenced_when_it_wakes(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    second, third = SqliteStore(path), SqliteStore(path)
    await second.open()
    await third.open()
    with owner_process(path, lease=0.3, stop_at=9) as process:
        await lines(process, 5)
        pen = await Pen.take(second.log(0), timeout=10)
        await pen.write(commit("v"))
        # The stopped process still holds the lock file; that it lets go says nothing about the new owner.
        process.send_signal(signal.SIGCONT)
        assert await lines(process, 1) == ["fenced"]
        await anyio.to_thread.run_sync(process.wait)
        with pytest.raises(PartitionOwned):
            await third.log(0).acquire(current_owner(), timeout=0.2, lease=LEASE_S)
    assert not (tmp_path / "x.db.lock").read_text()
    assert await second.log(0).renew(pen.tenure, pen.next) is Verdict.OK
    assert json.loads((tmp_path / "x.db.lock").read_text())["host"] == "host-a"
    await pen.write(commit("v"))
    await whole_batches_but_v(second.log(0))
    await second.close()
    await third.close()


async def whole_batches_but_v(log: LogReader) -> None:
    entries = await log.entries(None, limit=10**6)
    documents = await log.documents("t", "c", limit=10**6)
    assert len(entries) == 2 * len(documents) + 2


async def test_processes_that_make_the_file_at_once_agree(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(owner_process(path, lease=LEASE_S)) for _ in range(3)]
        firsts: list[str] = []
        while len(firsts) < 3:  # each is killed when it has written something, and the next one takes over at once
            for process in processes:
                if process.returncode is None and await has_output(process):
                    firsts += (await lines(process, 3))[:1]
                    process.kill()
                    await anyio.to_thread.run_sync(process.wait)
    assert [line.split()[:2] for line in firsts] == [["owned", "1"], ["owned", "2"], ["owned", "3"]]


async def has_output(process: subprocess.Popen[str]) -> bool:
    assert process.stdout is not None
    with anyio.move_on_after(0.05):
        await anyio.wait_readable(process.stdout)
        return True
    return False


async def test_a_reader_reads_beside_a_living_owner(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    reader = SqliteReader(path)
    with owner_process(path) as process:
        await lines(process, 4)
        await reader.open()
        seen = 0
        for _ in range(20):
            found = await reader.documents("t", "c", limit=10**6)
            assert len(found) >= seen
            seen = len(found)
        assert seen >= 3
        process.kill()
        await anyio.to_thread.run_sync(process.wait)
    assert await reader.position_at(2**62) == 2 * len(await whole_batches(reader)) + 1
    await reader.close()
    await reader.close()


FORK = """
import os, sys, anyio, gc
from intendant.adapters.process import current_owner
from intendant.adapters.sqlite import SqliteStore
from intendant.domain.errors import PartitionOwned, WrongThread
from intendant.testing.conformance.pen import Pen, commit

def in_child(store, pen):
    log = store.log(0)
    for call in (log.key("t", "k"), log.commit(pen.seal(commit("t"))), log.renew(pen.tenure, 1)):
        try:
            call.send(None)
        except WrongThread as error:
            assert "fork" in str(error)
        else:
            os._exit(1)
    try:
        store.close().send(None)
    except StopIteration:
        pass
    del store, pen
    gc.collect()

async def main(path):
    store = SqliteStore(path)
    await store.open()
    pen = await Pen.take(store.log(0))
    await pen.write(commit("t"))
    child = os.fork()
    if child == 0:
        in_child(store, pen)
        if sys.argv[2] == "exit":
            os._exit(0)
        print("child", os.getpid(), flush=True)
        os.execv("/bin/sleep", ["sleep", "60"])
    if sys.argv[2] == "exit":
        assert os.waitpid(child, 0)[1] == 0
        await pen.write(commit("t"))
        other = SqliteStore(path)
        await other.open()
        try:
            await other.log(0).acquire(current_owner(), timeout=0, lease=60)
        except PartitionOwned:
            print("still owned", flush=True)
        await store.close()
        await other.close()
    else:
        os.kill(os.getpid(), 9)

anyio.run(main, sys.argv[1])
"""


def fork_command(path: Path, how: str) -> list[str]:
    # Later Pythons warn of every fork of a process with threads, which is what this is about.
    warnings = ["-W", "error", "-W", "ignore:This process:DeprecationWarning"]
    return [sys.executable, *warnings, "-c", FORK, str(path), how]


async def test_a_forked_child_can_neither_use_nor_disturb_the_store(tmp_path: Path) -> None:
    done = await anyio.run_process(fork_command(tmp_path / "x.db", "exit"))
    assert done.stdout.decode().split("\n") == ["still owned", ""], done.stderr


async def test_an_orphaned_child_does_not_keep_a_dead_owners_file(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with running(fork_command(path, "orphan")) as process:
        child = int((await lines(process, 1))[0].split()[1])
        try:
            store = SqliteStore(path)
            await store.open()
            await Pen.take(store.log(0), timeout=5)
            await store.close()
        finally:
            os.kill(child, signal.SIGKILL)


ABANDON = """
import sys, anyio
from intendant.adapters.sqlite import SqliteStore
from intendant.testing.conformance.pen import Pen, commit

async def main(path):
    store = SqliteStore(path)
    await store.open()
    pen = await Pen.take(store.log(0))
    await pen.write(commit("t"))
    log = store.log(0)
    batch = pen.seal(commit("t", records=512))
    with anyio.move_on_after(0):
        await log.commit(batch)
    return store

for backend in ("asyncio", "trio"):
    kept = anyio.run(main, sys.argv[1] + backend, backend=backend)
print("end")
"""


async def test_a_program_that_does_not_close_ends_and_finishes_what_it_began(tmp_path: Path) -> None:
    done = await anyio.run_process([sys.executable, "-W", "error", "-c", ABANDON, str(tmp_path / "x.db")])
    assert done.stdout == b"end\n"
    assert done.stderr == b""
    for backend in ("asyncio", "trio"):
        store = SqliteStore(tmp_path / f"x.db{backend}")
        await store.open()
        pen = await Pen.take(store.log(0), timeout=5)
        assert pen.next == 514
        assert await pen.send(pen.seal(commit("t"))) is Verdict.OK
        await store.close()
