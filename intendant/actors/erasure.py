"""One erasure: everything of a tenant or session leaves every store, piece by piece.

Each piece is a commit, and what it takes from the hot store is taken from cold state only then. So a crash anywhere
leaves something that is found again when the erasure is begun anew, from its first line: nothing here is remembered.

What is written late into cold state can't undo it. Before anything goes, cold state has everything that is to go, so
that each place where old content may be written again is known. Then each place gets a version that is higher than any
that was given before: a tombstone, or the chunk without the content.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import aclosing
from typing import Final

import anyio
import anyio.lowlevel
from msgspec import Struct
from msgspec.structs import replace

from intendant.actors.barred import Barred, open_executions
from intendant.actors.erasure_in_cold import ErasureInCold
from intendant.actors.orphans import WatchedFiles
from intendant.actors.state_writer import StateWriter
from intendant.actors.survey import Survey
from intendant.actors.tiers import Tiers
from intendant.actors.wal_writer import WalWriter
from intendant.domain import state as states
from intendant.domain.codec import COMMIT_BYTES_MAX, encode
from intendant.domain.commit import (
    AddToIndex,
    Commit,
    DeleteDocument,
    DropJournal,
    Operation,
    PutDocument,
    ReleaseKey,
    RemoveFromIndex,
    ReplaceEntry,
    SettleOutbox,
    TrimLog,
)
from intendant.domain.erasure import Erased, Scope
from intendant.domain.errors import StoreUnavailable
from intendant.domain.journal import Journal
from intendant.domain.payloads import ContentErased, ErasureStarted
from intendant.domain.ports import Clock, ColdDocument, ColdStore, Log
from intendant.domain.records import Record, decode_entry
from intendant.domain.retention import FLOOR, Floor
from intendant.domain.state import decode_execution, decode_session

_ENTRIES: Final = 64  # that are read at a time
_PIECE: Final = 256  # keys or events that one commit takes away
_BYTES: Final = COMMIT_BYTES_MAX // 2  # of rewritten entries, after which a commit is made
_LOOK: Final = 0.05  # seconds between two looks at how far cold state has come
_COLD_PATIENCE: Final = 60.0  # seconds that cold state may stand still
_DROP_PATIENCE: Final = 10.0  # seconds that handlers have to come back
_END: Final = "~"  # sorts behind everything that an id may be followed by

Place = tuple[str, str]  # collection and key


async def _nobody(_tenant: str, _executions: Iterable[str], _patience: float) -> None:
    """No handler runs."""


async def _no_relay(_: Scope) -> None:
    """No event is on its way."""


def _no_files(_tenant: str) -> set[str]:
    """No handler has put any."""
    return set()


def _nothing(_scope: Scope, _executions: Collection[str]) -> None:
    """Nothing is remembered."""


class Surroundings(Struct, frozen=True):
    """What an erasure works on, and who has to be told. `window` is the hot store's loss window, in seconds."""

    log: Log
    cold: ColdStore | None
    writer: WalWriter
    state_writer: StateWriter | None
    files: WatchedFiles
    clock: Clock
    barred: Barred
    window: float = 0.0
    drop: Callable[[str, Iterable[str], float], Awaitable[None]] = _nobody
    files_in_hand: Callable[[str], set[str]] = _no_files  # that running handlers have put
    sent: Callable[[Scope], Awaitable[None]] = (
        _no_relay  # returns when what the relay had read of it has left, or won't
    )
    forget: Callable[[Scope, Collection[str]], None] = _nothing
    rest: Callable[[], Awaitable[None]] = anyio.lowlevel.checkpoint

    @property
    def tiers(self) -> Tiers:
        """Hot first, then cold."""
        return Tiers(self.log, self.cold, self.writer.partition)


def beginning(scope: Scope, at: int, *, drop_open: bool) -> Commit:
    """The commit that an erasure begins with."""
    started = ErasureStarted(at, drop_open)
    put = PutDocument(states.ERASURES, scope.member, encode(started))
    add = AddToIndex(states.ERASING, scope.member)
    return Commit(scope.tenant, [Record("erasure_started", scope.session, "", started)], [put, add])


