"""The audit: the stored log, read whole and folded, held against what callers were told and what was derived from it.

    lost         somebody was told of it, and the log does not say so; or it was to end, and did not
    duplicated   it may be there once and is there twice: an end, a step, a key's claim, an execution of a key
    broken       no correct log holds it: a gap, a record after the end, an older epoch after a newer one
    diverged     the hot store's documents, journals, keys, open set or outbox are not what the log leads to

An audit only reads, and wants a store at rest: what is committed while it reads, and what an erasure has not come to
yet, may be taken for a fault. What was erased is not missed, whoever was told of it. It reads page by page and forgets
what it has compared; what it keeps is small, but grows with the number of executions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from intendant.actors.tiers import Tiers
from intendant.domain.codec import digest, encode
from intendant.domain.payloads import Failure
from intendant.domain.ports import LogReader
from intendant.domain.records import DamagedEntry, LogRecord, decode_entry
from intendant.domain.replay import Key, World, replay
from intendant.domain.sagas import Sagas
from intendant.domain.state import ExecutionState, Outcome, Status
from intendant.runtime.derived import Derived

FINDINGS_MAX: Final = 100  # that are told one by one; all are counted
_PAGE_ENTRIES: Final = 256
_PAGE_TENANTS: Final = 1_000
_STEPS: Final = ("step_completed", "step_failed")
_ENDS: Final = ("execution_completed", "execution_failed", "execution_cancelled")

Kind = Literal["lost", "duplicated", "broken", "diverged"]


class Finding(Struct, frozen=True):
    """One fault, in a sentence that names what it is about."""

    kind: Kind
    tenant: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}" + (f" (tenant {self.tenant})" if self.tenant else "")


class Audit(Struct, frozen=True):
    """What an audit found. Counts are of the whole store, but for `told`."""

    records: int
    sessions: int
    executions: dict[Status, int]
    steps: int
    events: int
    told: dict[Status, int]  # where the log says that the executions stand that callers were told of
    lost: int
    duplicated: int
    broken: int
    diverged: int
    findings: tuple[Finding, ...]  # the first of each kind

    @property
    def sound(self) -> bool:
        """Whether nothing was found."""
        return not (self.lost or self.duplicated or self.broken or self.diverged)


class Told:
    """What callers were told. Note each answer when it comes, then hand this to `audit`."""

    def __init__(self) -> None:
        self.accepted: dict[Key, str] = {}  # the key, by tenant and execution
        self.ends: dict[Key, bytes] = {}  # fingerprints, by tenant and execution
        self.contradictions: list[Finding] = []
        self._executions: dict[Key, str] = {}  # the execution, by tenant and key

    def accept(self, tenant: str, execution: str, key: str) -> None:
        """A caller who submitted under `key` was told that this execution does it. Without a key: the intent's id."""
        earlier = self._executions.setdefault((tenant, key), execution)
        if earlier != execution:
            self._contradiction(tenant, f"key {key} was told to be execution {earlier}, and execution {execution}")
        earlier = self.accepted.setdefault((tenant, execution), key)
        if earlier != key:
            self._contradiction(tenant, f"execution {execution} was told for key {earlier}, and for key {key}")

    def end(self, outcome: Outcome[Any]) -> None:
        """A caller was told this outcome. Its result must encode to what the handler returned, as it normally does."""
        told = _fingerprint(outcome.status, encode(outcome.result), outcome.error)
        if self.ends.setdefault((outcome.tenant, outcome.execution_id), told) != told:
            self._contradiction(outcome.tenant, f"execution {outcome.execution_id} was told to have two ends")

    def _contradiction(self, tenant: str, text: str) -> None:
        self.contradictions.append(Finding("duplicated", tenant, text))


async def audit(logs: LogReader | Sequence[LogReader], told: Told | None = None, *, all_ended: bool = False) -> Audit:
    """Read a store's partitions, and find what should not be.

    With `all_ended`, everything that callers were told is accepted must have ended. What lies in the hot store under
    tenants and keys that the log never names is not looked for. Raises StoreUnavailable and UnknownFormat.
    """
    report = _Report(told or Told(), all_ended=all_ended)
    for log in logs if isinstance(logs, Sequence) else [logs]:
        partition = _Partition(log, report)
        await partition.read()
    report.settle()
    return report.result()


class _Seen(Struct, frozen=True, gc=False):
    """What the log says of an execution that somebody was told of."""

    key: str
    status: Status
    end: bytes


