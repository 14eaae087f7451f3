"""What a tenant has in both stores, compared: its documents, and its archived records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from intendant.actors.state_writer import CHECKPOINT
from intendant.domain import state as states
from intendant.domain.ports import Chunk, ColdDocument, Document
from intendant.domain.records import DamagedEntry
from intendant.domain.state import ExecutionState, SessionState
from intendant.runtime.contents import END_OF_TIME
from intendant.runtime.history import LEAVE, WholeContents, execution_of
from intendant.runtime.rows import Entry, entry_of

if TYPE_CHECKING:
    from intendant.runtime.verification import Verification

_PAGE: Final = 128
_TRACKED: Final[dict[str, Any]] = {states.EXECUTIONS: ExecutionState, states.SESSIONS: SessionState}


async def compare_documents(report: Verification, contents: WholeContents, tenant: str, *, settled: bool) -> None:
    """Compare every document of cold state with the hot one. `settled`: cold state was up to date when this began."""
    if not contents.is_at_home(tenant):
        return
    for name in sorted(states.CONTENT):
        after = ""
        while True:
            cold = {each.key: each for each in await contents.history.documents(tenant, name, after=after, limit=_PAGE)}
            hot = {each.key: each for each in await contents.log.documents(tenant, name, after=after, limit=_PAGE)}
            keys = sorted({*cold, *hot})[:_PAGE]
            if not keys:
                break
            for key in keys:
                if _same(cold.get(key), hot.get(key)):
                    _check_owner(report, tenant, cold[key])
                else:
                    await _look_again(report, contents, (tenant, name, key), settled=settled)
            report.documents += len(keys)
            after = keys[-1]


def _same(cold: ColdDocument | None, hot: Document | None) -> bool:
    return cold is not None and hot is not None and (cold.version, cold.body) == (hot.version, hot.body)


async def _look_again(
    report: Verification, contents: WholeContents, place: tuple[str, str, str], *, settled: bool
) -> None:
    """Cold state first, then the hot store, which may only be newer; what it has archived was told before."""
    archived = await contents.log.checkpoint(CHECKPOINT)
    cold = await contents.history.document(*place)
    hot = await contents.log.document(*place)
    tenant, what = place[0], f"{place[1]}/{place[2]}"
    if cold is not None:
        _check_owner(report, tenant, cold)
    if cold is None and hot is not None:
        if hot.version <= archived and await _is_recorded(contents, tenant, hot.version):
            report.find("missing", tenant, f"{what} of version {hot.version} is not in cold state")
    elif cold is not None and hot is None:
        if not await _has_left(contents, place) and settled and await contents.log.document(*place) is None:
            report.find("missing", tenant, f"{what} is in cold state only, and has not left the hot store")
    elif cold is not None and hot is not None:
        versions = f"{cold.version} in cold state, {hot.version} in the hot store"
        if cold.version > hot.version:
            report.find("ahead", tenant, f"{what} has version {versions}")
        elif cold.version == hot.version and cold.body != hot.body:
            report.find("different", tenant, f"{what} of version {hot.version} is not the same in both stores")
        elif cold.version < hot.version <= archived:
            report.find("stale", tenant, f"{what} has version {versions}, and records up to {archived} are archived")


async def _has_left(contents: WholeContents, place: tuple[str, str, str]) -> bool:
    tenant, name, key = place
    return name in LEAVE and execution_of(name, key) <= (await contents.tiers.floor(tenant)).newest


async def _is_recorded(contents: WholeContents, tenant: str, sequence: int) -> bool:
    """Whether there is a record of that version: what was trimmed before there was a cold store is in none."""
    if await contents.log.entries(tenant, first=sequence, last=sequence, limit=1):
        return True
    return bool(await contents.history.chunks(contents.partition, tenant, first=sequence, last=sequence, limit=1))


def _check_owner(report: Verification, tenant: str, document: ColdDocument) -> None:
    kind = _TRACKED.get(document.collection)
    if kind is None:
        return
    try:
        state = msgspec.msgpack.decode(document.body or b"", type=kind)
    except msgspec.DecodeError:
        report.find("different", tenant, f"{document.collection}/{document.key} can't be read in cold state")
        return
    if (state.tenant, state.id) != (tenant, document.key):
        whose = f"says that it is {state.id} of tenant {state.tenant}"
        report.find("foreign", tenant, f"{document.collection}/{document.key} in cold state {whose}")


# --- records


async def compare_chunks(report: Verification, contents: WholeContents, tenant: str, archived: int) -> None:
    """Compare archived records with the hot ones, as far as the hot store still has them."""
    position = 0
    while page := await contents.history.chunks(contents.partition, tenant, first=position, limit=4):
        end = await contents.log.position_at(END_OF_TIME)
        for chunk in page:
            report.chunks += 1
            if chunk.last >= end:
                report.find("ahead", tenant, f"records up to {chunk.last} are archived, behind the log's end")
            for body in chunk.entries:
                _check_entry(report, chunk, body)
            position = max(position, chunk.last + 1)
    position = 0
    while hot := await contents.log.entries(tenant, first=position, last=archived, limit=_PAGE):
        entries = [entry_of(body) for body in hot]
        await _compare_entries(report, contents, tenant, [each for each in entries if each.end - 1 <= archived])
        position = entries[-1].end


async def _compare_entries(report: Verification, contents: WholeContents, tenant: str, entries: list[Entry]) -> None:
    if not entries:
        return
    first, last = entries[0].first, entries[-1].end - 1
    archived: dict[int, bytes] = {}
    while first <= last:
        page = await contents.history.chunks(contents.partition, tenant, first=first, last=last, limit=4)
        for chunk in page:
            archived.update((each.first, each.body) for each in _entries_of(chunk.entries))
        first = page[-1].last + 1 if page else last + 1
    for entry in entries:
        if archived.get(entry.first) == entry.body:
            continue
        if not await contents.log.entries(tenant, first=entry.first, last=entry.first, limit=1):
            continue  # it was trimmed meanwhile
        text = f"records {entry.first} to {entry.end - 1}"
        if entry.first not in archived:
            report.find("missing", tenant, f"{text} are in the log and not in cold state, which claims to have them")
        else:
            again = await contents.log.entries(tenant, first=entry.first, last=entry.first, limit=1)
            if again[0] == entry.body:
                report.find("different", tenant, f"{text} are not the same in the log and in cold state")


def _entries_of(bodies: list[bytes]) -> list[Entry]:
    found: list[Entry] = []
    for body in bodies:
        try:
            found.append(entry_of(body))
        except DamagedEntry:
            continue  # told already
    return found


def _check_entry(report: Verification, chunk: Chunk, body: bytes) -> None:
    try:
        entry = entry_of(body)
    except DamagedEntry as error:
        report.find("different", chunk.tenant, f"chunk {chunk.first} holds an entry that can't be read: {error}")
        return
    if entry.tenant != chunk.tenant:
        report.find("foreign", chunk.tenant, f"chunk {chunk.first} holds records of tenant {entry.tenant}")
    elif not chunk.first <= entry.first < entry.end <= chunk.last + 1:
        what = f"chunk {chunk.first} to {chunk.last} holds records {entry.first} to {entry.end - 1}"
        report.find("different", chunk.tenant, what)