class Erasure:
    """Does what `erasure_started` says, or what an earlier attempt has left of it."""

    def __init__(self, scope: Scope, around: Surroundings) -> None:
        self._scope = scope
        self._around = around
        self._log = around.log
        self._tiers = around.tiers
        self._survey = Survey(scope, around.log, around.cold, around.files, partition=around.writer.partition)
        self._content = self._survey.content
        self._newest = ""  # the newest execution
        self._version = 0  # of what is written into cold state

    async def run(self) -> Erased:
        """Erase. Raises StoreUnavailable and Stopped; what was done then stays done, and this may be begun anew."""
        around, scope = self._around, self._scope
        started = await self._log.document(scope.tenant, states.ERASURES, scope.member)
        if started is None:
            return Erased(scope.tenant, scope.session)  # somebody has ended it
        around.barred.bar(scope)
        await self._drop_open()
        watched = await self._watch_files()
        erased = await self._survey.run(around.rest)
        around.barred.know(scope, self._content.executions)
        end = await self._record()
        await self._wait_for_cold(end)
        await self._erase_files(watched)
        await self._erase_documents()
        await self._free_keys()
        await self._settle_events()
        await around.sent(scope)
        if around.cold is not None:  # before the hot log, from which it is known what is to go, also after a crash
            await self._in_cold(around.cold).run(end if scope.session else started.since)
        if scope.session:
            await self._rewrite_log(end)
        else:
            await self._trim_log(started.since)
        around.forget(scope, self._content.executions)
        await self._log.scrub()
        await self._finish(erased)
        return erased

    def _in_cold(self, cold: ColdStore) -> ErasureInCold:
        around = self._around
        return ErasureInCold(self._survey, cold, self._tiers, around.writer.partition, self._version, around.rest)

    # --- before anything goes

    async def _drop_open(self) -> None:
        open = await open_executions(self._log, self._scope)
        self._around.barred.know(self._scope, open)
        await self._around.drop(self._scope.tenant, open, _DROP_PATIENCE)

    async def _wait_for_cold(self, end: int) -> None:
        """Until cold state has everything before `end`, and a version that is higher than all is sure."""
        around, writer = self._around, self._around.state_writer
        if writer is None:
            return
        await self._until(lambda: writer.archived, end)
        self._version = await self._record()
        await self._until(lambda: around.writer.settled(around.window), self._version)

    async def _until(self, reached: Callable[[], int], sequence: int) -> None:
        before, since = reached(), anyio.current_time()
        while (now := reached()) < sequence:
            if now > before:
                before, since = now, anyio.current_time()
            elif anyio.current_time() - since > _COLD_PATIENCE + self._around.window:
                raise StoreUnavailable(
                    f"cold state stands still at sequence {now}, and {self._scope} can be erased when it has come to "
                    f"{sequence}; look at the cold store, the erasure goes on by itself"
                )
            await self._around.rest()
            await anyio.sleep(_LOOK)

    # --- files

    async def _watch_files(self) -> list[str]:
        """From now on, what is put again is not deleted. Of a whole tenant everything goes."""
        if not self._scope.session:
            return []
        tenant, files = self._scope.tenant, self._around.files
        watched = [each for each in await files.digests(tenant) if files.watched_since(tenant, each) is None]
        for digest in watched:
            files.watch(tenant, digest, self._around.clock.now())
        return watched

    async def _erase_files(self, watched: Iterable[str]) -> None:
        tenant, files = self._scope.tenant, self._around.files
        if not self._scope.session:
            await files.clear(tenant)
            return
        for digest in self._survey.own - self._around.files_in_hand(tenant):
            while not await files.delete_unused(tenant, digest):
                if files.watched_since(tenant, digest) is None:
                    break  # somebody else has put it since the survey began
                await anyio.sleep(_LOOK)  # something of the tenant is being put at this moment
        for digest in watched:
            files.forget(tenant, digest)

    # --- documents, keys, events

    async def _erase_documents(self) -> None:
        for collection in states.CONTENT:
            async with aclosing(self._survey.pages(collection)) as pages:
                async for page in pages:
                    own = [(key, body) for key, body in page if self._content.owns(collection, key, body)]
                    if own:
                        await self._erase_page(collection, own)
                    await self._around.rest()

    async def _erase_page(self, collection: str, own: Sequence[tuple[str, bytes]]) -> None:
        operations: list[Operation] = [DeleteDocument(collection, key) for key, _ in own]
        if collection == states.SESSIONS:
            timers = [decode_session(body).timer for _, body in own]
            operations += [RemoveFromIndex(states.TIMERS, member, due) for due, member in filter(None, timers)]
        counts = ContentErased(documents=len(own))
        if collection == states.EXECUTIONS:
            self._newest = max(self._newest, own[-1][0])
            open = [state for _, body in own if not (state := decode_execution(body)).status.ended]
            operations += [RemoveFromIndex(states.OPEN, each.id, states.open_score(each.session)) for each in open]
            operations += [DropJournal(each.id) for each in open]
            operations += [timer for each in open for timer in await self._timers(each.id)]
            counts = replace(counts, executions=len(own), journals=len(open))
        await self._record(counts, operations)
        if self._around.cold is not None:
            tombs = [ColdDocument(self._scope.tenant, collection, key, self._version, None) for key, _ in own]
            await self._around.cold.put(tombs)

    async def _timers(self, execution: str) -> list[RemoveFromIndex]:
        """What takes the timers of an open execution out of their index."""
        journal = Journal.of(await self._log.journal(self._scope.tenant, execution))
        return [
            RemoveFromIndex(states.TIMERS, states.timer_member(execution, timer.path), timer.due)
            for timer in journal.waits.open_timers()
        ]

    async def _free_keys(self) -> None:
        keys: list[str] = []
        async with aclosing(self._survey.keys()) as found:
            async for key in found:
                keys.append(key)
                if len(keys) == _PIECE:
                    await self._record(ContentErased(keys=len(keys)), [ReleaseKey(each) for each in keys])
                    keys = []
        if keys:
            await self._record(ContentErased(keys=len(keys)), [ReleaseKey(each) for each in keys])

    async def _settle_events(self) -> None:
        positions: list[int] = []
        async with aclosing(self._survey.events(own=True)) as found:
            async for item in found:
                positions.append(item.position)
                if len(positions) == _PIECE:
                    await self._record(ContentErased(events=len(positions)), [SettleOutbox(tuple(positions))])
                    positions = []
        if positions:
            await self._record(ContentErased(events=len(positions)), [SettleOutbox(tuple(positions))])

    # --- the log

    async def _trim_log(self, below: int) -> None:
        """Of a tenant nothing stays but what says that it was erased."""
        floor = await self._tiers.floor(self._scope.tenant)
        newest = max(floor.newest, self._newest + _END if self._newest else "")
        await self._put_floor(Floor(below=below, newest=newest, gone=below), [TrimLog(below)])

    async def _rewrite_log(self, end: int) -> None:
        """Of a session the places of its records stay."""
        first = 0
        replaces: list[ReplaceEntry] = []
        while entries := await self._log.entries(self._scope.tenant, first=first, last=end - 1, limit=_ENTRIES):
            for entry in entries:
                records = decode_entry(entry)
                first = records[-1].sequence + 1
                body = self._content.rewritten(entry)
                if body is None:
                    continue
                if replaces and sum(len(each.body) for each in replaces) + len(body) > _BYTES:
                    await self._replace(replaces)
                    replaces = []
                replaces.append(ReplaceEntry(records[0].sequence, body))
            await self._around.rest()
            if first >= end:
                break
        if replaces:
            await self._replace(replaces)

    async def _replace(self, replaces: list[ReplaceEntry]) -> None:
        await self._record(None, replaces)

    # --- how it is written

    async def _record(self, counts: ContentErased | None = None, operations: Sequence[Operation] = ()) -> int:
        """Commit a piece; returns its sequence."""
        payload = replace(counts or ContentErased(), at=self._around.clock.now())
        record = Record("content_erased", self._scope.session, "", payload)
        receipt = await self._around.writer.commit(Commit(self._scope.tenant, [record], operations), erasing=True)
        return receipt.first

    async def _put_floor(self, floor: Floor, operations: Sequence[Operation] = ()) -> None:
        await self._record(None, [*operations, PutDocument(states.RETENTION, FLOOR, encode(floor))])

    async def _finish(self, erased: Erased) -> None:
        counts = ContentErased(
            done=True,
            executions=erased.executions,
            records=erased.records,
            documents=erased.documents,
            keys=erased.keys,
            events=erased.events,
            journals=erased.journals,
            files=erased.files,
        )
        member = self._scope.member
        await self._record(counts, [DeleteDocument(states.ERASURES, member), RemoveFromIndex(states.ERASING, member)])
        self._around.barred.lift(self._scope)