class _Report:
    """What has been counted and found so far."""

    def __init__(self, told: Told, *, all_ended: bool) -> None:
        self.told = told
        self.records = self.sessions = self.steps = self.events = 0
        self.executions: Counter[Status] = Counter()
        self.seen: dict[Key, _Seen] = {}
        self.erased: set[Key] = set()
        self.left: dict[str, str] = {}  # by tenant: the newest execution that has left the hot store
        self._all_ended = all_ended
        self._counts: Counter[Kind] = Counter()
        self._findings: list[Finding] = []
        for finding in told.contradictions:
            self._add(finding)

    def find(self, kind: Kind, tenant: str, text: str) -> None:
        """Note a fault."""
        self._add(Finding(kind, tenant, text))

    def note(self, key: Key, state: ExecutionState) -> None:
        """Keep what the log says now of an execution, if somebody was told of it."""
        if key in self.told.accepted or key in self.told.ends:
            end = _fingerprint(state.status, bytes(state.result), state.error) if state.status.ended else b""
            self.seen[key] = _Seen(state.key, state.status, end)

    def settle(self) -> None:
        """Hold what callers were told against the log. An execution is lost once, whatever was told of it."""
        told = self.told
        for tenant, execution in told.accepted | dict.fromkeys(told.ends, ""):
            fault = self._fault(self.seen.get((tenant, execution)), (tenant, execution))
            if fault is not None:
                self.find("lost", tenant, f"execution {execution} {fault}")

    def _fault(self, seen: _Seen | None, key: Key) -> str | None:
        accepted_as, end = self.told.accepted.get(key), self.told.ends.get(key)
        tenant, execution = key
        if seen is None and key in self.erased:
            return None
        if seen is None and execution <= self.left.get(tenant, ""):
            return None  # its history has left the hot store
        if seen is None:
            return (
                "was told to be accepted, and is not in the log" if accepted_as else "was told, and is not in the log"
            )
        if accepted_as is not None and accepted_as != seen.key:
            return f"was told for key {accepted_as}, and the log has it under key {seen.key}"
        if end is not None and not seen.end:
            return f"was told to have ended, and the log has it {seen.status}"
        if end is not None and end != seen.end:
            return f"was told another end than the log has, which is {seen.status}"
        if self._all_ended and not seen.end:
            return f"never ended: it is {seen.status}"
        return None

    def result(self) -> Audit:
        """All of it."""
        counts = self._counts
        return Audit(
            records=self.records,
            sessions=self.sessions,
            executions=dict(self.executions),
            steps=self.steps,
            events=self.events,
            told=dict(Counter(seen.status for key, seen in self.seen.items() if key in self.told.accepted)),
            lost=counts["lost"],
            duplicated=counts["duplicated"],
            broken=counts["broken"],
            diverged=counts["diverged"],
            findings=tuple(self._findings),
        )

    def _add(self, finding: Finding) -> None:
        self._counts[finding.kind] += 1
        if self._counts[finding.kind] <= FINDINGS_MAX // 4:
            self._findings.append(finding)


