"""Stores written by earlier versions lie here; this version opens each, and resumes what is open in it.

To add one, with the version that is to be kept: python tests/histories/test_histories.py tests/histories/NAME.db
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from intendant import Context, IdempotencyConflict, Realm, Runtime, Shutdown, Status

HISTORIES = sorted(Path(__file__).parent.glob("v*.db"))


class Order(msgspec.Struct):
    number: int


class Receipt(msgspec.Struct):
    number: int
    stock: str
    price: float


def realm(ran: list[str], *, finish: bool) -> Realm:
    """The handlers of the stored executions; with `finish` False they stop half way."""
    orders = Realm("orders")

    @orders.handler
    async def place(ctx: Context, order: Order) -> Receipt:
        def reserve(number: int) -> str:
            ran.append(f"reserve {number}")
            return f"shelf-{number}"

        def charge(number: int) -> float:
            ran.append(f"charge {number}")
            return number * 1.5

        stock = await ctx.step("reserve", reserve, order.number)
        ctx.emit("reserved", {"stock": stock})
        if order.number % 2 and not finish:
            await anyio.sleep_forever()
        price = await ctx.step("charge", charge, order.number, key=f"order-{order.number}")
        ctx.artifact("receipt", {"price": price})
        return Receipt(order.number, stock, price)

    @orders.handler
    async def refuse(ctx: Context, order: Order) -> None:
        raise ValueError(f"no order {order.number}")

    return orders


async def write(path: Path) -> None:
    """Write a history: finished, failed, unknown and half-done executions of two tenants."""
    place, refuse = "orders.place", "orders.refuse"
    async with Runtime([realm([], finish=False)], hot=f"sqlite:{path}", shutdown=Shutdown(drain=0.5)) as runtime:
        for tenant in ("acme", "globex"):
            session = await runtime.open_session(tenant, "desk", user_id="ada", metadata={"colour": "blue"})
            for number in range(6):
                await session.submit(place, {"number": number}, idempotency_key=f"order-{number}")
            await session.submit(refuse, {"number": 9}, idempotency_key="refused")
            await session.submit("orders.unknown", {"number": 9}, idempotency_key="unknown")
            await runtime.state.set_session(tenant, "desk", {"theme": "dark"})
            closed = await runtime.open_session(tenant, "closed")
            await closed.close()


def opened(history: Path, folder: Path) -> str:
    shutil.copy(history, folder / "copy.db")
    return f"sqlite:{folder / 'copy.db'}"


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_there_are_histories() -> None:
    assert HISTORIES


@pytest.mark.anyio
@pytest.mark.parametrize("history", HISTORIES, ids=lambda path: path.stem)
async def test_an_old_store_is_opened_and_what_is_open_in_it_resumes(history: Path, tmp_path: Path) -> None:
    ran: list[str] = []
    async with Runtime([realm(ran, finish=True)], hot=opened(history, tmp_path)) as runtime:
        for tenant in ("acme", "globex"):
            session = runtime.session(tenant, "desk")
            for number in range(6):
                execution = await session.submit("orders.place", {"number": number}, idempotency_key=f"order-{number}")
                outcome = await execution.outcome(timeout=10)
                assert outcome.result == Receipt(number, f"shelf-{number}", number * 1.5)
                assert (outcome.artifacts, outcome.events) == ({"receipt": {"price": number * 1.5}}, 1)
            with pytest.raises(IdempotencyConflict):
                await session.submit("orders.place", {"number": 77}, idempotency_key="order-1")
            failed = await runtime.executions(tenant, status=Status.FAILED)
            assert sorted(each.error.code for each in failed if each.error) == ["ValueError", "unknown_intent_type"]
            view = await runtime.state.session(tenant, "desk")
            assert view is not None
            assert (view.user_id, view.metadata, view.data) == ("ada", {"colour": "blue"}, {"theme": "dark"})
            closed = await runtime.state.session(tenant, "closed")
            assert closed is not None
            assert closed.closed_at is not None
            assert (await runtime.wal.replay(tenant)).violations == []
    # what had been recorded was not run again; what had not been was, once
    assert sorted(ran) == sorted(f"charge {number}" for number in (1, 3, 5) for _ in range(2))


if __name__ == "__main__":
    anyio.run(write, Path(sys.argv[1]))
