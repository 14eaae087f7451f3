"""Two tenants who give everything the same names, and what each of them must find: no more and no less than its own.

A neighbour keeps plain containers of what it did, does something at random, and compares what it reads with them. Both
make the same random choices at the same time, so that whatever forgets to ask for the tenant meets the other's.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterable
from random import Random
from typing import Any, Final

import msgspec

from intendant import (
    Event,
    Execution,
    FileReference,
    Runtime,
    SessionExists,
    Status,
    UnknownExecution,
    UnknownSession,
)
from intendant.domain import state as states
from intendant.domain.ports import ColdStore
from intendant.domain.records import LogRecord, decode_entry
from tests.isolation.diary import NAMES, House, Note, Written, hold, write

IDS: Final = ("b", "b:b", "a", "a:b", "A", "b..b", "b@b", "b-")
SOLUTIONS: Final = ("default", "a:b")
RECENT: Final = 50  # ids of executions that are looked at again
PATIENCE: Final = 60.0  # seconds that a handler may take at most
STEPS: Final = ["intent_received", "execution_started", "step_completed", "execution_completed"]


class Neighbour:
    """One of the two. `other` is asked for ids that this one must not find."""

    other: Neighbour

    def __init__(self, name: str, house: House, random: Random) -> None:
        self.name = name
        self.house = house
        self.sessions: dict[str, str] = {}  # and the solution of each
        self.session_data: dict[str, dict[str, Any]] = {}
        self.execution_data: dict[str, dict[str, Any]] = {}
        self.executions: dict[str, Written] = {}
        self.keys: dict[str, str] = {}  # and whose execution each is
        self.references: dict[str, FileReference] = {}
        self.digests: set[str] = set()
        self.held: list[str] = []
        self.tailed: list[LogRecord] = []
        self._random = random
        self._numbers = itertools.count()
        self._often: list[Callable[[], Awaitable[None]]] = [
            *(self._submit, self._submit, self._submit_again, self._open, self._create),
            *(self._set_session, self._set_execution, self._set_file, self._hold),
            *(self._read_session, self._read_execution, self._read_execution, self._read_file, self._read_content),
            *(self._list_sessions, self._list_executions, self._list_data, self._list_outbox, self._list_dead_letters),
            *(self._query_one, self._query, self._replay_one, self._look_for_the_others, self._look_into_the_stores),
        ]

    @property
    def runtime(self) -> Runtime:
        return self.house.runtime

    async def live(self, count: int) -> None:
        """Do so many things at random."""
        for _ in range(count):
            await self._random.choice(self._often)()

    async def tail(self) -> None:
        """Follow the log from its beginning, for ever."""
        async for record in self.runtime.wal.tail(self.name, after=0):
            self.tailed.append(record)

    # --- what changes something

    async def _open(self) -> None:
        id, solution = self._random.choice(IDS), self._random.choice(SOLUTIONS)
        await self.runtime.open_session(self.name, id, user_id=self._user, solution=solution, metadata=self._mark())
        self.sessions.setdefault(id, solution)

    async def _create(self) -> None:
        id = self._random.choice(IDS)
        try:
            await self.runtime.create_session(self.name, id, user_id=self._user, metadata=self._mark())
        except SessionExists:
            assert id in self.sessions, f"{self.name} has no session {id}"
        else:
            assert id not in self.sessions, f"{self.name} had a session {id}"
            self.sessions[id] = "default"

    async def _submit(self) -> None:
        number = next(self._numbers)
        key = f"k{number}"
        id = self._random.choice(IDS)
        session, note = self.runtime.session(self.name, id), Note(self.name, number)
        if id not in self.sessions:
            await _is_unknown(session.submit(write, note, idempotency_key=key), UnknownSession)
            return
        execution = await session.submit(write, note, idempotency_key=key, metadata=self._mark(number))
        assert execution.id not in self.executions, f"{key} of {self.name} was free"
        written = Written(execution.id, id, self.sessions[id], key, number)
        await self._check_outcome(execution, written)
        self.executions[execution.id] = written
        self.keys[key] = execution.id

    async def _submit_again(self) -> None:
        written = self._one_of_mine()
        if written is None or written.type != "diary.write":
            return
        session = self.runtime.session(self.name, written.session)
        execution = await session.submit(write, Note(self.name, written.number), idempotency_key=written.key)
        assert execution.id == written.id, f"{written.key} is {self.name}'s"
        await self._check_outcome(execution, written)

    async def _hold(self) -> None:
        """Of those that stay open there are a few."""
        if len(self.held) == 10 or not self.sessions:
            return
        number, id = next(self._numbers), self._random.choice(sorted(self.sessions))
        session = self.runtime.session(self.name, id)
        execution = await session.submit(hold, Note(self.name, number), idempotency_key=f"k{number}")
        self.executions[execution.id] = Written(execution.id, id, self.sessions[id], f"k{number}", number, "diary.hold")
        self.keys[f"k{number}"] = execution.id
        self.held.append(execution.id)

    async def _set_session(self) -> None:
        id, data = self._random.choice(IDS), self._mark()
        await self.runtime.state.set_session(self.name, id, data)
        self.session_data[id] = data

    async def _set_execution(self) -> None:
        written = self._one_of_mine()
        id, data = written.id if written and self._random.random() < 0.7 else self._random.choice(IDS), self._mark()
        await self.runtime.state.set_execution(self.name, id, data)
        self.execution_data[id] = data

    async def _set_file(self) -> None:
        id = self._random.choice(IDS)
        file = FileReference(id, self.name, self._random.choice(IDS), f"x:{self.name}", "note.txt", self._mark())
        await self.runtime.state.set_file(file)
        self.references[id] = file

    # --- what reads one thing

    async def _check_outcome(self, execution: Execution[str], written: Written) -> None:
        outcome = await execution.outcome(timeout=PATIENCE)
        assert (outcome.tenant, outcome.session) == (self.name, written.session)
        assert outcome.result == self._said(written.number), f"{outcome.result!r} is not of {self.name}"
        self._check_note(outcome.artifacts, written)
        assert outcome.metadata == self._mark(written.number)

    def _check_note(self, artifacts: dict[str, Any], written: Written) -> None:
        note = msgspec.convert(artifacts["note"], FileReference)
        assert (note.tenant, note.session) == (self.name, written.session)
        self.digests.add(note.digest)

    async def _read_session(self) -> None:
        id = self._random.choice(IDS)
        view = await self.runtime.state.session(self.name, id)
        if id not in self.sessions:
            await _is_unknown(self.runtime.session(self.name, id).view(), UnknownSession)
        if id not in self.sessions and id not in self.session_data:
            assert view is None, f"{self.name} has nothing of {id}"
            return
        assert view is not None, f"{self.name} has {id}"
        assert (view.tenant, view.id, view.tracked) == (self.name, id, id in self.sessions)
        assert view.data == self.session_data.get(id), f"{view.data} is not of {self.name}"
        if view.tracked:
            assert (view.user_id, view.metadata["of"]) == (self._user, self.name)
            assert view.solution == self.sessions[id]

    async def _read_execution(self) -> None:
        written = self._one_of_mine()
        if written is None:
            return
        view = await self.runtime.execution(self.name, written.id).view()
        assert (view.tenant, view.id, view.session) == (self.name, written.id, written.session)
        assert (view.key, view.solution, view.type) == (written.key, written.solution, written.type)
        assert view.parameters == {"of": self.name, "number": written.number}
        assert view.data == self.execution_data.get(written.id), f"{view.data} is not of {self.name}"
        if written.id in self.held:
            assert view.status is not None
            assert not view.status.ended
        else:
            assert (view.status, view.result) == (Status.COMPLETED, self._said(written.number))
            self._check_note(view.artifacts, written)

    async def _read_file(self) -> None:
        id = self._random.choice(IDS)
        assert await self.runtime.state.file(self.name, id) == self.references.get(id), f"the file {id} of {self.name}"

    async def _read_content(self) -> None:
        if self.digests and self.other.digests:
            mine, others = _any(self._random, self.digests), _any(self._random, self.other.digests)
            content = await self.house.files.get(self.name, mine)
            assert content is not None, f"a file of {self.name} is gone"
            assert content.startswith(f"{self.name} {self.name} ".encode())
            assert await self.house.files.get(self.name, others) is None, f"{self.name} reads another's file"

    # --- what lists

    async def _list_sessions(self) -> None:
        solution = self._random.choice((None, *SOLUTIONS))
        expected = sorted(id for id, of in self.sessions.items() if solution in (None, of))
        found = await self._pages(self.runtime.sessions, 3, solution=solution)
        assert [view.id for view in found] == expected
        assert {(view.tenant, view.user_id) for view in found} <= {(self.name, self._user)}

    async def _list_executions(self) -> None:
        session = self._random.choice((None, *self.sessions))
        solution = self._random.choice((None, *SOLUTIONS)) if session is None else None
        type = self._random.choice((None, "diary.write"))
        limit = self._random.randint(1, 30)
        page = await self.runtime.executions(self.name, session=session, solution=solution, type=type, limit=limit)
        wanted = (
            written.id
            for written in reversed(self.executions.values())
            if session in (None, written.session)
            and solution in (None, written.solution)
            and type in (None, written.type)
        )
        newest = list(itertools.islice(wanted, limit + RECENT))
        assert [view.id for view in page.items] == sorted(newest, reverse=True)[:limit]
        for view in page.items:
            assert (view.tenant, view.parameters["of"]) == (self.name, self.name)

    async def _list_data(self) -> None:
        limit = self._random.randint(1, 30)
        after = _any(self._random, self.execution_data) if self.execution_data and limit % 2 else None
        page = await self.runtime.state.execution_data(self.name, limit=limit, cursor=after)
        expected = sorted(each for each in self.execution_data if each > (after or ""))[:limit]
        assert page.items == [(id, self.execution_data[id]) for id in expected]

    async def _list_outbox(self) -> None:
        limit = self._random.randint(1, 30)
        outbox = self.runtime.outbox
        lists = [outbox.pending, outbox.published] if self.house.published else [outbox.pending]
        for read in lists:
            self._check_events((await read(self.name, limit=limit)).items)

    async def _list_dead_letters(self) -> None:
        page = await self.runtime.outbox.dead_letters(self.name, limit=self._random.randint(1, 30))
        self._check_events([letter.event for letter in page.items])

    def _check_events(self, events: Iterable[Event]) -> None:
        for event in events:
            assert (event.tenant, event.payload["of"]) == (self.name, self.name), f"{event} is not of {self.name}"
            assert event.execution_id in self.executions

    # --- what reads the log

    async def _query_one(self) -> None:
        written = self._one_of_mine()
        if written is not None and written.id not in self.held:
            page = await self.runtime.wal.query(self.name, execution=written.id, newest_first=False, limit=len(STEPS))
            self._check_records(page.items)
            assert [record.type for record in page.items] == STEPS

    async def _query(self) -> None:
        newest_first, type = self._random.random() < 0.5, self._random.choice((None, "intent_received", "state_set"))
        session = self._random.choice((None, *self.sessions)) if self.executions else None
        page = await self.runtime.wal.query(
            self.name, type=type, session=session, newest_first=newest_first, limit=self._random.randint(1, 30)
        )
        self._check_records(page.items)
        assert {record.session for record in page.items} <= {session} or session is None

    def _check_records(self, records: Iterable[LogRecord]) -> None:
        for record in records:
            assert record.tenant == self.name, f"{record} is not of {self.name}"
            marks = set(_marks(record.payload))
            assert marks <= {self.name}, f"{record} holds what is not of {self.name}"

    async def _replay_one(self) -> None:
        written = self._one_of_mine()
        if written is not None and len(self.executions) - written.number < RECENT:
            world = await self.runtime.wal.replay(self.name, written.id)
            assert set(world.executions) == {(self.name, written.id)}
            assert world.executions[self.name, written.id].session == written.session

    # --- what must not be found

    async def _look_for_the_others(self) -> None:
        others = self.other.one_of_mine()
        if others is None:
            return
        runtime, state = self.runtime, self.runtime.state
        await _is_unknown(runtime.execution(self.name, others.id).view(), UnknownExecution)
        await _is_unknown(runtime.execution(self.name, others.id).cancel(), UnknownExecution)
        assert await runtime.execution(self.name, others.id).progress() is None
        await _is_unknown(anext(runtime.execution(self.name, others.id).events()), UnknownExecution)
        if others.id not in self.execution_data:
            assert await state.execution(self.name, others.id) is None, f"{self.name} reads another's execution"
        if len(self.executions) < RECENT:  # both look through everything for what is not there
            assert (await runtime.wal.query(self.name, execution=others.id)).items == []
            assert (await runtime.wal.replay(self.name, others.id)).executions == {}

    async def _look_into_the_stores(self) -> None:
        """What a port tells of a tenant is the tenant's."""
        log, name, others = self.house.log, self.name, self.other.one_of_mine()
        written = self._one_of_mine()
        if written is None or others is None:
            return
        assert await log.key(name, written.key) is not None
        assert await log.document(name, states.EXECUTIONS, others.id) is None
        assert await log.journal(name, others.id) == []
        fetched = await log.fetch([(name, states.EXECUTIONS, others.id), (name, states.SESSION_DATA, "b")])
        assert fetched[0] is None
        if "b" in self.session_data:
            assert fetched[1] is not None
            assert msgspec.msgpack.decode(fetched[1].body) == self.session_data["b"]
        if self.held and await log.journal(name, held := self._random.choice(self.held)):
            rows = b"".join(await log.journal(name, held))
            assert self._said(self.executions[held].number).encode() in rows
            assert await log.journal(self.other.name, held) == []
        assert {key for key, _ in await log.keys(name, limit=30)} <= set(self.keys)
        assert {item.tenant for item in await log.outbox(tenant=name, limit=30)} <= {name}
        last = self._random.randint(0, 10 * len(self.executions))
        self._check_entries(await log.entries(name, last=last, limit=5, newest_first=True))
        if self.house.cold is not None:
            await self._look_into_cold_state(self.house.cold, others)

    async def _look_into_cold_state(self, cold: ColdStore, others: Written) -> None:
        assert await cold.document(self.name, states.EXECUTIONS, others.id) is None
        for document in await cold.documents(self.name, states.EXECUTIONS, limit=5, newest_first=True):
            assert document.tenant == self.name
            assert document.key in self.executions or document.key in IDS
        for chunk in await cold.chunks(0, self.name, limit=2, newest_first=True):
            assert chunk.tenant == self.name
            self._check_entries(chunk.entries)

    def _check_entries(self, entries: Iterable[bytes]) -> None:
        for entry in entries:
            self._check_records(decode_entry(entry))

    # --- the end

    async def check_all(self) -> None:
        """Everything that can be listed, to its end."""
        runtime = self.runtime
        executions = await self._pages(runtime.executions, 97)
        assert [view.id for view in executions] == sorted(self.executions, reverse=True)
        assert {view.tenant for view in executions} <= {self.name}
        data = await self._pages(runtime.state.execution_data, 97)
        assert data == sorted(self.execution_data.items())
        records = await self._pages(runtime.wal.query, 997, newest_first=False)
        self._check_records(records)
        assert {record.execution for record in records} - {"", *IDS} <= set(self.executions)
        accepted = {record.execution for record in records if record.type == "intent_received"}
        assert accepted == set(self.executions)
        last = self.tailed[-1].sequence if self.tailed else 0
        assert [each.sequence for each in self.tailed] == [each.sequence for each in records if each.sequence <= last]
        self._check_records(self.tailed)
        world = await runtime.wal.replay(self.name)
        assert set(world.executions) == {(self.name, id) for id in self.executions}
        assert set(world.sessions) == {(self.name, id) for id in self.sessions}
        await self._check_all_events()
        await self._check_all_stored()

    async def _check_all_events(self) -> None:
        outbox, events = self.runtime.outbox, list[Event]()
        for read in (outbox.pending, outbox.published):
            events += await self._pages(read, 97)
        events += [letter.event for letter in await self._pages(outbox.dead_letters, 97)]
        self._check_events(events)
        assert {event.execution_id for event in events} == set(self.executions) - set(self.held)

    async def _check_all_stored(self) -> None:
        log = self.house.log
        assert {key for key, _ in await log.keys(self.name, limit=10**6)} == set(self.keys)
        assert set(await self.house.files.digests(self.name)) == self.digests
        for id in self.held:
            assert await log.journal(self.name, id) != []
        open = await log.index(states.OPEN, limit=10**6)
        assert {member.member for member in open if member.tenant == self.name} == set(self.held)

    # --- how

    @property
    def _user(self) -> str:
        return f"user-of-{self.name}"

    def _mark(self, number: int | None = None) -> dict[str, Any]:
        return {"of": self.name, "number": next(self._numbers) if number is None else number}

    def _said(self, number: int) -> str:
        return f"{self.name} {self.name} {number}"

    def one_of_mine(self) -> Written | None:
        """One of the newest executions, if there is any."""
        return self._one_of_mine()

    def _one_of_mine(self) -> Written | None:
        if not self.executions:
            return None
        newest = list(itertools.islice(reversed(self.executions.values()), RECENT))
        return self._random.choice(newest)

    async def _pages(self, read: Callable[..., Awaitable[Any]], limit: int, **options: Any) -> list[Any]:
        found: list[Any] = []
        cursor: str | None = None
        while True:
            page = await read(self.name, limit=limit, cursor=cursor, **options)
            found += page.items
            cursor = page.cursor
            if cursor is None:
                return found


def neighbours(house: House, seed: int) -> tuple[Neighbour, Neighbour]:
    """Both, who make the same choices."""
    one, other = (Neighbour(name, house, Random(seed)) for name in NAMES)
    one.other, other.other = other, one
    return one, other


def _any(random: Random, several: Iterable[str]) -> str:
    return random.choice(list(itertools.islice(several, RECENT)))


def _marks(value: Any) -> Iterable[str]:
    """Whose everything in a payload is, as far as it says so."""
    if isinstance(value, dict):
        of: Any = value.get("of")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        if isinstance(of, str):
            yield of
        for each in value.values():  # pyright: ignore[reportUnknownVariableType]
            yield from _marks(each)
    elif isinstance(value, list):
        for each in value:  # pyright: ignore[reportUnknownVariableType]
            yield from _marks(each)


async def _is_unknown(call: Awaitable[object], error: type[Exception]) -> None:
    try:
        found = await call
    except error:
        return
    raise AssertionError(f"{found} was found")
