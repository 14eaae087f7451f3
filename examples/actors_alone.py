"""Actors without a store: a till that crashes on one message for good, and goes on.

python -m examples.actors_alone
"""

from __future__ import annotations

from dataclasses import dataclass

import anyio

from intendant import Actor, ActorSystem, Reply
from intendant.supervisor import Backoff


@dataclass(frozen=True)
class Pay:
    """Money into the till."""

    cents: int


@dataclass(frozen=True)
class Total:
    """What is in it?"""

    reply: Reply[int]


class Till(Actor[Pay | Total]):
    """Counts; its state lives in a list outside, as every crash makes a new till."""

    def __init__(self, book: list[int]) -> None:
        self.book = book

    async def receive(self, message: Pay | Total) -> None:
        """Handle one message."""
        match message:
            case Pay(cents):
                if cents < 0:
                    raise ValueError(f"{cents} cents")
                self.book.append(cents)
            case Total(reply):
                reply.set(sum(self.book))


async def main() -> None:
    """Pay three times, once with money that does not exist."""
    book: list[int] = []
    async with ActorSystem("shop", backoff=Backoff.none()) as system:
        till = system.spawn("till", lambda: Till(book), attempts=2)
        for cents in (150, -1, 250):
            till.tell(Pay(cents))
        total: int = await till.ask(Total, timeout=1.0)
        print(f"in the till: {total}")
        for letter in system.dead_letters:
            print(f"{letter.to} did not handle {letter.message}: {letter.reason.value}, {letter.cause}")


if __name__ == "__main__":
    anyio.run(main)
