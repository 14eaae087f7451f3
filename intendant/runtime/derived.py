"""What a hot store derived from its log, compared with the fold of that log. Used by the audit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, Final, TypeVar

import anyio
import msgspec
from msgspec import Struct

from intendant.actors.execution import OutboxEvent, decode_journal_row
from intendant.actors.session import Claim
from intendant.actors.state_writer import CHECKPOINT
from intendant.domain import state as states
from intendant.domain.codec import digest, encode
from intendant.domain.payloads import IntentReceived
from intendant.domain.ports import Document, IndexMember, LogReader
from intendant.domain.records import LogRecord
from intendant.domain.replay import Key, World
from intendant.domain.state import ExecutionState, SessionState

READERS: Final = 16  # look-ups that are under way at a time
_PAGE: Final = 1_000
_TRACKED: Final = {states.SESSIONS: SessionState, states.EXECUTIONS: ExecutionState}
_USERS: Final = (states.SESSION_DATA, states.EXECUTION_DATA, states.FILES)

Place = tuple[str, str, str]  # tenant, collection, key
T = TypeVar("T")


class _Expected(Struct, frozen=True, gc=False):
    """A document as it should be: its digest, and the sequence that it must not begin behind (0: anywhere)."""

    digest: bytes
    since: int = 0


class Derived:
    """Compares while the log is folded, so that what is compared need not be kept."""

    def __init__(self, log: LogReader, find: Callable[[str, str], None]) -> None:
        self._log = log
        self._find = find
        self._expected: dict[Place, _Expected] = {}
        self._begun: dict[Key, int] = {}  # of open executions: the sequence of their first record
        self._claims: dict[Key, Claim] = {}  # of the page at hand
        self._left: set[Key] = set()  # executions of the page at hand that ended and had a journal

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

    def expect(self, key: Key, state: ExecutionState) -> None:
        """This is what an execution's document must say, until the log says more."""
        tenant, execution = key
        place = (tenant, states.EXECUTIONS, execution)
        since = self._begun.pop(key, 0) if state.status.ended else self._begun.get(key, 0)
        self._expected[place] = _Expected(digest(encode(state)), since)

    async def turn(self, world: World) -> None:
        """A page is folded: compare what stays as it is now, and keep digests of the rest."""
        for place, value in world.documents.items():
            self._expected[place] = _Expected(digest(value))
        world.documents.clear()
        claims, self._claims = self._claims, {}
        await _side_by_side(self._compare_key, claims.items())
        left, self._left = self._left, set()
        await _side_by_side(self._compare_left, [key for key in left if key not in world.journals])

    async def _compare_key(self, claimed: tuple[Key, Claim]) -> None:
        (tenant, key), claim = claimed
        value = await self._log.key(tenant, key)
        if value is None:
            self._find(tenant, f"key {key} of execution {claim.execution} is not claimed in the store")
        elif value != encode(claim):
            self._find(tenant, f"key {key} is claimed in the store for something else than execution {claim.execution}")

    async def _compare_left(self, key: Key) -> None:
        tenant, execution = key
        if rows := await self._log.journal(tenant, execution):
            self._find(tenant, f"execution {execution} has ended, and {len(rows)} rows of its journal are left")

    # --- when it is folded

    async def compare(self, world: World) -> None:
        """Compare everything that was not compared on the way."""
        for (tenant, session), state in world.sessions.items():
            self._expected[tenant, states.SESSIONS, session] = _Expected(digest(encode(state)))
        await self._compare_documents({tenant for tenant, _, _ in self._expected}, set(world.dead))
        await self._compare_open(world.open)
        await _side_by_side(lambda key: self._compare_journal(world, key), world.open | world.journals.keys())
        await self._compare_outbox(dict(world.outbox))
        if await self._log.checkpoint(CHECKPOINT) > world.last_sequence:
            self._find("", f"cold state claims to be ahead of the log, which ends at {world.last_sequence}")

    async def _compare_documents(self, tenants: set[str], dead: set[str]) -> None:
        for tenant in sorted(tenants):
            for collection in (*_TRACKED, *_USERS):
                await self._each_document(tenant, collection, self._compare_document)
            await self._each_document(tenant, states.DEAD_LETTERS, partial(self._compare_letter, dead))
        for tenant, collection, key in self._expected:
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
        if expected is None:
            self._find(tenant, f"{collection}/{key} is in the store, and the log does not lead to it")
        elif _digest_of(collection, document.body) != expected.digest:
            self._find(tenant, f"{collection}/{key} is not in the store as the log has it")
        elif expected.since and document.since > expected.since:
            self._find(tenant, f"{collection}/{key} is said to begin at {document.since}, behind {expected.since}")

    def _compare_letter(self, dead: set[str], place: Place, _document: Document) -> None:
        tenant, _, event = place
        if event not in dead:
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

    async def _compare_journal(self, world: World, key: Key) -> None:
        tenant, execution = key
        rows = await self._log.journal(tenant, execution)
        expected = list(world.journals.get(key, {}).values())
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
