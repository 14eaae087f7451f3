"""A customer, who orders over HTTP: python -m examples.orders.customer [ITEM] [PIECES] [--card CARD] [--withdraw]

Whatever is sent may be sent again, under the same key: so a shop that is away is simply asked until it is back.
"""

from __future__ import annotations

import argparse
import json
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import Any

import anyio
import httpx

AGAIN = (429, 503, 504)  # not now, or unknown whether; all else is an answer
PAUSE = 0.1  # seconds


class Shop:
    """The shop, as one customer sees it, who has a session there, so that nobody's orders wait for another's."""

    def __init__(self, client: httpx.AsyncClient, customer: str) -> None:
        self._client = client
        self._session = f"/v1/sessions/{customer}"

    async def place(self, number: str, item: str, pieces: int) -> str:
        """Place an order; where to ask about it. The same number is the same order, however often it is placed."""
        order = {"number": number, "item": item, "pieces": pieces}
        await self._call("PUT", self._session, json={})
        intent = {"type": "orders.place", "parameters": order}
        return (await self._call("POST", f"{self._session}/intents", json=intent, key=number)).headers["Location"]

    async def tell(self, place: str, kind: str, *, card: str = "") -> None:
        """Tell an order something, once."""
        news = {"payload": {"kind": kind, "card": card}}
        await self._call("POST", f"{place}/signals/news", json=news, key=kind)

    async def stage(self, place: str) -> str:
        """How far an order is."""
        return str((await self._call("GET", f"{place}/queries/stage")).json()["answer"])

    async def outcome(self, place: str) -> dict[str, Any]:
        """How an order has ended, or that it has not."""
        outcome: dict[str, Any] = (await self._call("GET", f"{place}/outcome")).json()
        return outcome

    async def events(self, place: str) -> AsyncGenerator[dict[str, Any]]:
        """What happens to an order, to its end; each once, also when the shop dies in between."""
        headers: dict[str, str] = {}
        while True:
            try:
                async with self._client.stream("GET", f"{place}/events", headers=headers) as answer:
                    if answer.status_code == 204:
                        return  # it has ended, and all of it was told
                    if answer.is_success:
                        async for line in answer.aiter_lines():
                            if line.startswith("data: "):
                                event = json.loads(line.removeprefix("data: "))
                                headers["Last-Event-ID"] = event["cursor"]
                                yield event
                    elif answer.status_code not in AGAIN:
                        answer.raise_for_status()
            except httpx.TransportError:
                pass
            await anyio.sleep(PAUSE)

    async def _call(self, method: str, path: str, *, json: object = None, key: str | None = None) -> httpx.Response:
        """Ask until there is an answer. What changes something has a key, so that asking again changes nothing more."""
        headers = {} if key is None else {"Idempotency-Key": key}
        while True:
            try:
                answer = await self._client.request(method, path, json=json, headers=headers)
                if answer.status_code not in AGAIN:
                    return answer.raise_for_status()
            except httpx.TransportError:
                pass
            await anyio.sleep(PAUSE)


async def buy(shop: Shop, item: str, pieces: int, card: str, *, withdraw: bool, pause: float) -> dict[str, Any]:
    """Order, and say what there is to say when it is time to."""
    number = f"order-{uuid.uuid4().hex[:4]}"
    place = await shop.place(number, item, pieces)
    print(f"{number}: {pieces} {item}, at {place}")
    async with aclosing(shop.events(place)) as events:
        async for event in events:
            print(f"  {event['kind']:<7}{event['name']}", f"({event['error']['message']})" if event["error"] else "")
            await anyio.sleep(pause)
            if event["name"] == "order/reserve" and not event["error"]:
                print(f"          {await shop.stage(place)}: {card}")
                await shop.tell(place, "paid", card=card)
            if event["name"] == "order/pack":
                print(f"          {await shop.stage(place)}")
                await shop.tell(place, "withdrawn" if withdraw else "picked_up")
    return await shop.outcome(place)


async def main(url: str, customer: str, item: str, pieces: int, card: str, *, withdraw: bool, pause: float) -> None:
    """Buy something, and print what happens."""
    async with httpx.AsyncClient(base_url=url, timeout=httpx.Timeout(5, read=60)) as client:
        print((await buy(Shop(client, customer), item, pieces, card, withdraw=withdraw, pause=pause))["result"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A customer of the shop.")
    parser.add_argument("item", nargs="?", default="tea")
    parser.add_argument("pieces", type=int, nargs="?", default=1)
    parser.add_argument("--name", default="ada")
    parser.add_argument("--card", default="visa", help="'stolen' is declined")
    parser.add_argument("--withdraw", action="store_true", help="want it no more, when it is paid and packed")
    parser.add_argument("--pause", type=float, default=0.5, help="seconds between what happens and what is said")
    parser.add_argument("--shop", default="http://127.0.0.1:8000")
    told = parser.parse_args()
    anyio.run(
        partial(main, told.shop, told.name, told.item, told.pieces, told.card, withdraw=told.withdraw, pause=told.pause)
    )
