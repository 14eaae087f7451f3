"""Which request meets a fault, and what becomes of it. Decided here, by a seed; done by `server`."""

from __future__ import annotations

import enum
import random
from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from tests.arango_standin.messages import Reply, Request, failed

FaultName = Literal[
    "lost before", "lost after", "cut head", "cut body", "slow body", "closed after", "answer", "elements", "leader"
]


CONTROL: Final = "/_standin"  # where plans are sent to; no path of ArangoDB's begins with it


class Ending(enum.Enum):
    """How the answer is sent."""

    WHOLE = "as it should be"
    NONE = "not at all: the connection is gone"
    HEAD = "the connection is gone in the middle of its head"
    BODY = "the connection is gone in the middle of its body"
    SLOW = "its body in parts, with pauses"
    CLOSED = "whole, and then the connection is closed without a word"


class Plan(Struct, frozen=True):
    """A fault for a share of the requests that begin with one of `calls`.

    answer       `status`, `number` and `text` instead of an answer; a share `applied` of them is done all the same
    elements     some documents of a bulk write fail with `number` and `text`, the others are written
    leader       three requests: leader resigned (421/1491), leadership challenge (503/1495), and all is well
    """

    fault: FaultName
    share: float = 1.0
    seed: int = 0
    calls: tuple[str, ...] = ("POST document", "PUT document", "DELETE document", "GET document", "POST cursor")
    times: int = 1_000_000  # and no more
    status: int = 503
    number: int = 503
    text: str = "because"
    applied: float = 0.0


class State(Struct):
    """How many requests met the planned fault, and what was out of scope since that was last asked."""

    met: int
    strays: list[str]


ENDINGS: Final = {
    "lost after": Ending.NONE,
    "cut head": Ending.HEAD,
    "cut body": Ending.BODY,
    "slow body": Ending.SLOW,
    "closed after": Ending.CLOSED,
}
LEADER_CHANGE: Final = (
    failed(503, 1495, "leadership challenge is ongoing"),
    failed(421, 1491, "leader has resigned"),
)  # from behind
Act = Callable[[Request], Reply]


class Faults:
    """A plan that is carried out. `met` counts the requests that met its fault."""

    def __init__(self, plan: Plan | None = None) -> None:
        self.met = 0
        self._plan = plan
        self._chance = random.Random(plan.seed if plan else 0)
        self._next: list[Reply] = []

    def meet(self, request: Request, act: Act) -> tuple[Reply, Ending]:
        """Do what is asked, or not, and say what is to be sent."""
        plan = self._plan
        if plan is None or not request.call.startswith(plan.calls):
            return act(request), Ending.WHOLE
        if self._next:
            return self._next.pop(), Ending.WHOLE
        if self.met >= plan.times or self._chance.random() >= plan.share or not _can_meet(plan, request):
            return act(request), Ending.WHOLE
        self.met += 1
        return self._struck(plan, request, act)

    def _struck(self, plan: Plan, request: Request, act: Act) -> tuple[Reply, Ending]:
        if plan.fault == "lost before":
            return failed(500, 4, "nobody sees this"), Ending.NONE
        if plan.fault == "leader":
            self._next = list(LEADER_CHANGE)
            return self._next.pop(), Ending.WHOLE
        if plan.fault == "elements":
            return self._partly(plan, request, act), Ending.WHOLE
        if plan.fault == "answer":
            if self._chance.random() < plan.applied:
                act(request)
            return failed(plan.status, plan.number, plan.text), Ending.WHOLE
        return act(request), ENDINGS[plan.fault]

    def _partly(self, plan: Plan, request: Request, act: Act) -> Reply:
        items: list[Any] = request.body
        wrong = {at for at in range(len(items)) if self._chance.random() < 0.5} or {0}
        error = {"error": True, "errorNum": plan.number, "errorMessage": plan.text}
        reply = act(request.with_body([item for at, item in enumerate(items) if at not in wrong]))
        if reply.status not in (200, 201, 202):
            return reply
        done = iter(reply.body)
        told = [error if at in wrong else next(done) for at in range(len(items))]
        counts = {str(plan.number): len(wrong)}
        return Reply(202, told, {**reply.headers, "x-arango-error-codes": msgspec.json.encode(counts).decode()})


def _can_meet(plan: Plan, request: Request) -> bool:
    """Single documents of many fail only where many are written."""
    return plan.fault != "elements" or ("onlyget" not in request.options and isinstance(request.body, list))
