"""Waits for the end of executions: on the execution's id, not on its actor, so that they survive restarts."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final
from weakref import ref

from intendant.domain.errors import UnknownExecution
from intendant.domain.state import ExecutionState, Status
from intendant.parking import Reply

_FEW: Final = 1_024


class Wait(Reply[ExecutionState]):
    """Somebody's wait for the end of an execution. When its deadline passes it fails, and changes nothing else."""

    __slots__ = ()

    def expire(self) -> None:
        """The deadline has passed: whoever waits gets TimeoutError."""
        self.fail(TimeoutError("the execution has not ended in time; it goes on, and may be waited for again"))


class Ending:
    """The end of one execution, known or to come. Lives as long as someone holds it."""

    __slots__ = ("__weakref__", "_waiting", "error", "state")

    def __init__(self) -> None:
        self.state: ExecutionState | None = None
        self.error: BaseException | None = None  # why nobody will tell any more
        self._waiting: dict[Wait, None] = {}  # costs less than a set while there are none

    @property
    def awaited(self) -> bool:
        """Whether someone waits for it."""
        return bool(self._waiting)

    def wait(self) -> Wait:
        """A reply that is given when the execution ends; hand it to `forget` when nobody waits any more."""
        reply = Wait()
        if self.state is not None:
            reply.set(self.state)
        elif self.error is not None:
            reply.fail(self.error)
        else:
            self._waiting[reply] = None
        return reply

    def forget(self, reply: Wait) -> None:
        """Nobody waits for this reply any more."""
        self._waiting.pop(reply, None)

    def tell(self, state: ExecutionState) -> None:
        """The execution has ended."""
        self.state = state
        waiting, self._waiting = self._waiting, {}
        for reply in waiting:
            reply.set(state)

    def fail(self, error: BaseException) -> None:
        """Nobody will tell any more: the runtime, or its partition, has stopped."""
        self.error = error
        waiting, self._waiting = self._waiting, {}
        for reply in waiting:
            reply.fail(error)


class Endings:
    """The endings that someone waits for or may ask for, by tenant and execution."""

    def __init__(self) -> None:
        self.completed = self.failed = self.cancelled = 0  # executions that have ended here
        self._endings: dict[tuple[str, str], ref[Ending]] = {}
        self._many = _FEW  # of these, before it is looked which are gone
        self._error: BaseException | None = None

    def of(self, tenant: str, execution: str) -> Ending:
        """The one ending of this execution."""
        known = self._endings.get((tenant, execution))
        ending = None if known is None else known()
        if ending is None:
            if len(self._endings) >= self._many:
                self._sweep()
            ending = Ending()
            self._endings[tenant, execution] = ref(ending)
            if self._error is not None:
                ending.fail(self._error)
        return ending

    def tell(self, state: ExecutionState) -> None:
        """An execution has ended: everyone who waits for it is told."""
        if state.status is Status.COMPLETED:
            self.completed += 1
        elif state.status is Status.FAILED:
            self.failed += 1
        else:
            self.cancelled += 1
        known = self._endings.get((state.tenant, state.id))
        ending = None if known is None else known()
        if ending is not None:
            ending.tell(state)

    def erase(self, tenant: str, executions: Collection[str] | None) -> None:
        """Forget how these executions ended, or with None all of a tenant; who waits for them gets UnknownExecution."""
        for (of, execution), ending in self._held():
            if of == tenant and (executions is None or execution in executions):
                del self._endings[of, execution]
                ending.state = None
                ending.fail(UnknownExecution(execution))

    def awaited(self) -> list[tuple[str, str]]:
        """The executions, by tenant and id, whose end someone waits for."""
        return [key for key, ending in self._held() if ending.awaited]

    def fail(self, error: BaseException) -> None:
        """Everyone who waits, or begins to, is told that no answer will come."""
        self._error = error
        for _, ending in self._held():
            ending.fail(error)

    def __len__(self) -> int:
        return len(self._held())

    def _held(self) -> list[tuple[tuple[str, str], Ending]]:
        return [(key, ending) for key, known in self._endings.items() if (ending := known()) is not None]

    def _sweep(self) -> None:
        """Forget those that nobody holds any more: from time to time, because to be told of each costs more."""
        self._endings = {key: known for key, known in self._endings.items() if known() is not None}
        self._many = _FEW + 2 * len(self._endings)
