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


def _chain(error: BaseException | None) -> list[BaseException]:
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        if isinstance(error, BaseExceptionGroup):
            for each in cast("BaseExceptionGroup[BaseException]", error).exceptions:
                chain += _chain(each)
        error = error.__cause__
    return chain
