"""What the sagas of one execution have recorded, folded: what is to be undone, in which order, what became of it. Pure.

A saga's path is a scope: its steps' paths begin with it and a slash, which no name holds. The undo of a step is
recorded as a step of its own, at a path that no other step's can be like. Once a saga is being undone nothing in its
scope goes forward; the undos end one after the other, that of the step that began last first; when all have, it is
compensated.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from intendant.domain.payloads import (
    Failure,
    SagaCompensated,
    SagaCompensating,
    SagaRecord,
    SagaStarted,
    SagaStep,
    StepCompleted,
    StepFailed,
    StepState,
)

STEPS_MAX: Final = 1_000  # of an execution's sagas, that are listed
_UNDO: Final = "undo("

SagaRow = SagaStarted | SagaCompensating | SagaCompensated


class Saga(Struct, gc=False):
    """One saga. `left` are the steps that are still to be undone, the next one last."""

    path: str
    error: Failure | None = None
    left: list[str] = []
    compensated: bool = False


class Sagas(Struct, gc=False):
    """The sagas of one execution by path, the steps that have an undo, and how steps and undos have ended."""

    by_path: dict[str, Saga] = {}
    undoable: dict[str, str] = {}  # the saga of each step, in the order they began
    ended: dict[str, bool] = {}  # by path, whether it completed
    late: set[str] = set()  # those of `undoable` that a clean-up after a cancel began

    def add(self, row: SagaRow | StepCompleted | StepFailed) -> bool:
        """Fold one more row, of a saga or of a step in one; False, and nothing changed, for one that can't follow."""
        match row:
            case SagaStarted():
                return self._start(row)
            case SagaCompensating():
                return self._compensate(row)
            case SagaCompensated():
                return self._end(row)
            case _ if is_undo(row.path):
                return self._undo(row)
            case _:
                return self._step(row)

    def forget_failures(self) -> None:
        """Another attempt of the handler begins, and runs steps that failed for good again."""
        self.ended = {path: done for path, done in self.ended.items() if done or self.is_settled(path)}

    def is_settled(self, path: str) -> bool:
        """Whether what failed here is never tried again: an undo, and what is in a saga that does not go forward."""
        return is_undo(path) or self.failed(path.rpartition("/")[0]) is not None

    def failed(self, scope: str) -> Saga | None:
        """The outermost saga around this scope, or at it, that does not go forward any more."""
        sagas = (self.by_path.get(path) for path in _scopes(scope))
        return next((saga for saga in sagas if saga is not None and saga.error is not None), None)

    def to_undo(self, scope: str) -> list[str]:
        """The steps in this scope that have an undo which has not ended, in the order they began."""
        return [step for step in self._within(scope) if undo_path(step) not in self.ended]

    def undone(self, scope: str) -> list[str]:
        """The steps in this scope whose undo has ended."""
        return [step for step in self._within(scope) if undo_path(step) in self.ended]

    def records(self) -> list[SagaRecord]:
        """What is told of them, at most 1,000 steps: those with an undo in the order they began, then the others."""
        if not (self.by_path or self.ended):
            return []
        found: dict[str, list[SagaStep]] = {}
        for path in dict.fromkeys((*self.undoable, *self.ended)):
            if not is_undo(path):
                found.setdefault(path.rpartition("/")[0], []).append(SagaStep(path, self._state(path)))
        for path in self.by_path:
            found.setdefault(path, [])
        room, records = STEPS_MAX, list[SagaRecord]()
        for path, steps in found.items():
            saga = self.by_path.get(path) or Saga(path)
            listed = steps[:room]
            room -= len(listed)
            records.append(SagaRecord(path, listed, saga.error, saga.compensated, len(steps) - len(listed)))
        return records

    def _within(self, scope: str) -> list[str]:
        inner = f"{scope}/"
        return [step for step, saga in self.undoable.items() if saga == scope or saga.startswith(inner)]

    def _state(self, path: str) -> StepState:
        undone = self.ended.get(undo_path(path))
        if undone is not None:
            return StepState.UNDONE if undone else StepState.NOT_UNDONE
        if path not in self.undoable and self.failed(path.rpartition("/")[0]):
            return StepState.KEPT
        return StepState.DONE if self.ended.get(path) else StepState.STARTED

    def _start(self, row: SagaStarted) -> bool:
        if row.step in self.undoable or row.step in self.ended or self.failed(row.path):
            return False
        self.by_path.setdefault(row.path, Saga(row.path))
        self.undoable[row.step] = row.path
        if row.cleanup:
            self.late.add(row.step)
        return True

    def _compensate(self, row: SagaCompensating) -> bool:
        if self.failed(row.path):
            return False
        saga = self.by_path.setdefault(row.path, Saga(row.path))
        saga.error = row.error
        saga.left = self.to_undo(row.path)
        return True

    def _end(self, row: SagaCompensated) -> bool:
        saga = self.by_path.get(row.path)
        if saga is None or saga.error is None or saga.left or saga.compensated:
            return False
        saga.compensated = True
        return True

    def _step(self, step: StepCompleted | StepFailed) -> bool:
        if self.failed(step.path.rpartition("/")[0]):
            return False
        if isinstance(step, StepCompleted) or step.final:
            self.ended[step.path] = isinstance(step, StepCompleted)
        return True

    def _undo(self, undo: StepCompleted | StepFailed) -> bool:
        step = undo.path[len(_UNDO) : -1]
        saga = self.failed(self.undoable.get(step, ""))
        if saga is None or saga.left[-1:] != [step]:
            return False
        if isinstance(undo, StepCompleted) or undo.final:
            saga.left.pop()
            self.ended[undo.path] = isinstance(undo, StepCompleted)
        return True


def undo_path(step: str) -> str:
    """The path at which the undo of a step is recorded."""
    return f"{_UNDO}{step})"


def is_undo(path: str) -> bool:
    """Whether a step's path is that of an undo."""
    return path.startswith(_UNDO)


def is_of_saga(step: StepCompleted | StepFailed) -> bool:
    """Whether it is a step of a saga, or an undo."""
    return step.saga or is_undo(step.path)


def _scopes(scope: str) -> Iterator[str]:
    """The scopes around this one, the outermost first, and this one."""
    end = scope.find("/")
    while end >= 0:
        yield scope[:end]
        end = scope.find("/", end + 1)
    yield scope
