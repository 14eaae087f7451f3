"""Real processes to be killed, what they told, and what must hold of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest

from intendant.adapters.sqlite import SqliteStore
from intendant.domain.records import LogRecord, decode_entry
from intendant.runtime.audit import Audit, Told, audit

CHILD = Path(__file__).parent.parent / "child.py"
PATIENCE = 60.0  # seconds: what a process does not do in that time it does not do


class Stable:
    """The process that forks the others: it has imported everything, so that a life begins in milliseconds."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(CHILD)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._living: set[int] = set()

    def start(self, do: str, path: Path, book: Path, life: int, **more: Any) -> int:
        """Fork a child; returns its process id."""
        order = {"do": do, "path": str(path), "book": str(book), "life": life, "backend": "asyncio", **more}
        pid = self._ask(order)
        self._living.add(pid)
        return pid

    def wait(self, pid: int) -> int:
        """Wait for a child's end; returns its exit code, or minus the signal that ended it."""
        code = self._ask({"do": "wait", "pid": pid})
        self._living.discard(pid)
        return code

    def kill(self, pid: int) -> None:
        """SIGKILL, and wait until it is gone."""
        os.kill(pid, signal.SIGKILL)
        assert self.wait(pid) == -signal.SIGKILL

    def close(self) -> None:
        """End all that were started here."""
        for pid in list(self._living):
            os.kill(pid, signal.SIGKILL)
            self.wait(pid)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        self._process.stdout.close()

    def _ask(self, order: dict[str, Any]) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@dataclass
class Reader:
    """Reads what children append to a file, and keeps what callers were told."""

    path: Path
    prepared: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    accepted: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    results: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    bodies: list[tuple[int, str, str, str]] = field(default_factory=list[tuple[int, str, str, str]])
    returned: set[tuple[int, str, str, str]] = field(default_factory=set[tuple[int, str, str, str]])
    notes: list[tuple[str, int, list[str]]] = field(default_factory=list[tuple[str, int, list[str]]])
    faults: list[str] = field(default_factory=list[str])
    _rest: bytes = b""
    _read: int = 0

    def look(self) -> None:
        """Read what is new."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        self._read += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            kind, life, *words = line.decode().split(" ")
            self._take(kind, int(life), words)

    def _take(self, kind: str, life: int, words: list[str]) -> None:
        match kind, words:
            case "P", [tenant, key]:
                self.prepared.add((tenant, key))
            case "A", [tenant, key, execution]:
                if self.accepted.setdefault((tenant, key), execution) != execution:
                    self.faults.append(f"{key} of {tenant} was told to be {execution} and another")
            case "R", [tenant, key, result]:
                if int(result) != zlib.crc32(key.encode()) * 3 + 3:
                    self.faults.append(f"{key} of {tenant} was told to give {result}")
                self.results[tenant, key] = int(result)
            case "B", [tenant, key, path]:
                if (life, tenant, key, path) in self.returned:
                    self.faults.append(f"step {path} of {key} of {tenant} ran again in the same life")
                self.bodies.append((life, tenant, key, path))
            case "S", [tenant, key, path]:
                self.returned.add((life, tenant, key, path))
            case _:
                self.notes.append((kind, life, words))

    @property
    def open(self) -> list[tuple[str, str, str]]:
        """Accepted, and no result told yet: tenant, key, execution."""
        return [(*key, id) for key, id in self.accepted.items() if key not in self.results]

    @property
    def doubt(self) -> list[tuple[str, str]]:
        """Submitted, and no answer told."""
        return sorted(self.prepared - self.accepted.keys())

    def said(self, kind: str, life: int) -> list[str] | None:
        """What a life said of this kind, if it did."""
        return next((words for said, of, words in self.notes if (said, of) == (kind, life)), None)

    def wait_for(self, condition: Callable[[], Any], what: str) -> Any:
        """Look until the condition holds; returns what it gives."""
        deadline = time.monotonic() + PATIENCE
        while not (given := condition()):
            assert time.monotonic() < deadline, f"waited in vain for {what}; the last notes: {self.notes[-5:]}"
            assert not any(kind == "crashed" for kind, _, _ in self.notes), "a process crashed; it has printed why"
            time.sleep(0.001)
            self.look()
        return given


@dataclass(frozen=True)
class Verdict:
    """What an audit of the file found."""

    audit: Audit
    epochs: dict[int, list[int]]  # of the writers that opened, by process id
    rerun: list[str]  # steps that ran in a life after the one they were recorded in
    wrong: list[str]  # results that are not what callers were told, or should have been


def examine(path: Path, reader: Reader, *, all_ended: bool) -> Verdict:
    """Read the whole file while nobody owns it."""
    reader.look()

    async def main() -> Verdict:
        store = SqliteStore(path)
        await store.open()
        try:
            log = store.log(0)
            told = Told()
            for (tenant, key), execution in reader.accepted.items():
                told.accept(tenant, execution, key)
            found = await audit(log, told, all_ended=all_ended)
            records: list[LogRecord] = []
            first = 0
            while entries := await log.entries(None, first=first, limit=512):
                for entry in entries:
                    records += decode_entry(entry)
                first = records[-1].sequence + 1
            return _examine(found, records, reader)
        finally:
            await store.close()

    return anyio.run(main)


def _examine(found: Audit, records: list[LogRecord], reader: Reader) -> Verdict:
    epochs: defaultdict[int, list[int]] = defaultdict(list)
    keys: dict[tuple[str, str], str] = {}
    recorded: dict[tuple[str, str, str], int] = {}
    wrong: list[str] = []
    for record in records:
        key = keys.get((record.tenant, record.execution), "")
        match record.type:
            case "writer_opened":
                epochs[record.payload["pid"]].append(record.epoch)
            case "intent_received":
                keys[record.tenant, record.execution] = record.payload["key"]
            case "step_completed":
                recorded[record.tenant, key, record.payload["path"]] = record.epoch
            case "execution_completed":
                if record.payload["result"] != zlib.crc32(key.encode()) * 3 + 3:
                    wrong.append(f"{key} of {record.tenant} ended with {record.payload['result']}")
            case "execution_failed":
                wrong.append(f"{key} of {record.tenant} failed: {record.payload}")
            case _:
                pass
    lives = {life: epochs[int(words[0])] for kind, life, words in reader.notes if kind == "serving"}
    rerun: list[str] = []
    for life, tenant, key, path in reader.bodies:
        epoch = recorded.get((tenant, key, path))
        if epoch is not None and life in lives and epoch < min(lives[life]):
            rerun.append(f"step {path} of {key} of {tenant} was recorded in epoch {epoch} and ran in life {life}")
    return Verdict(found, dict(epochs), rerun, wrong)


@pytest.fixture(scope="module")
def stable() -> Iterator[Stable]:
    stable = Stable()
    yield stable
    stable.close()


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(tmp_path / "book")


@pytest.fixture
def examining(tmp_path: Path, reader: Reader) -> Callable[..., Verdict]:
    """Audit the file of this test, which must be sound; returns what was found."""

    def examine_now(*, all_ended: bool = False) -> Verdict:
        verdict = examine(tmp_path / "work.db", reader, all_ended=all_ended)
        assert verdict.audit.sound, verdict.audit.findings
        assert verdict.rerun == []
        assert verdict.wrong == []
        assert reader.faults == []
        return verdict

    return examine_now


@pytest.fixture
def scale() -> int:
    """STRESS=n multiplies the counts of `make stress`."""
    return int(os.environ.get("STRESS", "1"))
