"""A submit on its way: what its session has decided about it, until it is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from intendant.actors.acceptance import accept, conflict, decode_claim, without_repetitions
from intendant.actors.history import Accepted
from intendant.actors.messages import PreparedIntent, Submit
from intendant.actors.open_execution import OpenExecution
from intendant.actors.wal_writer import KeyClaimed
from intendant.domain.commit import RECORDS_MAX, Receipt
from intendant.domain.state import ExecutionState, SessionState

if TYPE_CHECKING:
    from intendant.actors.session import SessionActor


class Submission:
    """What is still to be accepted, and the executions that are known, by key.

    It is told what becomes of its commits by the writer, not by message (see `Told`): what was accepted must run
    whatever becomes of the actor. Raises IdempotencyConflict when its intents have the same key for different ones.
    """

    __slots__ = ("_accepted", "_actor", "_at_once", "_flying", "_fresh", "_known", "_message", "_session")

    def __init__(self, actor: SessionActor, session: SessionState, message: Submit) -> None:
        self._actor = actor
        self._session = session
        self._message = message
        self._fresh = message.intents if len(message.intents) == 1 else without_repetitions(message.intents)
        self._known: dict[str, str | ExecutionState] = {}
        self._flying = False  # a commit of it is on its way,
        self._accepted: list[tuple[OpenExecution, ExecutionState]]  # what will run when it has landed,
        self._at_once: bool  # and whether they have their places already

    def commit(self, now: int) -> None:
        """Have the writer commit what is still to be accepted."""
        actor, executions, fresh = self._actor, self._actor.executions, self._fresh
        if self._session.idle_timeout:
            actor.has_work()
        planned: list[tuple[PreparedIntent, OpenExecution]] = []
        entries: list[OpenExecution] = []
        for intent in fresh:
            entry = executions.plan(self._session, intent, now)
            entries.append(entry)
            planned.append((intent, entry))
            self._known[intent.key] = entry.id
        forked = fresh[0].fork is not None  # alone, and its journal is in the store only
        may_begin = not (actor.unplaced or forked) and 2 * len(entries) <= RECORDS_MAX
        at_once = self._at_once = may_begin and executions.begin(entries, now)
        commit, self._accepted = accept(self._session, planned, now, at_once=at_once)
        if at_once and len(entries) == 1 and (computed := executions.compute(*self._accepted[0], commit)) is not None:
            commit, self._known[fresh[0].key] = computed
            self._accepted = []
        actor.unplaced += not at_once
        self._flying = True
        actor.residence.handed_over()
        try:
            actor.services.writer.accept(commit, self)
        except Exception as error:
            self.fail(error)

    def set(self, value: Receipt) -> None:
        """What was to be accepted is durable."""
        if not self._flying:
            return
        self._flying = False
        actor = self._actor
        actor.unplaced -= not self._at_once
        for entry, state in self._accepted:
            actor.executions.start(entry, None if state.forked_from else Accepted(state, value.first))
        self._answer()
        actor.residence.landed()

    def fail(self, error: BaseException) -> None:
        """Nothing of it was accepted."""
        if not self._flying:
            return
        self._flying = False
        actor = self._actor
        actor.unplaced -= not self._at_once
        if self._at_once:
            actor.executions.give_back([entry for entry, _ in self._accepted])
        if isinstance(error, KeyClaimed):
            self._settle_claims(error)
        else:
            self._message.reply.fail(error)
        actor.residence.landed()

    def _settle_claims(self, claimed: KeyClaimed) -> None:
        """Some keys are taken: the same intent gets the execution it has, another one is an error; the rest goes on."""
        taken = {key: decode_claim(value) for key, value in claimed.taken.items()}
        for intent in self._fresh:
            claim = taken.get(intent.key)
            if claim is not None and claim.digest != intent.digest:
                self._message.reply.fail(conflict(intent, claim))
                return
        self._known |= {key: claim.execution for key, claim in taken.items()}
        self._fresh = [intent for intent in self._fresh if intent.key not in taken]
        if self._fresh:
            self.commit(self._actor.services.clock.now())
        else:
            self._answer()

    def _answer(self) -> None:
        """Answer with the executions in the order of the intents."""
        self._message.reply.set([self._known[intent.key] for intent in self._message.intents])
