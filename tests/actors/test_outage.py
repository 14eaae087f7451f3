"""The one loop that waits out an outage of a store."""

from __future__ import annotations

import anyio
import pytest

from intendant.actors.outage import wait_out
from intendant.domain.errors import StoreUnavailable
from intendant.supervisor import Backoff

pytestmark = pytest.mark.anyio
RETRY = Backoff(initial=1.0, maximum=4.0, jitter=0.0)


async def test_it_asks_until_the_store_answers_with_growing_pauses() -> None:
    asked: list[float] = []
    told: list[float] = []

    async def ask() -> str:
        asked.append(anyio.current_time() - began)
        if len(asked) < 5:
            raise StoreUnavailable("away")
        return "back"

    began = anyio.current_time()
    assert await wait_out(ask, RETRY, lambda delay, _error: told.append(delay)) == "back"
    assert asked == pytest.approx([0, 1, 3, 7, 11])
    assert told == [1, 2, 4, 4]


async def test_another_error_ends_it_and_so_does_whoever_is_told() -> None:
    async def broken() -> None:
        raise LookupError("a bug")

    async def away() -> None:
        raise StoreUnavailable("away")

    def give_up(delay: float, error: StoreUnavailable) -> None:
        raise error

    def go_on(delay: float, error: StoreUnavailable) -> None:
        """Say nothing."""

    with pytest.raises(LookupError):
        await wait_out(broken, RETRY, go_on)
    with pytest.raises(StoreUnavailable):
        await wait_out(away, RETRY, give_up)
    with anyio.move_on_after(100) as scope:
        await wait_out(away, RETRY, go_on)
    assert scope.cancelled_caught
