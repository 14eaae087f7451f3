"""Everything about one execution, for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec
from rich.text import Text

from intendant.cli.printing import (
    Column,
    between,
    clock,
    compact,
    print_fields,
    print_note,
    print_table,
    short_clock,
    styled,
)
from intendant.runtime.reports import ExecutionReport, RecordView

_RECORDS: Final = (Column("record", right=True), Column("time"), Column("type"), Column("what", least=12))


def print_report(answer: bytes) -> None:
    """Its fields, its sagas and children, its records."""
    report = msgspec.json.decode(answer, type=ExecutionReport)
    print_fields(_fields(report))
    for saga in report.sagas:
        end = ", undone" if saga.compensated else "" if saga.error is None else ", being undone"
        steps = ", ".join(f"{each.path} {each.state}" for each in saga.steps)
        print_fields([("saga", f"{saga.path}{end}: {steps}")])
    for child in report.children:
        print_fields([("child", f"{child.execution} {child.type} {child.state} ({child.path})")])
    print_table(
        _RECORDS, [(str(each.sequence), short_clock(each.time), each.type, what(each)) for each in report.records]
    )
    if report.more:
        view = report.execution
        print_note(f"these are the newest; all: intendant wal query {view.tenant} --execution {view.id}")


def _fields(report: ExecutionReport) -> Iterator[tuple[str, str | Text]]:
    view = report.execution
    yield "execution", view.id
    yield "type", view.type + (f" version {view.version}" if view.version != 1 else "")
    yield "status", styled(view.status)
    yield "blocked", view.blocked
    yield "tenant", view.tenant
    yield "session", view.session
    yield "solution", "" if view.solution == "default" else view.solution
    yield "key", "" if view.key == view.intent_id else view.key
    yield "parent", view.parent
    yield "forked from", f"{view.forked_from} at {view.forked_at}" if view.forked_from else ""
    yield "accepted", clock(view.accepted_at)
    yield "started", clock(view.started_at)
    took = between(view.accepted_at, view.ended_at)
    yield "ended", clock(view.ended_at) + (f", after {took}" if took else "")
    yield "parameters", compact(view.parameters)
    yield "metadata", compact(view.metadata)
    yield "result", compact(view.result)
    yield "error", "" if view.error is None else Text(f"{view.error.code}: {view.error.message}", "red")
    yield "artifacts", compact(view.artifacts)
    yield "events", str(view.events) if view.events else ""
    yield "document", compact(view.data)


def what(record: RecordView) -> str:
    """What a record says that its type does not: the path of a step or wait, a name, why it failed."""
    payload: dict[str, Any] = record.payload
    words = [str(payload[name]) for name in ("path", "name", "type") if isinstance(payload.get(name), str)]
    error: Any = payload.get("error")
    if isinstance(error, dict):
        words.append(f"{error.get('code', '')}: {error.get('message', '')}")  # pyright: ignore[reportUnknownMemberType]
    return "  ".join(words)
