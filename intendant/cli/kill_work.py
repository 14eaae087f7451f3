"""The workload of `intendant doctor --kill`, and a life of it: a process that submits it, and goes on with it.

`python -m intendant.cli.kill_work COMMIT before|after BOOK` is a life that ends by SIGKILL at a commit. The store's URL
it reads from stdin: so a password is in no list of processes. What it was told, and what its handlers did, it appends
to the book, each just after it was so, or just before it was done:

    A execution key      it was told that this was accepted
    E execution hash     it was told of this end
    B key step           a step's body begins
    S key step           the step's result was returned: it is recorded
"""

from __future__ import annotations

import os
import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import anyio

from intendant.adapters.urls import open_store
from intendant.context import Context
from intendant.domain.ports import Store
from intendant.realm import Realm
from intendant.runtime.audit import Told
from intendant.runtime.runtime import Runtime
from intendant.steps.step import Step
from intendant.testing.faults import Fault, FaultyStore

TENANT: Final = "doctor"
KEYS: Final = ("order-1", "order-2", "order-3", "order-4")
SECONDS: Final = 30.0  # that a life may take


class Book:
    """A file that survives the process: one write a line."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(self, *words: str) -> None:
        """Write a line."""
        os.write(self._file, (" ".join(words) + "\n").encode())

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)


def realm_of(book: Book) -> Realm:
    """Steps, a saga that is undone, a timer, an event, a child: what a runtime commits."""
    realm = Realm("doctor")

    @realm.handler
    async def part(ctx: Context, order: dict[str, Any]) -> int:
        return await step(ctx, order["key"], "part", 3)

    @realm.handler
    async def work(ctx: Context, order: dict[str, Any]) -> int:
        key: str = order["key"]
        total = await step(ctx, key, "first", 1)
        ctx.emit("begun", key)
        if order["undone"]:
            await undone(ctx)
        await ctx.sleep(timedelta(milliseconds=1))
        child = await ctx.submit("doctor.part", {"key": f"{key}/part"})
        total += int(await child.result())
        return total + await step(ctx, key, "last", 2)

    async def step(ctx: Context, key: str, name: str, value: int) -> int:
        async def body() -> int:
            book.note("B", key, name)
            return value

        result = await ctx.step(name, body)
        book.note("S", key, name)
        return result

    return realm


async def undone(ctx: Context) -> None:
    """A saga whose block fails."""
    try:
        async with ctx.saga("try") as saga:
            await saga.step("hold", _hold, undo=_release)
            raise LookupError("as planned")
    except LookupError:
        return


async def _hold(_step: Step) -> int:
    return 1


async def _release(_step: Step, _held: int | None) -> None:
    return


async def live(store: Store, book: Book) -> None:
    """Submit everything under its keys and wait for the ends, as a caller would who does not know what came before."""
    told = Told()
    async with Runtime([realm_of(book)], hot=store, name="doctor", publisher=_publish) as runtime:
        with anyio.fail_after(SECONDS):
            session = await runtime.open_session(TENANT, "desk")
            for number, key in enumerate(KEYS):
                order = {"key": key, "undone": number % 2 == 0}
                execution = await session.submit("doctor.work", order, idempotency_key=key)
                book.note("A", execution.id, key)
                outcome = await execution.outcome()
                told.end(outcome)
                book.note("E", execution.id, told.ends[TENANT, execution.id].hex())
            while (await runtime.outbox.pending(TENANT)).items:  # noqa: ASYNC110  nobody announces it
                await anyio.sleep(0.001)


def _publish(_event: object) -> None:
    return


class KilledStore(FaultyStore):
    """A store whose process is killed, and not only said to be."""

    def die(self) -> None:
        """See `FaultyStore.die`."""
        os.kill(os.getpid(), signal.SIGKILL)


def main(url: str, commit: int, when: str, book: str) -> None:
    """A life that is killed at its n-th commit."""
    fault = Fault.DIE_BEFORE if when == "before" else Fault.DIE_AFTER
    anyio.run(live, KilledStore(open_store(url), {commit: fault}), Book(Path(book)))


if __name__ == "__main__":
    main(sys.stdin.read(), int(sys.argv[1]), sys.argv[2], sys.argv[3])
