"""A dry replay of what is open: can the handlers that are here go on with what is recorded?

Each open execution's handler is called with what its journal holds, up to where it would do something new: there it
is stopped. No step's function runs, nothing is recorded, and the store is only read; whoever owns it goes on meanwhile.
What lies between the steps of a handler does run, as it does at every resume.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from intendant.actors.found import Found, found_open
from intendant.domain import state as states
from intendant.domain.errors import DuplicateStep, JournalMismatch
from intendant.domain.journal import Journal
from intendant.domain.ports import FileStore, LogReader
from intendant.domain.state import ExecutionState, decode_execution
from intendant.realm import Handler, Repertoire
from intendant.runtime.dry_run import DryRecording, run_dry

SECONDS: Final = 10.0  # that a handler has to come to what it would do next


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
    async for page in found_open(log):
        for found in page:
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
    recording = DryRecording(journal, state, given.repertoire, given.shared)
    files = None if given.files is None else _ReadOnly(given.files, recording)
    ran = await run_dry(handler, parameters, state, recording, files, given.seconds)
    raised = ran.raised
    if ran.stuck:
        return Verdict.STUCK, f"its handler did not come to what it would do next within {given.seconds:g} s", None
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


class _ReadOnly:
    """Files that can be read."""

    def __init__(self, files: FileStore, recording: DryRecording) -> None:
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
