"""What a hot store derived from its log, compared with the fold of that log. Used by the audit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, Final, TypeVar

import anyio
import msgspec
from msgspec import Struct

from intendant.actors.acceptance import Claim
from intendant.actors.outbox_event import OutboxEvent
from intendant.actors.state_writer import CHECKPOINT
from intendant.domain import state as states
from intendant.domain.codec import digest, encode
from intendant.domain.commit import PLACES
from intendant.domain.journal import decode_journal_row
from intendant.domain.payloads import ContentExpired, IntentReceived, StateSet
from intendant.domain.ports import Document, IndexMember, LogReader
from intendant.domain.records import LogRecord
from intendant.domain.replay import Key, World
from intendant.domain.state import ExecutionState, SessionState, decode_file

READERS: Final = 16  # look-ups that are under way at a time
_PAGE: Final = 1_000
_TRACKED: Final = {states.SESSIONS: SessionState, states.EXECUTIONS: ExecutionState}
_EXECUTIONS: Final = (states.EXECUTIONS, states.EXECUTION_DATA)
_SESSIONS: Final = (states.SESSIONS, states.SESSION_DATA, states.SESSION_STATE)
_USERS: Final = (states.SESSION_DATA, states.SESSION_STATE, states.EXECUTION_DATA, states.FILES)

Place = tuple[str, str, str]  # tenant, collection, key
T = TypeVar("T")


class _Expected(Struct, frozen=True, gc=False):
    """A document as it should be: its digest, and the sequence that it must not begin behind (0: anywhere).

    One that has `left` for cold state need not be there; in a copy of both stores in one it is.
    """

    digest: bytes
    since: int = 0
    left: bool = False


class Derived:
    """Compares while the log is folded, so that what is compared need not be kept."""

    def __init__(self, log: LogReader, find: Callable[[str, str], None]) -> None:
        self._log = log
        self._find = find
        self._expected: dict[Place, _Expected] = {}
        self._begun: dict[Key, int] = {}  # of open executions: the sequence of their first record
        self._claims: dict[Key, Claim] = {}  # of the page at hand
        self._files: dict[Place, str] = {}  # file references, and the session of each
        self._floors: dict[str, int] = {}
        self._left: set[Key] = set()  # executions of the page at hand that ended and had a journal
        self._expired: dict[Place, bool] = {}  # documents that left on the page at hand, and whether they are gone
        self._left_letters: set[str] = set()  # dead letters that need not be there
        self._doubts: dict[Key, str] = {}  # by tenant and key: a claim that is not there, unless it expires yet

    # --- while the log is folded

    def before(self, world: World, record: LogRecord) -> None:
        """Take note of a record that is about to be folded."""
        key = (record.tenant, record.execution)
        if record.type == "intent_received":
            intent = msgspec.msgpack.decode(record.raw, type=IntentReceived)
            claim = Claim(record.execution, intent.type, digest(intent.type.encode(), bytes(intent.parameters)))
            self._claims.setdefault((record.tenant, intent.key), claim)
            self._begun.setdefault(key, record.sequence)
        elif record.type.startswith("execution_") and key in world.journals:
            self._left.add(key)
        elif record.type == "state_set":
            changed = msgspec.msgpack.decode(record.raw, type=StateSet)
            self._expired.pop((record.tenant, changed.collection, changed.key), None)
        elif record.type == "content_expired":
            self._expire(record.tenant, msgspec.msgpack.decode(record.raw, type=ContentExpired), world)

    def expect(self, key: Key, state: ExecutionState) -> None:
        """This is what an execution's document must say, until the log says more."""
        tenant, execution = key
        place = (tenant, states.EXECUTIONS, execution)
        since = self._begun.pop(key, 0) if state.status.ended else self._begun.get(key, 0)
        self._expect(place, digest(encode(state)), since)

    def _expect(self, place: Place, wanted: bytes, since: int = 0) -> None:
        gone = self._expired.get(place)
        if not gone:
            self._expected[place] = _Expected(wanted, since, left=gone is False)

    def _expire(self, tenant: str, expired: ContentExpired, world: World) -> None:
        """What the record names need not be found in the store any more, and must not if it is gone."""
        places = [(tenant, collection, id) for id in expired.executions for collection in _EXECUTIONS]
        places += [(tenant, collection, id) for id in expired.sessions for collection in _SESSIONS]
        if expired.sessions:
            places += self._files_of(tenant, set(expired.sessions), world)
        for place in places:
            self._expired[place] = expired.gone
            expected = self._expected.pop(place, None)
            if expected is not None and not expired.gone:
                self._expected[place] = _Expected(expected.digest, expected.since, left=True)
        for key in expired.keys:
            self._claims.pop((tenant, key), None)
            self._doubts.pop((tenant, key), None)
        if world.dead and expired.executions:
            left = set(expired.executions)
            letters = {event for event in world.dead if event.rpartition("-")[0] in left}
            world.dead[:] = [event for event in world.dead if event not in letters]
            self._left_letters |= set() if expired.gone else letters

    def _files_of(self, tenant: str, sessions: set[str], world: World) -> list[Place]:
        kept = [(place, session) for place, session in self._files.items() if place[0] == tenant]
        kept += [
            (place, decode_file(value).session)
            for place, value in world.documents.items()
            if place[:2] == (tenant, states.FILES)
        ]
        found = [place for place, session in kept if session in sessions]
        for place in found:
            self._files.pop(place, None)
            world.documents.pop(place, None)
        return found

    async def turn(self, world: World) -> None:
        """A page is folded: compare what stays as it is now, and keep digests of the rest."""
        for place, value in world.documents.items():
            self._expect(place, digest(value))
            if place[1] == states.FILES:
                self._files[place] = decode_file(value).session
        world.documents.clear()
        self._expired.clear()
        claims, self._claims = self._claims, {}
        await _side_by_side(self._compare_key, claims.items())
        left, self._left = self._left, set()
        await _side_by_side(self._compare_left, [key for key in left if key not in world.journals])

    async def _compare_key(self, claimed: tuple[Key, Claim]) -> None:
        (tenant, key), claim = claimed
        value = await self._log.key(tenant, key)
        if value is None:
            self._doubts[tenant, key] = f"key {key} of execution {claim.execution} is not claimed in the store"
        elif value != encode(claim):
            rest = f"for something else than execution {claim.execution}"
            self._doubts[tenant, key] = f"key {key} is claimed in the store {rest}"

    async def _compare_left(self, key: Key) -> None:
        tenant, execution = key
        if rows := await self._log.journal(tenant, execution):
            self._find(tenant, f"execution {execution} has ended, and {len(rows)} rows of its journal are left")

    # --- when it is folded

    async def compare(self, world: World) -> None:
        """Compare everything that was not compared on the way."""
        self._floors = world.floors
        for (tenant, _), doubt in self._doubts.items():
            self._find(tenant, doubt)
        for (tenant, session), state in world.sessions.items():
            self._expected[tenant, states.SESSIONS, session] = _Expected(digest(encode(state)))
        await self._compare_documents({tenant for tenant, _, _ in self._expected}, set(world.dead))
        await self._compare_open(world.open)
        await self._compare_timers(world.timers)
        await _side_by_side(lambda key: self._compare_journal(world, key), world.open | world.journals.keys())
        await self._compare_outbox(dict(world.outbox))
        if await self._log.checkpoint(CHECKPOINT) > world.last_sequence:
            self._find("", f"cold state claims to be ahead of the log, which ends at {world.last_sequence}")

    async def _compare_documents(self, tenants: set[str], dead: set[str]) -> None:
        for tenant in sorted(tenants):
            for collection in (*_TRACKED, *_USERS):
                await self._each_document(tenant, collection, self._compare_document)
            await self._each_document(tenant, states.DEAD_LETTERS, partial(self._compare_letter, dead))
        for tenant, collection, key in (place for place, each in self._expected.items() if not each.left):
            self._find(tenant, f"{collection}/{key} is missing in the store")
        for letter in dead:
            self._find("", f"event {letter} is a dead letter in the log, and not in the store")

    async def _each_document(self, tenant: str, collection: str, each: Callable[[Place, Document], object]) -> None:
        after = ""
        while page := await self._log.documents(tenant, collection, after=after, limit=_PAGE):
            for document in page:
                each((tenant, collection, document.key), document)
            after = page[-1].key

    def _compare_document(self, place: Place, document: Document) -> None:
        tenant, collection, key = place
        expected = self._expected.pop(place, None)
        if expected is None and document.since < self._floors.get(tenant, 0):
            return  # its beginning was trimmed away
        if expected is None:
            self._find(tenant, f"{collection}/{key} is in the store, and the log does not lead to it")
        elif _digest_of(collection, document.body) != expected.digest:
            self._find(tenant, f"{collection}/{key} is not in the store as the log has it")
        elif expected.since and document.since > expected.since:
            self._find(tenant, f"{collection}/{key} is said to begin at {document.since}, behind {expected.since}")

    def _compare_letter(self, dead: set[str], place: Place, _document: Document) -> None:
        tenant, _, event = place
        if event not in dead and event not in self._left_letters:
            self._find(tenant, f"event {event} is a dead letter in the store, and not in the log")
        dead.discard(event)

    async def _compare_open(self, expected: set[Key]) -> None:
        missing = set(expected)
        after: IndexMember | None = None
        while page := await self._log.index(states.OPEN, after=after, limit=_PAGE):
            for member in page:
                key = (member.tenant, member.member)
                if key not in expected:
                    self._find(member.tenant, f"execution {member.member} is in the open set, and is not open")
                missing.discard(key)
            after = page[-1]
        for tenant, execution in missing:
            self._find(tenant, f"execution {execution} is open, and missing in the open set")

    async def _compare_timers(self, missing: set[tuple[int, str, str]]) -> None:
        after: IndexMember | None = None
        while page := await self._log.index(states.TIMERS, after=after, limit=_PAGE):
            for each in page:
                timer = (each.score, each.tenant, each.member)
                if timer not in missing:
                    self._find(each.tenant, f"timer {each.member} at {each.score} is set in the store, not by the log")
                missing.discard(timer)
            after = page[-1]
        for due, tenant, member in missing:
            self._find(tenant, f"timer {member} is set at {due} by the log, and missing in the store")

    async def _compare_journal(self, world: World, key: Key) -> None:
        tenant, execution = key
        rows = await self._log.journal(tenant, execution)
        expected = world.journals[key].rows if key in world.journals else []
        try:
            same = [encode(decode_journal_row(row)) for row in rows] == [encode(step) for step in expected]
        except msgspec.DecodeError:
            same = False
        if not same:
            rest = f"{len(rows)} rows, {len(expected)} steps"
            self._find(tenant, f"the journal of execution {execution} is not as the log has it: {rest}")

    async def _compare_outbox(self, missing: dict[int, str]) -> None:
        after = 0
        while page := await self._log.outbox(after=after, limit=_PAGE):
            for item in page:
                event = missing.pop(item.position, None)
                if event is None and item.position // PLACES < self._floors.get(item.tenant, 0):
                    continue  # its record was trimmed away
                if event is None:
                    self._find(item.tenant, f"position {item.position} waits in the outbox, and in the log it does not")
                elif msgspec.msgpack.decode(item.body, type=OutboxEvent).id != event:
                    self._find(item.tenant, f"position {item.position} of the outbox is not event {event}")
            after = page[-1].position
        for position, event in missing.items():
            self._find("", f"event {event} waits by the log, and is missing in the outbox at {position}")


def _digest_of(collection: str, body: bytes) -> bytes:
    """The digest of a document as this version encodes it; of one that can't be read, of its bytes."""
    kind: Any = _TRACKED.get(collection)
    try:
        return digest(body if kind is None else encode(msgspec.msgpack.decode(body, type=kind)))
    except msgspec.DecodeError:
        return digest(body)


async def _side_by_side(check: Callable[[T], Awaitable[None]], items: Iterable[T]) -> None:
    """Check all items, some at a time."""
    listed = list(items)
    waiting = iter(listed)

    async def reader() -> None:
        for item in waiting:
            await check(item)

    try:
        async with anyio.create_task_group() as group:
            for _ in range(min(READERS, len(listed))):
                group.start_soon(reader)
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
