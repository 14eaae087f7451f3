"""Waiting out an outage of a store: the one loop that asks again until it answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import anyio

from intendant.domain.errors import StoreUnavailable
from intendant.supervisor import Backoff

T = TypeVar("T")

PATIENT: Final = Backoff(initial=0.1, maximum=5.0)
"""How to ask when nobody waits for the answer but whoever asks."""


async def wait_out(
    ask: Callable[[], Awaitable[T]], retry: Backoff, tell: Callable[[float, StoreUnavailable], None]
) -> T:
    """Ask until the store answers, with growing pauses; every other error ends it.

    `tell` hears of each failure before the pause that follows (in seconds), logs it, and may raise to give up.
    Cancelling gives up as well; what was asked may be done or not, as StoreUnavailable says.
    """
    failures = 0
    while True:
        try:
            return await ask()
        except StoreUnavailable as error:
            delay = retry.delay(failures, lambda: 0.5)
            failures += 1
            tell(delay, error)
        await anyio.sleep(delay)
