"""Children: executions that handlers submit. What their parents record of them, and what follows from that. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from msgspec import Struct

from intendant.domain.codec import digest
from intendant.domain.payloads import ChildRecord, ChildState, Failure, Parent, Submitted
from intendant.domain.state import ExecutionState, Status

CHILDREN_MAX: Final = 1_000  # of an execution, that its end lists
_STATES: Final = {
    Status.COMPLETED: ChildState.COMPLETED,
    Status.FAILED: ChildState.FAILED,
    Status.CANCELLED: ChildState.CANCELLED,
}


class ChildIntent(Struct, frozen=True, gc=False):
    """What a handler wants to submit, checked and encoded. `result` is the type of what comes back."""

    type: str
    parameters: bytes
    result: Any
    exclusive: bool = False
    version: int = 0  # of its handler; 0 when there is none

    @property
    def digest(self) -> bytes:
        """What tells it from another one."""
        return digest(self.type.encode(), self.parameters)


class ChildRequest(Struct, frozen=True, gc=False):
    """A submission: into which session ("": the parent's), and how."""

    path: str
    intent: ChildIntent
    session: str
    abandoned: bool
    priority: int | None
    attempt: int  # of the parent's handler
    trace: str = ""  # the `traceparent` of the call, where traces are wanted

    @property
    def arguments(self) -> bytes:
        """The digest that is recorded with the call."""
        return digest(self.intent.digest, self.session.encode(), b"abandoned" if self.abandoned else b"")


def key_of(parent: str, path: str, attempt: int) -> str:
    """The idempotency key of a child: the same whoever submits it, whenever."""
    return f"{parent}:{digest(path.encode()).hex()}:{attempt}"


def end_path(path: str) -> str:
    """Where it is recorded how the child that was submitted at `path` has ended: no step's path is like it."""
    return f"end({path})"


def parent_of(state: ExecutionState, request: ChildRequest, deadline: int) -> Parent:
    """What a child keeps of its parent, whose own time is over at `deadline` (0: never)."""
    if request.abandoned:
        return Parent(state.id, request.path, abandoned=True)
    above = state.parent.held if state.parent else []
    held = [*above, *([] if state.session in above else [state.session])]
    session = request.session or state.session
    return Parent(state.id, request.path, deadline, held, within=session in held)


def earliest(*times: int | None) -> int:
    """The earliest of these times; 0 and None are never."""
    return min((time for time in times if time), default=0)


def failure_of_child(state: ExecutionState) -> Failure:
    """How a child that did not complete is recorded with its parent: its own failure, and which way it ended."""
    error = state.error or Failure(str(state.status), f"{state.type} {state.id} {state.status}")
    return Failure(error.code, error.message, {"status": str(state.status), "details": error.details})


def state_of(state: ExecutionState | None, *, cancelled: bool) -> ChildState:
    """What has become of a child with this document; `cancelled`: it was to be, if it is open."""
    if state is None:
        return ChildState.GONE
    return _STATES.get(state.status, ChildState.CANCELLING if cancelled else ChildState.OPEN)


def child_records(
    children: Mapping[str, tuple[str, Submitted]], states: Iterable[ExecutionState | None], *, ending: bool
) -> list[ChildRecord]:
    """What has become of children; `ending`: their parent ends, and has cancelled those that it has not abandoned."""
    return [
        ChildRecord(
            path,
            child.execution,
            child.session,
            child.type,
            state_of(state, cancelled=ending and not child.abandoned),
            child.abandoned,
        )
        for (path, child), state in zip(children.values(), states, strict=False)
    ]
