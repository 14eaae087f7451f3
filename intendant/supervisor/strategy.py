"""Who is restarted when one child ends: decided without starting or stopping anything.

`decide` maps the ordered children and one exit to a list of actions. Whoever carries them out does
the stops one after the other in the order given, then the starts. The rules are those of OTP's supervisor:

- one_for_one restarts the child that ended, one_for_all every child, rest_for_one it and all after it;
- stops run from right to left, starts from left to right;
- a temporary child that was running when its group went down stays down;
- a transient child that had finished is started again with its group: a group begins afresh as a whole.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Protocol

from .spec import Restart
from .value import Value

__all__ = ["Action", "Exit", "Member", "Situation", "StartChild", "StopChild", "Strategy", "decide", "wants_restart"]


class Strategy(enum.Enum):
    """Whom the end of one child concerns."""

    ONE_FOR_ONE = "one_for_one"
    ONE_FOR_ALL = "one_for_all"
    REST_FOR_ONE = "rest_for_one"


class Exit(enum.Enum):
    """How a child ended that nobody had asked to."""

    NORMAL = "normal"
    CRASHED = "crashed"


class Situation(enum.Enum):
    """What there is of a child at the moment of the decision."""

    ALIVE = "alive"
    """It has a task: starting, running, or on its way down."""
    DUE = "due"
    """It has none, and is going to be started."""
    DOWN = "down"
    """It has none, and nothing is planned."""


class Member(Protocol):
    """A child as far as a strategy needs to know it."""

    @property
    def restart(self) -> Restart:
        """When it is to be started again."""
        ...

    @property
    def situation(self) -> Situation:
        """What there is of it."""
        ...


class StopChild(Value):
    """Stop the child at this index and wait until it has ended."""

    index: int


class StartChild(Value):
    """Start the child at this index once every stop is done; wait until it is ready before the next."""

    index: int


Action = StopChild | StartChild


def wants_restart(restart: Restart, how: Exit) -> bool:
    """Whether a child of this kind is started again after such an end."""
    return restart is Restart.PERMANENT or (restart is Restart.TRANSIENT and how is Exit.CRASHED)


def decide(strategy: Strategy, members: Sequence[Member], exited: int, how: Exit) -> list[Action]:
    """What follows from the end of the child at index `exited`, which is down by now.

    Empty if the child's kind does not want a restart: then nobody else is touched either.
    """
    if not wants_restart(members[exited].restart, how):
        return []
    group = concerned(strategy, len(members), exited)
    stops = [StopChild(i) for i in reversed(group) if i != exited and members[i].situation is Situation.ALIVE]
    starts = [StartChild(i) for i in group if i == exited or _starts_with_group(members[i])]
    return [*stops, *starts]


def concerned(strategy: Strategy, count: int, exited: int) -> range:
    """The indices that go down and come up together with the child at `exited`."""
    match strategy:
        case Strategy.ONE_FOR_ONE:
            return range(exited, exited + 1)
        case Strategy.ONE_FOR_ALL:
            return range(count)
        case Strategy.REST_FOR_ONE:
            return range(exited, count)


def _starts_with_group(member: Member) -> bool:
    return member.restart is not Restart.TEMPORARY or member.situation is Situation.DUE
