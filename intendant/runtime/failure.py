"""Reading a failure of the tree: what really happened stands at the end of a chain of escalations."""

from __future__ import annotations

from typing import cast

from intendant.domain.errors import IntendantError
from intendant.supervisor import SupervisorError


def cause_of(error: BaseException) -> BaseException:
    """The error that began it: ours if there is one in the chain, else the first that is not the supervisor's own."""
    chain = list(_chain(error))
    ours = [each for each in chain if isinstance(each, IntendantError)]
    others = [each for each in chain if not isinstance(each, SupervisorError | BaseExceptionGroup)]
    return (ours or others or [error])[0]


def _chain(error: BaseException) -> list[BaseException]:
    """The error, what it holds, and what caused it; each once, even where the links lead in a circle."""
    chain: list[BaseException] = []
    waiting: list[BaseException] = [error]
    while waiting:
        each = waiting.pop(0)
        if any(each is known for known in chain):
            continue
        chain.append(each)
        held = (
            cast("BaseExceptionGroup[BaseException]", each).exceptions if isinstance(each, BaseExceptionGroup) else ()
        )
        cause = () if each.__cause__ is None else (each.__cause__,)
        waiting[:0] = [*held, *cause]
    return chain
