"""What callers were told, and whether it stands in the log."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import msgspec

from intendant import CancelResult
from intendant.domain import state as states
from intendant.domain.journal import Journal
from intendant.domain.ports import LogReader
from intendant.domain.records import decode_entry
from intendant.domain.replay import World
from tests.faults.auditing import compare


@dataclass
class Told:
    """What callers were told, and must be able to rely on from then on."""

    sessions: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    closed: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    executions: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])  # ids by tenant, key
    ends: dict[tuple[str, str], Any] = field(default_factory=dict[tuple[str, str], Any])
    data: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    signals: set[tuple[str, str, str]] = field(default_factory=set[tuple[str, str, str]])
    streams: dict[tuple[str, str], list[Any]] = field(default_factory=dict[tuple[str, str], list[Any]])
    cancels: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])  # by tenant, execution
    violations: list[str] = field(default_factory=list[str])

    def copy(self) -> Told:
        return Told(
            set(self.sessions),
            set(self.closed),
            dict(self.executions),
            dict(self.ends),
            dict(self.data),
            set(self.signals),
            dict(self.streams),
            dict(self.cancels),
            list(self.violations),
        )

    def accept(self, tenant: str, key: str, execution: str) -> None:
        known = self.executions.setdefault((tenant, key), execution)
        if known != execution:
            self.violations.append(f"key {key} of {tenant} was {known} and is now {execution}")

    def cancel(self, tenant: str, execution: str, answer: CancelResult) -> None:
        status = "cancelled" if answer is CancelResult.REQUESTED else answer.value
        known = self.cancels.setdefault((tenant, execution), status)
        if known != status:
            self.violations.append(f"the cancel of {execution} was told as {known} and is now {status}")

    def end(self, tenant: str, key: str, end: Any) -> None:
        known = self.ends.setdefault((tenant, key), end)
        if known != end:
            self.violations.append(f"the end of {key} of {tenant} was told as {known} and is now {end}")


async def check_told(log: LogReader, told: Told, world: World) -> list[str]:
    """What callers were told must stand in the log."""
    found = list(told.violations)
    found += [f"session {key} is lost" for key in told.sessions if key not in world.sessions]
    found += [f"session {key} is open again" for key in told.closed if not world.sessions[key].closed]
    for (tenant, key), execution in told.executions.items():
        if world.keys.get((tenant, key)) != execution:
            found.append(f"{key} of {tenant} was accepted as {execution}, the log has {world.keys.get((tenant, key))}")
    for (tenant, key), end in told.ends.items():
        state = world.executions.get((tenant, told.executions[tenant, key]))
        if state is None or state.status.value != end[0]:
            found.append(f"the end of {key} of {tenant} was told as {end}, the log has {state}")
    for (tenant, execution), stream in told.streams.items():
        compare(found, f"the stream of {execution}", stream, await read_happenings(log, tenant, execution))
    for (tenant, execution), status in told.cancels.items():
        state, journal = world.executions[tenant, execution], world.journals.get((tenant, execution), Journal())
        asked = status == "cancelled" and journal.waits.cancelled is not None
        if state.status.value != status and not asked:
            found.append(f"the cancel of {execution} was told as {status}, the log has {state.status}, and no cancel")
    received = await read_signals(log)
    found += [f"signal {key} is in the log {many} times" for key, many in received.items() if many > 1]
    found += [f"signal {key} was told to be received, and is lost" for key in told.signals if key not in received]
    for (tenant, session), version in told.data.items():
        body = world.documents.get((tenant, states.SESSION_DATA, session), b"\x80")
        if msgspec.msgpack.decode(body).get("version", 0) < version:
            found.append(f"the document of {session} of {tenant} was set to version {version}, which is lost")
    return found


async def read_signals(log: LogReader) -> Counter[tuple[str, str, str]]:
    """How often each signal was received, by tenant, execution and id."""
    received: Counter[tuple[str, str, str]] = Counter()
    first = 0
    while entries := await log.entries(None, first=first, limit=256):
        for record in (record for entry in entries for record in decode_entry(entry)):
            first = record.sequence + 1
            if record.type == "signal_received":
                received[record.tenant, record.execution, record.payload["id"]] += 1
    return received


async def read_happenings(log: LogReader, tenant: str, execution: str) -> list[tuple[str, str]]:
    """What a stream is to say of an execution, by its records."""
    statuses = {"intent_received": "accepted", "execution_started": "running", "execution_completed": "completed"}
    found: list[tuple[str, str]] = []
    first = 0
    while entries := await log.entries(tenant, first=first, limit=256):
        for record in (record for entry in entries for record in decode_entry(entry)):
            first = record.sequence + 1
            if record.execution != execution:
                continue
            found += [("event", each["name"]) for each in record.payload.get("events", [])]
            if record.type in statuses or record.payload.get("path") == "":
                found.append(("status", statuses.get(record.type, "running")))
            elif record.type.startswith("step_"):
                found.append(("step", record.payload["path"]))
    return found
