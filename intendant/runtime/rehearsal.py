"""A dry replay of what is open: can the handlers that are here go on with what is recorded?

Each open execution's handler is called with what its journal holds, up to where it would do something new: there it
is stopped. No step's function runs, nothing is recorded, and the store is only read; whoever owns it goes on meanwhile.
What lies between the steps of a handler does run, as it does at every resume.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, Never

import anyio
import anyio.lowlevel
import msgspec
from msgspec import Struct

from intendant.actors.found import Found, found_open
from intendant.actors.history import decode_execution
from intendant.actors.intents import prepare_child
from intendant.context import Context
from intendant.domain import state as states
from intendant.domain.children import ChildIntent, ChildRequest
from intendant.domain.errors import DuplicateStep, JournalMismatch, Suspended
from intendant.domain.journal import Journal
from intendant.domain.payloads import Emitted, StepCompleted, StepFailed, Submitted, TimerSet
from intendant.domain.ports import FileStore, LogReader
from intendant.domain.sagas import SagaRow, Sagas
from intendant.domain.state import ExecutionState
from intendant.domain.waits import Wait, WaitEnd
from intendant.realm import Handler, Repertoire
from intendant.steps.cancellation import Cancellation
from intendant.steps.function import StepFunction

SECONDS: Final = 10.0  # that a handler has to come to what it would do next
_TURNS: Final = 64  # of the loop that tasks beside the one that is stopped have, to come as far as they can


class Verdict(enum.StrEnum):
    """What would become of an open execution. Only the first one can go on."""

    CONTINUES = "continues"
    NO_HANDLER = "no handler"
    NO_VERSION = "version missing"
    PARAMETERS = "parameters do not decode"
    JOURNAL = "journal does not decode"
    MISMATCH = "journal mismatch"
    STUCK = "stuck"


class Rehearsed(Struct, frozen=True):
    """One open execution. `detail` says more in words; of a mismatch the two histories are told, oldest first."""

    tenant: str
    session: str
    execution: str
    type: str
    version: int
    verdict: Verdict
    detail: str = ""
    recorded_steps: list[str] = []
    called_steps: list[str] = []

    @property
    def continues(self) -> bool:
        """Whether it can go on."""
        return self.verdict is Verdict.CONTINUES


async def rehearse(
    log: LogReader, repertoire: Repertoire, files: FileStore | None = None, *, seconds: float = SECONDS
) -> AsyncIterator[Rehearsed]:
    """Every open execution of a partition, one after the other."""
    async for found in found_open(log):
        document = await log.document(found.tenant, states.EXECUTIONS, found.id)
        state = None if document is None else decode_execution(document.body)
        if state is None or state.status.ended:
            continue  # it has ended meanwhile
        rows = await log.journal(found.tenant, found.id)
        shared = await log.document(found.tenant, states.SESSION_STATE, state.session)
        given = _Given(repertoire, files, None if shared is None else shared.body, seconds)
        verdict, detail, mismatch = await _rehearse_one(state, rows, given)
        yield _told(found, state, verdict, detail, mismatch)


def _told(
    found: Found, state: ExecutionState, verdict: Verdict, detail: str, mismatch: JournalMismatch | None
) -> Rehearsed:
    recorded = [] if mismatch is None else list(mismatch.recorded_steps)
    called = [] if mismatch is None else list(mismatch.called_steps)
    return Rehearsed(
        found.tenant, state.session, state.id, state.type, state.version, verdict, detail, recorded, called
    )


_Told = tuple[Verdict, str, JournalMismatch | None]


class _Given(Struct, frozen=True):
    """What a handler is given besides what is recorded of its execution."""

    repertoire: Repertoire
    files: FileStore | None
    shared: bytes | None
    seconds: float


async def _rehearse_one(state: ExecutionState, rows: Sequence[bytes], given: _Given) -> _Told:
    repertoire = given.repertoire
    handler = repertoire.of_version(state.type, state.version)
    if handler is None:
        none = repertoire.find(state.type) is None
        return (Verdict.NO_HANDLER if none else Verdict.NO_VERSION), repertoire.missing(state.type, state.version), None
    try:
        parameters = handler.decode(state.parameters)
    except msgspec.MsgspecError as error:
        return Verdict.PARAMETERS, str(error), None
    try:
        journal = Journal.of(rows)
    except msgspec.MsgspecError as error:
        return Verdict.JOURNAL, str(error), None
    return await _call(handler, parameters, state, journal, given)


async def _call(handler: Handler, parameters: Any, state: ExecutionState, journal: Journal, given: _Given) -> _Told:
    seconds, files = given.seconds, given.files
    begun = max(state.started_at, journal.rows[-1].at if journal.rows else 0)
    recording = _Dry(journal, begun, given.repertoire, given.shared)
    context = _DryContext(
        recording,
        tenant_id=state.tenant,
        session=state.session,
        solution=state.solution,
        execution_id=state.id,
        started_at=state.started_at,
        files=None if files is None else _ReadOnly(files, recording),
        attempt=journal.failed.attempt + 1 if journal.failed else 1,
    )
    raised: BaseException | None = None
    with anyio.move_on_after(seconds) as limit, recording.scope:
        try:
            await handler.function(context, parameters)
        except Exception as error:
            raised = error
    context.close()
    if limit.cancelled_caught:
        return Verdict.STUCK, f"its handler did not come to what it would do next within {seconds:g} s", None
    if recording.unreadable:
        return Verdict.JOURNAL, recording.unreadable, None
    if isinstance(raised, JournalMismatch):
        return Verdict.MISMATCH, str(raised).partition("\n")[0], raised
    if isinstance(raised, DuplicateStep):
        return Verdict.MISMATCH, str(raised), None
    if recording.suspended:
        return Verdict.CONTINUES, f"goes on at {recording.reached}", None
    if raised is not None:
        return Verdict.CONTINUES, f"its handler raises {raised!r:.200}", None
    return Verdict.CONTINUES, "its handler returns", None


class _Dry:
    """What was recorded, and nothing more: whoever wants to record is stopped, and the handler with it."""

    cancellation: Cancellation | None = None

    def __init__(self, journal: Journal, now: int, repertoire: Repertoire, shared: bytes | None) -> None:
        self._repertoire = repertoire
        self._shared = shared
        self.scope = anyio.CancelScope()
        self.reached = ""
        self.suspended = False
        self.trace = None
        self.unreadable = ""
        self._journal = journal
        self._now = now

    @property
    def journal(self) -> Mapping[str, StepCompleted | StepFailed]:
        return self._journal.steps

    @property
    def recorded_events(self) -> Sequence[Emitted]:
        return self._journal.events

    @property
    def waits(self) -> Mapping[str, Wait]:
        return self._journal.waits.by_path

    @property
    def sagas(self) -> Sagas:
        return self._journal.sagas

    async def stop(self, path: str) -> Never:
        """Here the handler would go on; tasks beside come as far as they can."""
        self.reached = self.reached or path
        for _ in range(_TURNS):
            await anyio.lowlevel.checkpoint()
        self.suspended = True
        self.scope.cancel()
        await anyio.lowlevel.checkpoint()
        raise Suspended("the rehearsal is over")

    async def record_step(self, step: StepCompleted | StepFailed) -> None:
        await self.stop(step.path)

    async def record_saga(self, row: SagaRow) -> None:
        await self.stop(row.path)

    async def wait(self, path: str, timer: TimerSet | None) -> WaitEnd:
        wait = self.waits.get(path)
        if timer is None and wait is not None and wait.end is not None:
            return wait.end
        return await self.stop(path)

    def prepare(self, handler: Any, parameters: Any) -> ChildIntent:
        return prepare_child(self._repertoire, handler, parameters)

    async def submit(self, request: ChildRequest, record: Callable[..., Any]) -> StepCompleted:  # noqa: ARG002
        return await self.stop(request.path)

    async def child_end(self, path: str, child: Submitted) -> ExecutionState:  # noqa: ARG002
        return await self.stop(path)

    async def cancel_child(self, child: Submitted) -> None:
        await self.stop(f"the cancel of {child.execution}")

    async def read_shared(self) -> bytes | None:
        return self._shared

    async def pause(self, path: str, until: int) -> None:  # noqa: ARG002  the protocol's
        await self.stop(path)

    def block(self, reason: str) -> None:
        self.unreadable = reason
        self.suspended = True

    def shield(self) -> AbstractContextManager[object]:
        return anyio.CancelScope()

    def active(self) -> None:
        """Nobody looks."""

    def fence(self) -> int:
        return 0

    def now(self) -> int:
        return self._now


class _DryContext(Context):
    """A context that runs no step's function."""

    async def _call(self, path: str, kind: StepFunction, function: Callable[..., Any], arguments: Any) -> Any:  # noqa: ARG002
        recording = self._recording
        assert isinstance(recording, _Dry)  # noqa: S101  it was made with it
        await recording.stop(path)


class _ReadOnly:
    """Files that can be read."""

    def __init__(self, files: FileStore, recording: _Dry) -> None:
        self._files = files
        self._recording = recording

    async def put(self, tenant: str, content: bytes) -> str:  # noqa: ARG002
        await self._recording.stop("a file")

    async def get(self, tenant: str, digest: str) -> bytes | None:
        return await self._files.get(tenant, digest)

    async def delete(self, tenant: str, digest: str) -> None: ...

    async def digests(self, tenant: str) -> list[str]:
        return await self._files.digests(tenant)

    async def clear(self, tenant: str) -> None: ...
