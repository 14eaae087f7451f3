"""What processes told before they died, and what must hold of it."""

from __future__ import annotations

import time
import zlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest

from intendant.adapters.urls import open_store
from intendant.domain.ports import LogReader
from intendant.domain.records import LogRecord, decode_entry
from intendant.runtime.audit import Audit, Told, audit

PATIENCE = 60.0  # seconds: what a process does not do in that time it does not do


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
    _open: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
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
                if (tenant, key) not in self.results:
                    self._open[tenant, key] = execution
            case "R", [tenant, key, result]:
                if int(result) != zlib.crc32(key.encode()) * 3 + 3:
                    self.faults.append(f"{key} of {tenant} was told to give {result}")
                self.results[tenant, key] = int(result)
                self._open.pop((tenant, key), None)
            case "B", [tenant, key, path]:
                if (life, tenant, key, path) in self.returned:
                    self.faults.append(f"step {path} of {key} of {tenant} ran again in the same life")
                self.bodies.append((life, tenant, key, path))
            case "S", [tenant, key, path]:
                self.returned.add((life, tenant, key, path))
            case _:
                self.notes.append((kind, life, words))

    @property
    def steps(self) -> int:
        """How many steps what was accepted records to its end: three, and two for a saga or one that fails once."""
        return sum((5, 3, 3, 5)[zlib.crc32(key.encode()) % 4] for _, key in self.accepted)

    @property
    def open(self) -> list[tuple[str, str, str]]:
        """Accepted, and no result told yet: tenant, key, execution."""
        return [(*key, id) for key, id in self._open.items()]

    @property
    def doubt(self) -> list[tuple[str, str]]:
        """Submitted, and no answer told."""
        return sorted(self.prepared - self.accepted.keys())

    def count(self, kind: str) -> int:
        """How often something of this kind was said, by any life."""
        return sum(said == kind for said, _, _ in self.notes)

    def said(self, kind: str, life: int) -> list[str] | None:
        """What a life said of this kind, if it did."""
        return next((words for said, of, words in self.notes if (said, of) == (kind, life)), None)

    def wait_for(self, condition: Callable[[], Any], what: str, *, patience: float = PATIENCE) -> Any:
        """Look until the condition holds; returns what it gives."""
        deadline = time.monotonic() + patience
        while not (given := condition()):
            assert time.monotonic() < deadline, f"waited in vain for {what}; the last notes: {self.notes[-5:]}"
            assert not any(kind == "crashed" for kind, _, _ in self.notes), "a process crashed; it has printed why"
            time.sleep(0.001)
            self.look()
        return given


@dataclass(frozen=True)
class Verdict:
    """What an audit of the store found."""

    audit: Audit
    epochs: dict[tuple[int, int], list[int]]  # of the writers that opened, by process id and partition
    rerun: list[str]  # steps that ran in a life after the one they were recorded in
    wrong: list[str]  # results that are not what callers were told, or should have been

    def check(self, reader: Reader) -> None:
        """Everything is sound, in the store and in what was told."""
        assert self.audit.sound, self.audit.findings
        assert self.rerun == []
        assert self.wrong == []
        assert reader.faults == []


def examine(hot: str, reader: Reader, *, all_ended: bool = False) -> Verdict:
    """Read the whole store of this URL while nobody owns it, and hold it against what was told."""
    reader.look()

    async def main() -> Verdict:
        store = open_store(hot)
        await store.open()
        try:
            logs = [store.log(partition) for partition in range(store.partitions)]
            told = Told()
            for (tenant, key), execution in reader.accepted.items():
                told.accept(tenant, execution, key)
            found = await audit(logs, told, all_ended=all_ended)
            return _examine(found, [await _read(log) for log in logs], reader)
        finally:
            await store.close()

    return anyio.run(main)


async def _read(log: LogReader) -> list[LogRecord]:
    records: list[LogRecord] = []
    first = 0
    while entries := await log.entries(None, first=first, limit=512):
        for entry in entries:
            records += decode_entry(entry)
        first = records[-1].sequence + 1
    return records


def _examine(found: Audit, partitions: list[list[LogRecord]], reader: Reader) -> Verdict:
    epochs: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    keys: dict[tuple[str, str], str] = {}
    recorded: dict[tuple[str, str, str], tuple[int, int]] = {}
    wrong: list[str] = []
    completed: set[tuple[str, str]] = set()
    for partition, records in enumerate(partitions):
        for record in records:
            key = keys.get((record.tenant, record.execution), "")
            match record.type:
                case "writer_opened":
                    epochs[record.payload["pid"], partition].append(record.epoch)
                case "intent_received":
                    keys[record.tenant, record.execution] = record.payload["key"]
                case "step_completed":
                    recorded[record.tenant, key, record.payload["path"]] = (partition, record.epoch)
                case "execution_completed":
                    completed.add((record.tenant, key))
                    if record.payload["result"] != zlib.crc32(key.encode()) * 3 + 3:
                        wrong.append(f"{key} of {record.tenant} ended with {record.payload['result']}")
                case "execution_failed":
                    wrong.append(f"{key} of {record.tenant} failed: {record.payload}")
                case _:
                    pass
    told = reader.results.keys() - completed
    wrong += [f"the result of {key} of {tenant} was told, and the log has no end of it" for tenant, key in told]
    returned = {each[1:] for each in reader.returned} - recorded.keys()
    wrong += [f"step {path} of {key} of {tenant} was done with, and is not recorded" for tenant, key, path in returned]
    pids = {life: int(words[0]) for kind, life, words in reader.notes if kind == "serving"}
    rerun: list[str] = []
    for life, tenant, key, path in reader.bodies:
        partition, epoch = recorded.get((tenant, key, path), (0, None))
        opened = epochs.get((pids[life], partition)) if life in pids else None
        if epoch is not None and opened and epoch < min(opened):
            rerun.append(f"step {path} of {key} of {tenant} was recorded in epoch {epoch} and ran in life {life}")
    return Verdict(found, dict(epochs), rerun, wrong)


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(tmp_path / "book")
