"""How a step is tried, as its caller says it."""

from __future__ import annotations

from datetime import timedelta
from typing import Final, TypedDict

from intendant.domain.errors import InvalidValue
from intendant.domain.retry import Policy, Retry

_ONCE: Final = Policy()


class StepPolicy(TypedDict, total=False):
    """How a step is tried.

    `retry` says whether and when there is another attempt (default: one attempt). `timeout` limits each attempt,
    `deadline` all of them and the waits in between, `heartbeat` is how long an attempt may be silent (see
    `Step.heartbeat`); by default there are no limits.
    """

    retry: Retry
    timeout: timedelta
    deadline: timedelta
    heartbeat: timedelta


def policy_of(given: StepPolicy) -> Policy:
    """The policy that was asked for. Raises InvalidValue for one that can't be."""
    try:
        return Policy(**given) if given else _ONCE
    except ValueError as error:
        raise InvalidValue("step", str(error)) from None