class _Partition:
    """One partition, folded page by page and compared with what its store derived."""

    def __init__(self, log: LogReader, report: _Report) -> None:
        self._log = log
        self._report = report
        self._world = World()
        self._derived = Derived(log, lambda tenant, text: report.find("diverged", tenant, text))
        self._epoch = 0
        self._settled = 0

    async def read(self) -> None:
        """Fold the log; compare what is at rest as it goes by, and the rest in the end."""
        await self._read_floors()
        async for records in _pages(self._log, self._report):
            for record in records:
                self._fold(record)
            await self._turn(records)
        await self._derived.compare(self._world)
        self._count()

    async def _read_floors(self) -> None:
        """What is below a tenant's floor is not expected to be there."""
        tiers = Tiers(self._log, None, 0)
        after: str | None = None
        while page := await self._log.tenants(after=after or "", limit=_PAGE_TENANTS):
            for tenant in page:
                floor = await tiers.floor(tenant)
                if floor.below or floor.newest:
                    self._world.floors[tenant] = floor.below
                    self._report.left[tenant] = floor.newest
            if len(page) < _PAGE_TENANTS:
                return
            after = page[-1]

    def _fold(self, record: LogRecord) -> None:
        world, report = self._world, self._report
        report.records += 1
        report.steps += record.type in _STEPS
        if record.type == "content_erased" and record.execution:
            report.erased.add((record.tenant, record.execution))
        if world.records == 0 and record.sequence > max(world.floor, 1):
            report.find("broken", "", f"the log begins at sequence {record.sequence}")
        if record.epoch < self._epoch:
            report.find("broken", record.tenant, f"epoch {record.epoch} wrote after epoch {self._epoch}")
        self._epoch = max(self._epoch, record.epoch)
        try:
            twice = _is_duplicate(world, record)
            self._derived.before(world, record)
            replay([record], world)
        except (msgspec.DecodeError, KeyError) as error:
            report.find("broken", record.tenant, f"{record.type} at sequence {record.sequence} can't be read: {error}")
            return
        if world.violations:
            report.find("duplicated" if twice else "broken", record.tenant, "; ".join(world.violations))
            world.violations.clear()

    async def _turn(self, records: list[LogRecord]) -> None:
        """A page is folded: keep of what it touched only what is still needed."""
        world = self._world
        for key in {(record.tenant, record.execution) for record in records if record.execution}:
            state = world.executions.get(key)
            if state is not None and state is not _ENDED.get(state.status):
                self._report.note(key, state)
                self._derived.expect(key, state)
                if state.status.ended:
                    world.executions[key] = _ENDED[state.status]
        self._settled += len(world.published)
        world.published.clear()
        await self._derived.turn(world)

    def _count(self) -> None:
        world, report = self._world, self._report
        report.sessions += len(world.sessions)
        report.executions.update(state.status for state in world.executions.values())
        report.events += len(world.outbox) + self._settled + len(world.dead)


async def _pages(log: LogReader, report: _Report) -> AsyncIterator[list[LogRecord]]:
    """The whole log, oldest first. A damaged entry is told, and read over."""
    first = 0
    damaged: set[bytes] = set()
    while entries := await log.entries(None, first=first, limit=_PAGE_ENTRIES):
        page: list[LogRecord] = []
        for entry in entries:
            try:
                page += decode_entry(entry)
            except DamagedEntry as error:
                if entry not in damaged:
                    damaged.add(entry)
                    report.find("broken", "", str(error))
        newest = max((record.sequence for record in page), default=first)
        yield [record for record in page if record.sequence >= first]
        first = newest + 1


def _is_duplicate(world: World, record: LogRecord) -> bool:
    """Whether a record, not folded yet, says what may be said once and was said before."""
    key = (record.tenant, record.execution)
    state = world.executions.get(key)
    match record.type:
        case "session_created":
            return (record.tenant, record.session) in world.sessions
        case "intent_received":
            return state is not None or (record.tenant, record.payload["key"]) in world.keys
        case "execution_started":
            return state is not None and state.status is not Status.ACCEPTED and not state.status.ended
        case "step_completed" | "step_failed":
            journal = world.journals.get(key)
            before = None if journal is None else journal.steps.get(record.payload["path"])
            return before is not None and getattr(before, "final", True)
        case "signal_received":
            journal = world.journals.get(key)
            return journal is not None and record.payload["id"] in journal.waits.received
        case "saga_started" | "saga_compensating" | "saga_compensated":
            journal = world.journals.get(key)
            return journal is not None and _is_known(journal.sagas, record)
        case "cancel_requested":
            journal = world.journals.get(key)
            return journal is not None and journal.waits.cancelled is not None
        case "timer_set" | "timer_fired":
            journal = world.journals.get(key)
            wait = None if journal is None else journal.waits.by_path.get(record.payload["path"])
            return wait is not None and (record.type == "timer_set" or wait.end is not None)
        case type if type in _ENDS:
            return state is not None and state.status.ended
        case _:
            return False


def _is_known(sagas: Sagas, record: LogRecord) -> bool:
    saga = sagas.by_path.get(record.payload["path"])
    match record.type:
        case "saga_started":
            return record.payload["step"] in sagas.undoable
        case "saga_compensating":
            return saga is not None and saga.error is not None
        case _:
            return saga is not None and saga.compensated


def _fingerprint(status: Status, result: bytes, error: Failure | None) -> bytes:
    return digest(status.encode(), result, encode(error))


# What is kept of an execution that ended and was compared: that it did.
_ENDED: Final = {
    status: ExecutionState("", "", "", "", "", "", "", msgspec.Raw(b"\xc0"), {}, 0, status)
    for status in Status
    if status.ended
}
