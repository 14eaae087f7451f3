"""Sagas, folded: against a model that looks through all rows each time, and as histories of whole executions."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from intendant.domain.codec import encode
from intendant.domain.journal import HANDLER, Journal, Row, as_recorded, decode_journal_row
from intendant.domain.payloads import (
    Failure,
    SagaCompensated,
    SagaCompensating,
    SagaStarted,
    StepCompleted,
    StepFailed,
    StepState,
)
from intendant.domain.sagas import STEPS_MAX, Sagas, undo_path

SagaOrStep = SagaStarted | SagaCompensating | SagaCompensated | StepCompleted | StepFailed

ERROR = Failure("TimeoutError", "late")
SCOPES = ("a", "a/b", "a/b/c", "d")
STEPS = [f"{scope}/{name}" for scope in SCOPES for name in "xyz"]


def completed(path: str) -> StepCompleted:
    return StepCompleted(path, Raw(b"\xc0"), 2, saga=path in STEPS)


def failed(path: str, *, final: bool = True) -> StepFailed:
    return StepFailed(path, ERROR, 3, final=final, saga=path in STEPS)


def started(step: str) -> SagaStarted:
    return SagaStarted(scope_of(step), step, 1)


def scope_of(step: str) -> str:
    return step.rpartition("/")[0]


PATHS = st.sampled_from([*STEPS, *map(undo_path, STEPS)])
ROWS = st.one_of(
    st.sampled_from(STEPS).map(started),
    st.sampled_from(SCOPES).map(lambda path: SagaCompensating(path, ERROR, 4)),
    st.sampled_from(SCOPES).map(lambda path: SagaCompensated(path, 5)),
    PATHS.map(completed),
    st.builds(failed, PATHS, final=st.booleans()),
)


@dataclass
class Model:
    """Every row that could follow, and nothing that was derived from them."""

    rows: list[SagaOrStep] = field(default_factory=list[SagaOrStep])

    def ends(self) -> dict[str, bool]:
        steps = [row for row in self.rows if isinstance(row, StepCompleted | StepFailed)]
        return {
            step.path: isinstance(step, StepCompleted)
            for step in steps
            if isinstance(step, StepCompleted) or step.final
        }

    def noted(self, scope: str = "") -> list[str]:
        steps = [row.step for row in self.rows if isinstance(row, SagaStarted)]
        return [step for step in steps if not scope or step.startswith(f"{scope}/")]

    def failed(self, scope: str) -> str:
        failures = [row.path for row in self.rows if isinstance(row, SagaCompensating)]
        around = [path for path in failures if scope == path or scope.startswith(f"{path}/")]
        return min(around, key=len, default="")

    def left(self, scope: str) -> list[str]:
        return [step for step in self.noted(scope) if undo_path(step) not in self.ends()]

    def can_follow(self, row: SagaOrStep) -> bool:
        match row:
            case SagaStarted(step=step):
                return step not in self.noted() and step not in self.ends() and not self.failed(row.path)
            case SagaCompensating(path=path):
                return not self.failed(path)
            case SagaCompensated(path=path):
                paths = [row.path for row in self.rows if isinstance(row, SagaCompensating)]
                return path in paths and row not in self.rows and not self.left(path)
            case _ if not row.path.startswith("undo("):
                return not self.failed(scope_of(row.path))
            case _:
                step = row.path[5:-1]
                saga = self.failed(scope_of(step)) if step in self.noted() else ""
                return bool(saga) and self.left(saga)[-1:] == [step]

    def add(self, row: SagaOrStep) -> bool:
        follows = self.can_follow(row)
        if follows:
            self.rows.append(row)
        return follows

    def state(self, step: str) -> StepState | None:
        ends = self.ends()
        if undo_path(step) in ends:
            return StepState.UNDONE if ends[undo_path(step)] else StepState.NOT_UNDONE
        if step in self.noted():
            return StepState.DONE if ends.get(step) else StepState.STARTED
        if step in ends:
            kept = StepState.KEPT if self.failed(scope_of(step)) else None
            return kept or (StepState.DONE if ends[step] else StepState.STARTED)
        return None


@given(st.lists(ROWS, max_size=60))
def test_the_fold_is_that_of_the_model(rows: list[SagaOrStep]) -> None:
    sagas, model = Sagas(), Model()
    for row in rows:
        assert sagas.add(row) == model.add(row), row
    told = {step.path: step.state for record in sagas.records() for step in record.steps}
    assert told == {step: state for step in STEPS if (state := model.state(step)) is not None}
    for record in sagas.records():
        assert {scope_of(step.path) for step in record.steps} <= {record.path}
        assert (record.error is not None) == any(
            isinstance(row, SagaCompensating) and row.path == record.path for row in model.rows
        )
    for scope in SCOPES:
        assert sagas.to_undo(scope) == model.left(scope)


def undo_all(journal: Journal, scope: str, could: list[bool]) -> list[Row]:
    """What a runtime writes to undo a saga; `could` says of each step, the last one first, whether it could be."""
    rows: list[Row] = [SagaCompensating(scope, ERROR, 4)]
    for step, done in zip(reversed(journal.sagas.to_undo(scope)), could, strict=False):
        rows += [failed(undo_path(step), final=False), (completed if done else failed)(undo_path(step))]
    return [*rows, SagaCompensated(scope, 5)]


@given(
    st.lists(st.tuples(st.sampled_from(STEPS), st.booleans(), st.booleans()), unique_by=lambda each: each[0]),
    st.sampled_from([None, "a/b", "a/b/c"]),
    st.lists(st.booleans(), min_size=len(STEPS), max_size=len(STEPS)),
    st.booleans(),
)
def test_what_a_runtime_writes_can_follow_and_undoes_the_last_first(
    steps: list[tuple[str, bool, bool]], inner: str | None, could: list[bool], again: bool
) -> None:
    journal, rows = Journal(), list[Row]()
    for step, undoable, done in steps:
        rows += [started(step)] if undoable else []
        rows += [completed(step)] if done else [failed(step, final=False), failed(step)]
    for row in rows:
        assert journal.add(row)
    undone: list[str] = []
    for scope in (inner, "a"):
        if scope is not None:
            undone += reversed(journal.sagas.to_undo(scope))
            for row in undo_all(journal, scope, could):
                assert journal.add(row)
                rows.append(row)
    noted = [step for step, undoable, _ in steps if undoable]
    within = [step for step in noted if inner and step.startswith(f"{inner}/")]
    rest = [step for step in noted if step.startswith("a/") and step not in within]
    assert undone == [*reversed(within), *reversed(rest)]
    if again:  # another attempt of the handler: what could not be undone stays so
        told = journal.sagas.records()
        journal.add(failed(HANDLER, final=False))
        assert [each for each in journal.sagas.records() if each.compensated] == [
            each for each in told if each.compensated
        ]
    assert all(not journal.add(row) for row in rows if isinstance(row, SagaCompensating | SagaCompensated))
    stored = [as_recorded(row, encode(row))[1] for row in journal.rows]
    assert [decode_journal_row(row) for row in stored] == journal.rows
    assert Journal.of(stored) == journal


def test_what_stands_in_a_scope_is_no_step_of_a_saga() -> None:
    journal = Journal()
    assert journal.add(StepCompleted("a/x", Raw(b"\xc0"), 1))
    assert journal.add(failed("a/y[1]", final=False))
    assert journal.sagas == Sagas()


def test_what_a_clean_up_began_is_known() -> None:
    sagas = Sagas()
    assert sagas.add(SagaStarted("a", "a/x", 1))
    assert sagas.add(SagaStarted("a", "a/y", 2, cleanup=True))
    assert sagas.late == {"a/y"}


def test_of_very_many_steps_the_first_are_listed_and_the_rest_is_counted() -> None:
    sagas = Sagas()
    for number in range(STEPS_MAX + 5):
        sagas.add(started(f"a/x[{number}]"))
    sagas.add(started("d/x"))
    records = sagas.records()
    assert [(len(each.steps), each.steps_left_out) for each in records] == [(STEPS_MAX, 5), (0, 1)]
