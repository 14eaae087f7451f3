"""The children of one execution: accepted together with its row, awaited, cancelled, and told of at its end."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from typing import Final

import anyio
import anyio.lowlevel
from msgspec import Struct

from intendant.actors.endings import Ending
from intendant.actors.history import History
from intendant.actors.messages import PreparedIntent, Spawn
from intendant.actors.outage import PATIENT, wait_out
from intendant.actors.services import Services
from intendant.actors.wal_writer import KeyClaimed
from intendant.domain import state as states
from intendant.domain.children import CHILDREN_MAX, ChildRequest, child_records, key_of, parent_of
from intendant.domain.commit import Commit, Receipt
from intendant.domain.errors import (
    ActorStopped,
    BeingErased,
    ChildDeadlock,
    InternalError,
    Stopped,
    StoreUnavailable,
    Suspended,
    UnknownExecution,
)
from intendant.domain.ids import make_id
from intendant.domain.logs import about
from intendant.domain.payloads import ChildRecord, StepCompleted, Submitted
from intendant.domain.state import ExecutionState, decode_execution
from intendant.parking import Reply

logger = logging.getLogger("intendant.execution")

_ANSWER_S: Final = 366 * 24 * 3600.0  # a session answers when its commit has landed, however long an outage takes
_SIDE_BY_SIDE: Final = 16  # cancels

Stand = AbstractContextManager[object]
Record = Callable[[Submitted, Callable[[StepCompleted], None]], StepCompleted]


class _Sending(Struct):
    """A submission on its way to its session. `row` is there from the moment when it is accepted."""

    row: StepCompleted | None = None
    commit: Reply[Receipt] | None = None
    given_up: bool = False

    def is_accepted(self) -> bool:
        """Whether it is, durably or about to be."""
        return self.commit is not None


class Offspring:
    """What the actor of one execution does about its children. They live in the same partition, as all of a tenant."""

    def __init__(self, services: Services, history: History) -> None:
        self._services = services
        self._history = history

    # --- submitting

    async def submit(self, request: ChildRequest, deadline: int, record: Record) -> StepCompleted:
        """See `Recording.submit`. `deadline` is when the time of the parent is over, 0 for never."""
        state = self._history.state
        session = request.session or state.session
        parent = parent_of(state, request, deadline)
        if parent.within and request.intent.exclusive:
            raise ChildDeadlock(request.intent.type, session, "is exclusive, and would wait for the end of its parent")
        intent = PreparedIntent(
            id=make_id(self._services.clock.now()),
            type=request.intent.type,
            key=key_of(state.id, request.path, request.attempt),
            parameters=request.intent.parameters,
            metadata={},
            solution=state.solution if session == state.session else None,
            priority=state.priority if request.priority is None else request.priority,
            digest=request.intent.digest,
            version=request.intent.version,
            trace=request.trace,
        )
        sending = _Sending()

        def accept(execution: str, acceptance: Commit, commit: Reply[Receipt]) -> None:
            """Called by the session in the moment when it accepts the child."""
            if sending.given_up:
                raise Suspended(f"the call at {request.path!r} was given up")
            child = Submitted(execution, session, intent.type, request.abandoned)
            sending.row = record(child, lambda row: self._append(row, acceptance, commit))
            sending.commit = commit
            self._history.journal.children[execution] = (request.path, child)
            self._history.new_steps += 1

        try:
            await self._ask(session, sending, lambda reply: Spawn(intent, parent, accept, reply))
        finally:
            sending.given_up = True
        assert sending.row is not None and sending.commit is not None  # noqa: S101, PT018  it is accepted
        await self._landed(sending.commit)
        return sending.row

    def _append(self, row: StepCompleted, acceptance: Commit, commit: Reply[Receipt]) -> None:
        refusal = self._services.barred.refusal(acceptance, new=True)
        if refusal is not None:
            raise refusal
        self._history.append(row, row.events, acceptance, commit)

    async def _ask(self, session: str, sending: _Sending, question: Callable[[Reply[str]], Spawn]) -> None:
        """Ask a session until it has accepted or refused; from its acceptance on, the commit is what counts."""
        kin, tenant = self._services.kin, self._history.state.tenant
        while not sending.is_accepted():
            try:
                await kin.session(tenant, session).ask(question, timeout=_ANSWER_S)
            except ActorStopped:
                if not (sending.is_accepted() or kin.serves()):
                    await anyio.sleep_forever()  # until this execution is suspended, which is about to come
                await anyio.lowlevel.checkpoint()  # its actor has crashed: the next one takes it
            except Exception:
                if not sending.is_accepted():
                    raise

    async def _landed(self, commit: Reply[Receipt]) -> None:
        try:
            await self._history.durable(commit)
        except KeyClaimed as error:
            raise InternalError(f"the key of a child is taken by an execution that is none: {error}") from error
        except Suspended as error:
            if isinstance(commit.error, BeingErased) and not self._is_erased():
                raise InternalError("the session of a child began to be erased while it was accepted") from error
            raise

    def _is_erased(self) -> bool:
        state = self._history.state
        return self._services.barred.holds(state.tenant, session=state.session, execution=state.id)

    # --- waiting

    def ending(self, child: Submitted) -> Ending:
        """Where the end of a child will be told. Raises ChildDeadlock for one that may begin only behind its parent."""
        state = self._history.state
        above = state.parent.held if state.parent else []
        if child.abandoned and child.session in (state.session, *above):
            raise ChildDeadlock(child.type, child.session, "was abandoned, and stands in line behind its parent")
        return self._services.endings.of(state.tenant, child.execution)

    async def end_of(self, child: Submitted, ending: Ending, stand: Callable[[], Stand]) -> ExecutionState:
        """Wait for a child's end; while that may take long, in `stand()`."""
        tenant, wait = self._history.state.tenant, ending.wait()
        try:
            if not (wait.settled or self._services.kin.is_open(tenant, child.execution)):
                found = await self._read(child.execution)
                if found is None:
                    raise UnknownExecution(child.execution)
                if found.status.ended:
                    return found
            with stand():
                return await wait.wait(self._services.seam)
        except Stopped as error:  # nobody here will tell any more
            self._history.cut_off = True
            raise Suspended(f"execution {self._history.state.id} is suspended: {error}") from error
        finally:
            ending.forget(wait)

    async def _read(self, child: str) -> ExecutionState | None:
        (found,) = await self._read_all([child])
        return found

    async def _read_all(self, children: Sequence[str]) -> list[ExecutionState | None]:
        tenant, log = self._history.state.tenant, self._services.log
        wanted = [(tenant, states.EXECUTIONS, child) for child in children]
        found = await wait_out(lambda: log.fetch(wanted), PATIENT, self._later)
        return [None if each is None else decode_execution(each.body) for each in found]

    def _later(self, delay: float, error: StoreUnavailable) -> None:
        """An outage is no crash."""
        state = self._history.state
        logger.warning(
            "the children of %s: trying again in %.1f s: %s",
            *(state.id, delay, error),
            extra=about(state.tenant, state.session, state.id),
        )

    # --- cancelling

    async def cancel(self, child: str) -> None:
        """Cancel a child; durable when this returns, if it had not ended."""
        kin, tenant = self._services.kin, self._history.state.tenant
        try:
            await wait_out(lambda: kin.cancel(tenant, child), PATIENT, self._later)
        except ActorStopped:
            await anyio.sleep_forever()  # until this execution is suspended, which is about to come
        except BeingErased:
            pass  # it is dropped where it is

    async def cancel_all(self) -> None:
        """Cancel those that are not abandoned, some side by side."""
        left = iter([child.execution for _, child in self._history.journal.children.values() if not child.abandoned])

        async def work() -> None:
            for child in left:
                if self._services.kin.is_open(self._history.state.tenant, child):
                    await self.cancel(child)

        async with anyio.create_task_group() as group:
            for _ in range(_SIDE_BY_SIDE):
                group.start_soon(work)

    async def cancelled_with(self, watch: Callable[[], Awaitable[None]]) -> None:
        """The execution is cancelled: so are its children, while `watch` is run."""
        async with anyio.create_task_group() as group:
            group.start_soon(self.cancel_all)
            await watch()

    async def settle(self) -> list[ChildRecord]:
        """The execution is about to end: nothing is left behind that is not abandoned. Returns what became of each."""
        await self.cancel_all()
        children = self._history.journal.children
        listed = dict(list(children.items())[:CHILDREN_MAX])
        return child_records(listed, await self._read_all(list(listed)), ending=True)
