"""URLs, publishers, the clock, and who a process is."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from msgspec.structs import replace

from intendant.adapters import process
from intendant.adapters.clock import SystemClock
from intendant.adapters.files import DirectoryFileStore
from intendant.adapters.memory import MemoryColdStore, MemoryFileStore, MemoryStore
from intendant.adapters.process import current_owner, is_provably_dead
from intendant.adapters.publishers import CallbackPublisher, callback
from intendant.adapters.sqlite import SqliteStore
from intendant.adapters.urls import open_cold, open_files, open_store, without_secrets
from intendant.domain.errors import InvalidValue
from intendant.domain.ports import Clock, ColdStore, Durability, FileStore, Publisher, Store
from intendant.domain.state import Event


class TestUrls:
    def test_memory(self) -> None:
        assert isinstance(open_store("memory:"), MemoryStore)
        cold: ColdStore = open_cold("memory:")
        assert isinstance(cold, MemoryColdStore)

    @pytest.mark.parametrize(
        ("url", "path", "durability"),
        [
            ("sqlite:work.db", "work.db", Durability.FSYNC),
            ("sqlite:sub/work.db", "sub/work.db", Durability.FSYNC),
            ("sqlite:/abs/x.db", "/abs/x.db", Durability.FSYNC),
            ("SQLITE:x.db?synchronous=FULL", "x.db", Durability.FSYNC),
            ("sqlite:x.db?synchronous=normal", "x.db", Durability.WRITTEN),
            ("sqlite:with%20space%3F.db", "with space?.db", Durability.FSYNC),
        ],
    )
    def test_sqlite(self, url: str, path: str, durability: Durability) -> None:
        store: Store = open_store(url)
        assert isinstance(store, SqliteStore)
        assert store.path == Path(path)
        again = open_store(store.name)
        assert isinstance(again, SqliteStore)
        assert (again.path, again.name, again.durability) == (store.path, store.name, durability)
        assert store.durability is durability

    @pytest.mark.parametrize(
        ("url", "says"),
        [
            ("postgres://user:secret@host/0", "known are memory:, sqlite:"),
            ("redis://user:secret@host/x", "whole number"),
            ("work.db", "known are memory:, sqlite:"),
            ("", "known are memory:, sqlite:"),
            ("memory:x", "known are memory:, sqlite:"),
            ("sqlite:", "names no file"),
            ("sqlite:///x.db", "sqlite:x.db for a relative path"),
            ("sqlite:x.db?synchronous=off", "full .level fsync. or normal"),
            ("sqlite:x.db?timeout=5", "no option timeout"),
        ],
    )
    def test_wrong(self, url: str, says: str) -> None:
        with pytest.raises(InvalidValue, match=says) as raised:
            open_store(url)
        assert "secret" not in str(raised.value)

    def test_wrong_cold(self) -> None:
        with pytest.raises(InvalidValue, match=r"known are memory:, arangodb:"):
            open_cold("mysql://user:pw@host:3306/db")

    def test_secrets(self) -> None:
        assert without_secrets("redis://user:p@ss@host:1/0") == "redis://***@host:1/0"
        assert without_secrets("sqlite:x.db") == "sqlite:x.db"

    def test_files_lie_beside_the_database(self) -> None:
        files: FileStore = open_files("sqlite:/abs/x.db?synchronous=normal")
        assert isinstance(files, DirectoryFileStore)
        assert isinstance(open_files("memory:"), MemoryFileStore)


@pytest.mark.anyio
class TestPublisher:
    event = Event("id", "t", "s", "x", "name", None, 1, 2)

    async def test_plain_and_async(self) -> None:
        seen: list[Event] = []

        async def later(event: Event) -> None:
            seen.append(event)

        for call in (seen.append, later):
            publisher: Publisher = CallbackPublisher(call)
            await publisher.publish(self.event)
        assert seen == [self.event] * 2

    async def test_its_error_is_the_publishers(self) -> None:
        async def fail(_: Event) -> None:
            raise LookupError

        for publisher in (CallbackPublisher(fail), callback(fail)):
            with pytest.raises(LookupError):
                await publisher.publish(self.event)

    async def test_a_callback_runs_plain_functions_in_threads_of_its_own(self) -> None:
        here, seen = threading.get_ident(), list[tuple[int, int]]()
        meet = threading.Barrier(2, timeout=5)

        def plain(_: Event) -> None:
            meet.wait()  # two of them at once
            seen.append((threading.get_ident(), 0))

        async def later(_: Event) -> None:
            seen.append((threading.get_ident(), 1))

        def gives_a_coroutine(event: Event) -> Awaitable[None]:
            return later(event)

        publisher = callback(plain, threads=2)
        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(publisher.publish, self.event)
        await publisher.aclose()
        assert len(seen) == 4
        assert here not in {thread for thread, _ in seen}
        for call in (later, partial(later), gives_a_coroutine):
            await callback(call).publish(self.event)
            assert seen.pop() == (here, 1)

    def test_no_module_stands_where_a_function_is_to_be(self) -> None:
        from intendant.adapters import publishers

        for _ in range(2):  # the first call loads what is optional
            publishers.redis_stream("redis://host")
            publishers.webhook("https://hooks.example", secret="whsec_" + "A" * 40)

    @pytest.mark.parametrize("options", [{"call": 7}, {"call": print, "threads": 0}])
    def test_callbacks_that_can_not_be(self, options: dict[str, Any]) -> None:
        with pytest.raises(InvalidValue, match="callback"):
            callback(**options)


def test_the_clock_tells_microseconds() -> None:
    clock: Clock = SystemClock()
    before = time.time()
    assert before - 0.001 <= clock.now() / 1e6 <= time.time() + 0.001


class TestProcess:
    def test_this_one_lives(self) -> None:
        assert current_owner() == current_owner()
        assert current_owner().pid == os.getpid()
        assert not is_provably_dead(current_owner())

    @pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
    def test_the_dead_are_told_from_the_living(self) -> None:
        code = "from intendant.adapters.process import *; print(*vars_of(current_owner()), sep='\\n')"
        code = code.replace(
            "vars_of(current_owner())", "(lambda o: (o.host, o.boot_id, o.pid, o.started))(current_owner())"
        )
        told = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True).stdout
        host, boot_id, pid, started = told.splitlines()
        me = current_owner()
        dead = replace(me, host=host, boot_id=boot_id, pid=int(pid), started=started)
        assert (dead.host, dead.boot_id) == (me.host, me.boot_id)
        assert is_provably_dead(dead)
        assert is_provably_dead(replace(me, started="1")), "its id was given to us"
        assert not is_provably_dead(replace(dead, boot_id="another boot, or another container")), "nobody knows"
        assert not is_provably_dead(replace(dead, host="elsewhere"))
        assert not is_provably_dead(replace(dead, boot_id=""))
        assert not is_provably_dead(replace(me, started=""))

    def test_a_name_may_hold_anything(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        fields = " ".join(str(number) for number in range(3, 53))
        (tmp_path / "7").mkdir()
        (tmp_path / "7/stat").write_text(f"7 (a) ) R b\n) {fields}")
        monkeypatch.setattr(process, "_PROC", tmp_path)
        assert process._start_time(7) == "22"  # pyright: ignore[reportPrivateUsage]
        assert process._start_time(8) == ""  # pyright: ignore[reportPrivateUsage]

    def test_without_proc_nobody_is_proved_dead(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(process, "_PROC", tmp_path)
        owner = current_owner()
        assert (owner.boot_id, owner.started) == ("", "")
        assert not is_provably_dead(replace(owner, pid=2**22 + 1))
