"""One tenant's sweep: what retention says is over leaves the hot store, and in the end every store.

Every removal is a recorded command, in commits of bounded size. It is committed before anything is removed from cold
state: a crash in between leaves something there that the next sweep finds again. What has not ended, what cold state
does not have yet, and what an open execution needs is never touched.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from intendant.actors.acceptance import decode_claim
from intendant.actors.orphans import ORPHANS_MAX, Orphans
from intendant.actors.tiers import Tiers
from intendant.domain import state as states
from intendant.domain.codec import encode
from intendant.domain.commit import PLACES, Commit, DeleteDocument, Operation, PutDocument, Receipt, ReleaseKey, TrimLog
from intendant.domain.digests import named_in
from intendant.domain.ids import first_id
from intendant.domain.payloads import ContentExpired
from intendant.domain.ports import ColdDocument, ColdStore, Document, LogReader
from intendant.domain.records import Record, decode_entry, iterate_entry
from intendant.domain.retention import FLOOR, Floor, RetentionPolicy, Stage, before, stage, trim_below
from intendant.domain.state import ExecutionState, decode_execution, decode_file, decode_session

_PIECE: Final = 128  # executions that one commit takes away
_PAGE: Final = 256
_LOOKED_AT: Final = 128  # entries, to see whether there is anything to trim
_END: Final = "~"  # sorts behind everything that an id may be followed by
_MARGIN: Final = 60_000_000  # µs that a clock may have been set back between an acceptance and its record


Id = tuple[str, str]  # tenant and execution
Place = tuple[str, str]  # collection and key


class Stores(Struct, frozen=True):
    """What a sweep works on. `archived` is how far cold state has come, None when there is none."""

    log: LogReader
    cold: ColdStore | None
    partition: int
    archived: int | None
    commit: Callable[[Commit], Awaitable[Receipt]]
    orphans: Orphans
    leaving: Callable[[Iterable[Id]], AbstractAsyncContextManager[None]]  # meanwhile nobody sets data of these
    rest: Callable[[], Awaitable[None]]  # between pieces of work


class _Finished(Struct, frozen=True, gc=False):
    """An execution that is to leave, with the documents that leave with it."""

    state: ExecutionState
    documents: list[Place]


class Expiry:
    """Sweeps one tenant, once."""

    def __init__(self, tenant: str, stores: Stores, policy: RetentionPolicy, now: int) -> None:
        self.left = 0  # executions that left the hot store, and
        self.gone = 0  # those that left every store
        self.below = 0  # no entry of the hot log below this sequence is needed any more
        self._tenant = tenant
        self._stores = stores
        self._log = stores.log
        self._tiers = Tiers(stores.log, stores.cold, stores.partition)
        self._policy = policy
        self._now = now
        self._floor = Floor()
        self._waiting: int | None = None
        self._kept: list[int] = []  # where the first of the older executions begins that stay in the hot store
        self._since = before(now, policy.shortest(tenant).total)  # records of cold state since then stay
        self._busy: set[str] = set()  # sessions of executions that stay

    async def run(self, bound: int | None = None) -> None:
        """Sweep; entries from the sequence `bound` on stay. What was done when it raises stays done.

        Raises StoreUnavailable, and ActorStopped when the log's writer has stopped.
        """
        if bound is not None:
            self._kept.append(bound)
        self._floor = await self._tiers.floor(self._tenant)
        waiting = await self._log.outbox(limit=1, tenant=self._tenant)
        self._waiting = waiting[0].position // PLACES if waiting else None
        await self._sweep_hot()
        if self._stores.cold is not None:
            await self._sweep_cold(self._stores.cold)
        await self._sweep_sessions()
        await self._trim_hot()
        if self._stores.cold is not None:
            await self._trim_cold(self._stores.cold)
        await self._collect_files()

    @property
    def _limit(self) -> timedelta:
        """Whatever is younger stays in the hot store."""
        shortest = self._policy.shortest(self._tenant)
        return shortest.total if self._stores.cold is None else shortest.hot

    # --- executions

    async def _sweep_hot(self) -> None:
        """The oldest first: ids sort by time, so the walk ends where everything is too young."""
        horizon = first_id(before(self._now, self._limit))
        after = ""
        while True:
            page = await self._log.documents(self._tenant, states.EXECUTIONS, after=after, limit=_PIECE)
            old = [(each, decode_execution(each.body)) for each in page if each.key < horizon]
            ready = [each for each in old if not self._stays(each[0], each[1], each[0].version)]
            ready = await self._unless_awaited(ready)
            if ready:
                async with self._stores.leaving([(self._tenant, document.key) for document, _ in ready]):
                    await self._take_away(ready)
            if len(old) < _PIECE:
                return
            after = page[-1].key
            await self._stores.rest()

    def _stays(self, document: Document, state: ExecutionState, version: int) -> bool:
        """Whether an execution stays in the hot store; then so does what it needs."""
        if self._stage(state, version) is not Stage.KEPT:
            return False
        self._kept[:] = [min([document.since, *self._kept])]
        self._keep(state)
        return True

    async def _unless_awaited(
        self, ready: list[tuple[Document, ExecutionState]]
    ) -> list[tuple[Document, ExecutionState]]:
        """Without the children of executions that have not ended: these may still ask how those did."""
        parents = {state.parent.execution for _, state in ready if state.parent is not None}
        if not parents:
            return ready
        found = await self._log.fetch([(self._tenant, states.EXECUTIONS, each) for each in sorted(parents)])
        open = {each.key for each in found if each is not None and not decode_execution(each.body).status.ended}
        awaited = [each for each in ready if each[1].parent is not None and each[1].parent.execution in open]
        for document, state in awaited:
            self._kept[:] = [min([document.since, *self._kept])]
            self._keep(state)
        return [each for each in ready if each not in awaited]

    def _keep(self, state: ExecutionState) -> None:
        self._since = min(self._since, state.accepted_at - _MARGIN)
        self._busy.add(state.session)

    def _stage(self, state: ExecutionState, version: int) -> Stage:
        return stage(
            ended_at=state.ended_at,
            version=version,
            now=self._now,
            retention=self._policy.of(self._tenant, state.type),
            archived=self._stores.archived,
            waiting=self._waiting,
        )

    async def _take_away(self, ready: list[tuple[Document, ExecutionState]]) -> None:
        data = await self._log.fetch([(self._tenant, states.EXECUTION_DATA, each.key) for each, _ in ready])
        letters = await self._letters(self._log.documents, ready[0][0].key, ready[-1][0].key)
        left: list[_Finished] = []
        gone: list[_Finished] = []
        for (document, state), own in zip(ready, data, strict=True):
            belonging = letters[state.id]
            version = max([document.version, *(each.version for each in belonging), own.version if own else 0])
            if self._stays(document, state, version):
                continue
            documents = [(states.EXECUTIONS, state.id), *((states.DEAD_LETTERS, each.key) for each in belonging)]
            if own is not None:
                documents.append((states.EXECUTION_DATA, state.id))
            (gone if self._stage(state, version) is Stage.GONE else left).append(_Finished(state, documents))
        if left:
            await self._leave_hot(left)
        if gone:
            await self._remove(gone)

    async def _sweep_cold(self, cold: ColdStore) -> None:
        """What is only in cold state, the oldest first."""
        horizon = first_id(before(self._now, self._policy.shortest(self._tenant).total))
        after = ""
        while True:
            page = await cold.documents(self._tenant, states.EXECUTIONS, after=after, limit=_PIECE)
            old = [each for each in page if each.key < horizon]
            hot = await self._log.fetch([(self._tenant, states.EXECUTIONS, each.key) for each in old]) if old else []
            await self._remove_cold(cold, [each for each, there in zip(old, hot, strict=True) if there is None])
            if len(old) < _PIECE:
                return
            after = page[-1].key
            await self._stores.rest()

    async def _remove_cold(self, cold: ColdStore, old: list[ColdDocument]) -> None:
        if not old:
            return
        letters = await self._letters(cold.documents, old[0].key, old[-1].key)
        gone: list[_Finished] = []
        for document in old:
            state = decode_execution(document.body or b"")
            if self._stage(state, document.version) is Stage.GONE:
                belonging = [(states.DEAD_LETTERS, each.key) for each in letters[state.id]]
                own = [(states.EXECUTIONS, state.id), (states.EXECUTION_DATA, state.id)]
                gone.append(_Finished(state, own + belonging))
            else:
                self._keep(state)
        if gone:
            await self._remove(gone)

    async def _letters(
        self, read: Callable[..., Awaitable[list[Document] | list[ColdDocument]]], first: str, last: str
    ) -> defaultdict[str, list[Document | ColdDocument]]:
        """Dead letters of the executions first..last, by execution."""
        found: defaultdict[str, list[Document | ColdDocument]] = defaultdict(list)
        after = first
        while page := await read(self._tenant, states.DEAD_LETTERS, after=after, limit=_PAGE):
            for each in page:
                if each.key > last + _END:
                    return found
                found[each.key.rpartition("-")[0]].append(each)
            after = page[-1].key
        return found

    # --- how they leave

    async def _leave_hot(self, finished: list[_Finished]) -> None:
        self._note(finished)
        operations: list[Operation] = [DeleteDocument(*place) for each in finished for place in each.documents]
        ids = [each.state.id for each in finished]
        await self._record(ContentExpired(self._now, self._age(finished), executions=ids), operations)
        self.left += len(finished)

    async def _remove(self, finished: list[_Finished]) -> None:
        self._note(finished)
        keys = [each.state.key for each in finished if await self._holds(each.state)]
        operations: list[Operation] = [DeleteDocument(*place) for each in finished for place in each.documents]
        operations += [ReleaseKey(key) for key in keys]
        ids = [each.state.id for each in finished]
        expired = ContentExpired(self._now, self._age(finished), gone=True, executions=ids, keys=keys)
        await self._record(expired, operations)
        await self._remove_from_cold(place for each in finished for place in each.documents)
        self.gone += len(finished)

    def _note(self, finished: list[_Finished]) -> None:
        newest = max(each.state.id for each in finished) + _END
        self._floor = replace(self._floor, newest=max(self._floor.newest, newest))

    async def _holds(self, state: ExecutionState) -> bool:
        """Whether the key is still this execution's: it may have been freed before a crash, and be claimed anew."""
        value = await self._log.key(self._tenant, state.key)
        return value is not None and decode_claim(value).execution == state.id

    async def _remove_from_cold(self, documents: Iterable[Place]) -> None:
        if self._stores.cold is not None:
            await self._stores.cold.remove([(self._tenant, *place) for place in documents])

    async def _record(self, expired: ContentExpired, operations: Iterable[Operation]) -> None:
        """Commit a removal, and what is known of the tenant from then on."""
        floor = PutDocument(states.RETENTION, FLOOR, encode(self._floor))
        record = Record("content_expired", "", "", expired)
        await self._stores.commit(Commit(self._tenant, [record], [*operations, floor]))

    def _age(self, finished: Iterable[_Finished]) -> int:
        return min(self._now - each.state.ended_at for each in finished) // 1_000_000

    # --- sessions

    async def _sweep_sessions(self) -> None:
        """Closed ones, when nothing of theirs is left. They stay in the hot store until then: who opens a session must
        find that it was closed.
        """
        after = ""
        while page := await self._log.documents(self._tenant, states.SESSIONS, after=after, limit=_PAGE):
            gone = [each.key for each in page if self._is_over(each)]
            if gone:
                await self._remove_sessions(gone)
            after = page[-1].key
            await self._stores.rest()

    def _is_over(self, document: Document) -> bool:
        state = decode_session(document.body)
        over = stage(
            ended_at=state.closed_at,
            version=document.version,
            now=self._now,
            retention=self._policy.of(self._tenant, ""),
            archived=self._stores.archived,
            waiting=self._waiting,
        )
        return over is Stage.GONE and state.id not in self._busy

    async def _remove_sessions(self, ids: list[str]) -> None:
        own = (states.SESSIONS, states.SESSION_DATA, states.SESSION_STATE)
        documents = [(collection, id) for id in ids for collection in own]
        documents += [(states.FILES, name) for name in await self._files_of(set(ids))]
        age = self._policy.of(self._tenant, "").total // timedelta(seconds=1)
        expired = ContentExpired(self._now, age, gone=True, sessions=ids)
        await self._record(expired, [DeleteDocument(*place) for place in documents])
        await self._remove_from_cold(documents)

    async def _files_of(self, sessions: set[str]) -> list[str]:
        """The file references of these sessions."""
        found: list[str] = []
        after = ""
        while page := await self._log.documents(self._tenant, states.FILES, after=after, limit=_PAGE):
            found += [each.key for each in page if decode_file(each.body).session in sessions]
            after = page[-1].key
        return found

    # --- the log

    async def _trim_hot(self) -> None:
        self.below = trim_below(
            recent=await self._log.position_at(before(self._now, self._limit)),
            kept=self._kept,
            waiting=self._waiting if self._stores.cold is None else None,
            archived=self._stores.archived,
        )
        if self._stores.cold is None:
            self.below = await self._note_files(self._floor.below, self.below)
        first, last = self._floor.below, self.below - 1
        entries = (
            await self._log.entries(self._tenant, first=first, last=last, limit=_LOOKED_AT) if first <= last else []
        )
        if _is_worth_it(entries, last):
            gone = self._stores.cold is None
            self._floor = replace(self._floor, below=self.below, gone=self.below if gone else self._floor.gone)
            await self._record(ContentExpired(self._now, gone=gone, below=self.below), [TrimLog(self.below)])

    async def _trim_cold(self, cold: ColdStore) -> None:
        """Chunks that hold nothing since the oldest thing that stays."""
        end = (self._stores.archived or 0) + 1
        kept = await self._tiers.archived_at(self._tenant, self._since, end)
        recent = end if kept is None else kept.first
        below = trim_below(recent=recent, kept=[self._floor.below], waiting=self._waiting, archived=None)
        if not await self._tiers.chunks(self._tenant, 0, below - 1, limit=1):
            return
        below = await self._note_files(0, below)
        if below > self._floor.gone:
            self._floor = replace(self._floor, gone=below)
            await self._record(ContentExpired(self._now, gone=True, below=below), ())
        await cold.trim(self._stores.partition, self._tenant, below=below)

    # --- files

    async def _note_files(self, first: int, below: int) -> int:
        """Note the files that are named by what is to be trimmed for good; returns up to where that was done."""
        files = await self._stores.orphans.digests(self._tenant) if first < below else frozenset[str]()
        orphans = set(self._floor.orphans)
        while files and first < below:
            if len(orphans) >= ORPHANS_MAX:
                break
            pieces = await self._pieces(first, below - 1)
            if not pieces:
                first = below
            for last, entries in pieces:
                orphans |= named_in(entries, files)
                first = min(last + 1, below)
            await self._stores.rest()
        self._floor = replace(self._floor, orphans=sorted(orphans))
        return first if files else below

    async def _pieces(self, first: int, last: int) -> list[tuple[int, list[bytes]]]:
        """Some of what is to be trimmed for good, each with the sequence it ends at."""
        if self._stores.cold is not None:
            return [(each.last, each.entries) for each in await self._tiers.chunks(self._tenant, first, last)]
        entries = await self._log.entries(self._tenant, first=first, last=last, limit=_LOOKED_AT)
        return [(decode_entry(each)[-1].sequence, [each]) for each in entries]

    async def _collect_files(self) -> None:
        """Delete files that nothing refers to any more."""
        if not self._floor.orphans:
            return
        orphans = self._floor.orphans
        deleted, again = await self._stores.orphans.collect(self._tenant, orphans, self._now, self._stores.rest)
        if len(again) < len(orphans):
            self._floor = replace(self._floor, orphans=again)
            await self._record(ContentExpired(self._now, gone=True, files=deleted), ())


def _is_worth_it(entries: list[bytes], last: int) -> bool:
    """Whether there is something to trim besides what earlier trimming has left: it would never come to an end."""
    if len(entries) == _LOOKED_AT:
        return True
    return any(
        record.type != "content_expired"
        for entry in entries
        for record in iterate_entry(entry)
        if record.sequence <= last
    )
