"""A circuit breaker: when a target that fails is left alone, and when it is tried again. Pure: time is an argument.

closed      whoever wants to may try; so many failures in a row open it
open        nobody tries until the pause is over; then one may, and it is
half-open   whoever comes while that one is under way is sent away; a success closes it, a failure opens it for longer
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from intendant.domain.errors import InvalidValue
from intendant.supervisor import Backoff

BESIDE_TRIAL: Final = 1.0  # seconds that who comes beside a trial is sent away for, at most


class Breaker(Struct, frozen=True):
    """`failures` in a row open it, for as long as `pause` says. After `trial` seconds a trial is lost."""

    failures: int = 5
    pause: Backoff = Backoff(initial=1.0, maximum=60.0, jitter=0.0)
    trial: float = 60.0

    def __post_init__(self) -> None:
        if self.failures < 1:
            raise InvalidValue("breaker", f"failures={self.failures}: it opens after 1 failure or more")
        if not 0 < self.trial <= 3600:
            raise InvalidValue("breaker", f"trial={self.trial}: it is more than 0 seconds, and at most 3600")


class State(Enum):
    """Of a circuit."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Circuit(Struct, frozen=True):
    """What is known of a target. Times are seconds of any clock that does not go back."""

    state: State = State.CLOSED
    failures: int = 0  # in a row
    openings: int = 0  # in a row
    until: float = 0.0  # OPEN: the end of the pause; HALF_OPEN: when the trial is lost


def admit(circuit: Circuit, breaker: Breaker, now: float) -> tuple[Circuit, float]:
    """Whether to try now: the circuit from now on, and the seconds to wait: 0 to go ahead."""
    if circuit.state is State.CLOSED:
        return circuit, 0.0
    left = circuit.until - now
    if left > 0:
        return circuit, left if circuit.state is State.OPEN else min(left, BESIDE_TRIAL)
    return replace(circuit, state=State.HALF_OPEN, until=now + breaker.trial), 0.0


def succeeded() -> Circuit:
    """The circuit after a success, whatever it was."""
    return _CLOSED


def failed(circuit: Circuit, breaker: Breaker, now: float, after: float = 0.0) -> Circuit:
    """The circuit after a failure. `after`: the target has asked to be left alone for so many seconds.

    What began before it opened and fails when it is open makes no pause longer.
    """
    if circuit.state is State.OPEN:
        return replace(circuit, until=max(circuit.until, now + after))
    failures = circuit.failures + 1
    if circuit.state is State.CLOSED and failures < breaker.failures and not after:
        return replace(circuit, failures=failures)
    pause = max(breaker.pause.delay(circuit.openings, lambda: 0.5), after)
    return Circuit(State.OPEN, failures, circuit.openings + 1, now + pause)


_CLOSED: Final = Circuit()
