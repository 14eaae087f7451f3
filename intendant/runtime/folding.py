"""The whole log, archived and hot, folded once: it has no gap, and each document is what the log led to at its version.

A document that has changed since has a higher version, and is met again there. So it does not matter what an owner
does meanwhile.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

import msgspec

from intendant.domain import state as states
from intendant.domain.archive import Piece, Place
from intendant.domain.codec import encode
from intendant.domain.payloads import ContentExpired
from intendant.domain.records import LogRecord, decode_entry
from intendant.domain.replay import World, replay
from intendant.domain.state import decode_session
from intendant.runtime.history import WholeContents
from intendant.runtime.rows import Entry

if TYPE_CHECKING:
    from intendant.runtime.verification import Verification

_PIECE: Final = 128  # entries whose documents are read at a time
_DOUBTS_MAX: Final = 10_000  # documents that are nowhere, unless a later record says that they are gone


class Folding:
    """Folds one partition's log up to `end`."""

    def __init__(self, report: Verification, contents: WholeContents, end: int) -> None:
        self._report = report
        self._contents = contents
        self._end = end
        self._world = World()
        self._next = 0
        self._doubts: dict[Place, int] = {}

    async def run(self) -> None:
        """Read all of it."""
        contents = self._contents
        self._world.floors = {tenant: floor.gone for tenant, floor in contents.floors.items() if floor.gone}
        piece: list[Entry] = []
        async for entry in contents.log_from(0):
            if entry.first >= self._end:
                break
            if self._next and entry.first > self._next:
                piece += await self._missed(self._next, entry.first)
            piece.append(entry)
            self._next = max(self._next, entry.end)
            if len(piece) >= _PIECE:
                await self._fold(piece)
                piece = []
        if self._next and self._next < self._end:
            piece += await self._missed(self._next, self._end)
        await self._fold(piece)
        await self._settle()

    async def _missed(self, first: int, end: int) -> list[Entry]:
        """What lies there after all: it left the hot store while this read. The rest is nowhere."""
        contents = self._contents
        await contents.load(self._end)
        found: list[Entry] = []
        async for entry in contents.log_from(first):
            if entry.first >= end:
                break
            found.append(entry)
        place = first
        for each in found:
            self._tell_gap(place, each.first)
            place = max(place, each.end)
        self._tell_gap(place, end)
        return found

    def _tell_gap(self, first: int, end: int) -> None:
        gone = max((floor.gone for floor in self._contents.floors.values()), default=0)
        first = max(first, gone)  # below that anybody's records may be gone for good
        if first < end:
            self._report.find("missing", "", f"records {first} to {end - 1} are neither in the log nor in cold state")

    async def _fold(self, entries: list[Entry]) -> None:
        touched = Piece()
        for entry in entries:
            touched.add(entry.body)
        self._report.records += touched.records
        at = await self._documents(touched.touched)
        for entry in entries:
            for record in decode_entry(entry.body):
                try:
                    self._expire(record)
                    replay([record], self._world)
                except (msgspec.DecodeError, KeyError) as error:
                    what = f"{record.type} at sequence {record.sequence} can't be read: {error}"
                    self._report.find("different", record.tenant, what)
                for place, body in at.pop(record.sequence, ()):
                    self._compare(place, body, record.sequence)
        self._forget()

    async def _documents(self, touched: dict[Place, int]) -> dict[int, list[tuple[Place, bytes]]]:
        """Documents that this piece of the log may lead to, by version."""
        contents = self._contents
        places = list(touched)
        at: defaultdict[int, list[tuple[Place, bytes]]] = defaultdict(list)
        for start in range(0, len(places), _PIECE):
            some = places[start : start + _PIECE]
            for place, hot in zip(some, await contents.log.fetch(some), strict=True):
                found = hot or await contents.history.document(*place)
                if found is not None and found.body is not None:
                    at[found.version].append((place, found.body))
                elif place[1] in (states.EXECUTIONS, states.SESSIONS) and len(self._doubts) < _DOUBTS_MAX:
                    self._doubts[place] = touched[place]
        return at

    def _expire(self, record: LogRecord) -> None:
        if record.type != "content_expired":
            return
        expired = msgspec.msgpack.decode(record.raw, type=ContentExpired)
        if expired.gone:
            for execution in expired.executions:
                self._doubts.pop((record.tenant, states.EXECUTIONS, execution), None)
            for session in expired.sessions:
                self._doubts.pop((record.tenant, states.SESSIONS, session), None)

    def _compare(self, place: Place, body: bytes, version: int) -> None:
        tenant, collection, key = place
        folded: bytes | None = None
        if collection == states.EXECUTIONS:
            execution = self._world.executions.get((tenant, key))
            folded = None if execution is None else encode(execution)
        elif collection == states.SESSIONS:
            session = self._world.sessions.get((tenant, key))
            folded = None if session is None else encode(session)
            body = encode(decode_session(body))  # an older version wrote fewer fields
        else:
            folded = self._world.documents.get(place)
        if folded is not None and folded != body:
            self._report.find(
                "diverged", tenant, f"{collection}/{key} of version {version} is not what the log leads to"
            )

    def _forget(self) -> None:
        """Keep what later records may change."""
        world = self._world
        for key in [key for key, state in world.executions.items() if state.status.ended]:
            del world.executions[key]
            world.emitted.pop(key, None)
        for kept in (world.keys, world.documents, world.dead, world.published, world.violations):
            kept.clear()

    async def _settle(self) -> None:
        for (tenant, collection, key), sequence in self._doubts.items():
            if await self._contents.tiers.document(tenant, collection, key) is None:
                text = f"{collection}/{key}, which the record at {sequence} tells of, is in no store"
                self._report.find("missing", tenant, text)
