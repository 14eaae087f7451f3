"""Waits for the end of executions: on the execution's id, not on its actor, so that they survive restarts."""

from __future__ import annotations

from collections.abc import Collection
from weakref import WeakValueDictionary

from intendant.domain.errors import UnknownExecution
from intendant.domain.state import ExecutionState
from intendant.parking import Reply


class Wait(Reply[ExecutionState]):
    """Somebody's wait for the end of an execution. When its deadline passes it fails, and changes nothing else."""

    __slots__ = ()

    def expire(self) -> None:
        """The deadline has passed: whoever waits gets TimeoutError."""
        self.fail(TimeoutError("the execution has not ended in time; it goes on, and may be waited for again"))


class Ending:
    """The end of one execution, known or to come. Lives as long as someone holds it."""

    __slots__ = ("__weakref__", "_error", "_waiting", "state")

    def __init__(self) -> None:
        self.state: ExecutionState | None = None
        self._error: BaseException | None = None
        self._waiting: set[Wait] = set()

    @property
    def failed(self) -> bool:
        """Whether nobody will tell any more."""
        return self._error is not None

    @property
    def awaited(self) -> bool:
        """Whether someone waits for it."""
        return bool(self._waiting)

    def wait(self) -> Wait:
        """A reply that is given when the execution ends; hand it to `forget` when nobody waits any more."""
        reply = Wait()
        if self.state is not None:
            reply.set(self.state)
        elif self._error is not None:
            reply.fail(self._error)
        else:
            self._waiting.add(reply)
        return reply

    def forget(self, reply: Wait) -> None:
        """Nobody waits for this reply any more."""
        self._waiting.discard(reply)

    def tell(self, state: ExecutionState) -> None:
        """The execution has ended."""
        self.state = state
        waiting, self._waiting = self._waiting, set()
        for reply in waiting:
            reply.set(state)

    def fail(self, error: BaseException) -> None:
        """Nobody will tell any more: the runtime, or its partition, has stopped."""
        self._error = error
        waiting, self._waiting = self._waiting, set()
        for reply in waiting:
            reply.fail(error)


class Endings:
    """The endings that someone waits for or may ask for, by tenant and execution."""

    def __init__(self) -> None:
        self._endings: WeakValueDictionary[tuple[str, str], Ending] = WeakValueDictionary()
        self._error: BaseException | None = None

    def of(self, tenant: str, execution: str) -> Ending:
        """The one ending of this execution."""
        ending = self._endings.get((tenant, execution))
        if ending is None:
            ending = self._endings[tenant, execution] = Ending()
            if self._error is not None:
                ending.fail(self._error)
        return ending

    def tell(self, state: ExecutionState) -> None:
        """An execution has ended: everyone who waits for it is told."""
        ending = self._endings.get((state.tenant, state.id))
        if ending is not None:
            ending.tell(state)

    def erase(self, tenant: str, executions: Collection[str] | None) -> None:
        """Forget how these executions ended, or with None all of a tenant; who waits for them gets UnknownExecution."""
        for of, execution in list(self._endings):
            ending = self._endings.get((of, execution))
            if of == tenant and (executions is None or execution in executions) and ending is not None:
                del self._endings[of, execution]
                ending.state = None
                ending.fail(UnknownExecution(execution))

    def awaited(self) -> list[tuple[str, str]]:
        """The executions, by tenant and id, whose end someone waits for."""
        return [key for key, ending in self._endings.items() if ending.awaited]

    def fail(self, error: BaseException) -> None:
        """Everyone who waits, or begins to, is told that no answer will come."""
        self._error = error
        for ending in list(self._endings.values()):
            ending.fail(error)

    def __len__(self) -> int:
        return len(self._endings)
