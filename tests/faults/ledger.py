"""What handlers leave behind outside of the runtime: a ledger of their steps, which looks whether they may run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from intendant import Context
from intendant.adapters.memory import MemoryStore
from intendant.domain import state as states
from intendant.domain.journal import Row, decode_journal_row
from intendant.domain.payloads import CancelRequested
from intendant.domain.state import ExecutionState


class Ledger:
    """Notes every run of a step's body, and looks into the store, behind the runtime's back, whether it may run."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.runs: list[tuple[str, str]] = []  # execution and path
        self.violations: list[str] = []
        self.refused = 0  # durable calls that a handler made while it was suspended, and that were refused

    def ran(self, ctx: Context, path: str, after: Sequence[str]) -> None:
        """A body begins; the steps in `after` came before it in its handler."""
        self.runs.append((ctx.execution_id, path))
        ended, recorded = self._recorded(ctx)
        if ended:
            self.violations.append(f"step {path} of {ctx.execution_id} ran after the end")
        elif path in recorded:
            self.violations.append(f"step {path} of {ctx.execution_id} was recorded and ran again")
        else:
            missing = [each for each in after if each not in recorded]
            if missing:
                self.violations.append(f"step {path} of {ctx.execution_id} ran before {missing} was recorded")
        if path.startswith("undo-") and not self._cancelled(ctx):
            self.violations.append(f"{ctx.execution_id} cleaned up after a cancel that was not recorded")

    def waited(self, ctx: Context, waits: int) -> None:
        """A body begins that goes on from so many waits: that they are over must be recorded."""
        rows = self.store.log(0).shared.partition.journals.get((ctx.tenant_id, ctx.execution_id), [])
        ended = sum(body[:1] in (b"e", b"s") for _, body in rows)
        if ended < waits:
            self.violations.append(f"{ctx.execution_id} went on from {waits} waits, of which {ended} were recorded")

    def counted(self, ctx: Context, count: object) -> None:
        """A handler reads its session's state: that is how many of `counting` have completed in it, at any moment."""
        documents = self.store.log(0).shared.partition.documents[ctx.tenant_id, states.EXECUTIONS].values.values()
        found = [msgspec.msgpack.decode(each.body, type=ExecutionState) for each in documents]
        completed = count_completed(each for each in found if each.session == ctx.session.id)
        if count != completed:
            self.violations.append(f"{ctx.execution_id} reads {count} where {completed} have completed")

    def rows(self, ctx: Context) -> list[Row]:
        """What the journal holds now."""
        rows = self.store.log(0).shared.partition.journals.get((ctx.tenant_id, ctx.execution_id), [])
        return [decode_journal_row(body) for _, body in rows]

    def _cancelled(self, ctx: Context) -> bool:
        return any(isinstance(row, CancelRequested) for row in self.rows(ctx))

    def _recorded(self, ctx: Context) -> tuple[bool, set[str]]:
        partition = self.store.log(0).shared.partition
        documents = partition.documents.get((ctx.tenant_id, states.EXECUTIONS))
        document = documents.values.get(ctx.execution_id) if documents else None
        ended = document is not None and msgspec.msgpack.decode(document.body, type=ExecutionState).status.ended
        rows = [row for row in self.rows(ctx) if getattr(row, "final", True)]  # an attempt may be followed by others
        return ended, {getattr(row, "path", "") for row in rows}


class CurrentLedger:
    """The ledger of whoever lives now: handlers are registered once for all lives, of which one goes on at a time."""

    now: Ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self.now, name)

    def __setattr__(self, name: str, value: object) -> None:
        if name == "now":
            object.__setattr__(self, name, value)
        else:
            setattr(self.now, name, value)


LEDGERS: Final = CurrentLedger()


def count_completed(executions: Iterable[ExecutionState]) -> int:
    """How many have counted in their session's state."""
    return sum((each.type, each.status) == ("play.counting", states.Status.COMPLETED) for each in executions)
