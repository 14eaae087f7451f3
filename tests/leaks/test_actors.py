"""Actors and children that crash, restart and end leave nothing: no task, thread, file or object, and no growth."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import anyio
import pytest

from intendant import Actor, ActorStopped, ActorSystem
from intendant.supervisor import ChildSpec, DynamicSupervisor, Intensity, Restart, Started, Supervisor
from tests.infrastructure.tier import scaled
from tests.leaks.counting import ROUNDS, rounds

pytestmark = [pytest.mark.anyio, pytest.mark.scaled, pytest.mark.in_turn]

COUNT = scaled(100_000, few=1_000)  # on each loop
SIDE_BY_SIDE = 10
EACH = COUNT // ROUNDS // SIDE_BY_SIDE
WAIT_MAX = 20.0


S = TypeVar("S", Supervisor, DynamicSupervisor)


class Boom(Exception):
    """What they crash with."""


class Shaky(Actor[Any]):
    async def receive(self, message: Any) -> None:
        if message is None:
            raise Boom
        message.set(1)


async def test_actors_that_crash_and_end() -> None:
    async with ActorSystem(intensity=Intensity(1, 0.2), dead_letters=10) as system:

        async def one_after_another(place: int, number: int) -> None:
            for each in range(EACH):
                name = f"{place}-{number}-{each}"
                ref = system.spawn(name, Shaky)
                ref.tell(None)
                assert await ref.ask(lambda reply: reply, timeout=60.0) == 1
                if each % 2:
                    system.stop(name)
                else:
                    ref.tell(None)  # one crash too many
                    with suppress(ActorStopped):
                        await ref.ask(lambda reply: reply, timeout=60.0)
                        system.stop(name)  # a busy machine has crashed it too late to be one too many

        async def once(number: int) -> None:
            async with anyio.create_task_group() as group:
                for place in range(SIDE_BY_SIDE):
                    group.start_soon(one_after_another, place, number)
            with anyio.fail_after(WAIT_MAX):
                while len(system):  # noqa: ASYNC110 - nobody tells
                    await anyio.sleep(0.001)
            await echo(number)

        async def echo(number: int) -> None:
            """A crash of today, lest the last one be kept for ever by who waits for the next."""
            ref = system.spawn(f"echo-{number}", Shaky)
            assert await ref.ask(lambda reply: reply, timeout=60.0) == 1
            system.stop(f"echo-{number}")

        await rounds(once)


class Twice:
    """A child that crashes in its first life, and stays in its second."""

    def __init__(self, id: str) -> None:
        self.lives = 0
        self.stays = anyio.Event()
        self.spec = ChildSpec(id, self.live, Restart.TRANSIENT)

    async def live(self, status: Started) -> None:
        status.started()
        self.lives += 1
        if self.lives == 1:
            raise Boom
        self.stays.set()
        await anyio.sleep_forever()


@asynccontextmanager
async def running(supervisor: S) -> AsyncGenerator[S]:
    async with anyio.create_task_group() as group:
        await group.start(supervisor.run)
        yield supervisor
        supervisor.stop()


async def test_dynamic_children_that_crash_and_end() -> None:
    async def one_after_another(dynamic: DynamicSupervisor, place: int, number: int) -> None:
        for each in range(EACH):
            child = Twice(f"{place}-{number}-{each}")
            dynamic.start_child(child.spec)
            await child.stays.wait()
            dynamic.stop_child(child.spec.id)

    async with running(DynamicSupervisor("d", on_give_up=lambda _child, _cause: None)) as dynamic:

        async def once(number: int) -> None:
            async with anyio.create_task_group() as group:
                for place in range(SIDE_BY_SIDE):
                    group.start_soon(one_after_another, dynamic, place, number)
            while len(dynamic):  # noqa: ASYNC110 - nobody tells
                await anyio.sleep(0.001)

        await rounds(once)


async def test_children_that_crash_and_are_deleted() -> None:
    async def one_after_another(supervisor: Supervisor, place: int, number: int) -> None:
        for each in range(EACH):
            child = Twice(f"{place}-{number}-{each}")
            await supervisor.start_child(child.spec)
            await child.stays.wait()
            await supervisor.stop_child(child.spec.id)
            supervisor.delete_child(child.spec.id)

    async with running(Supervisor("s", [], intensity=Intensity.unlimited(0.1))) as supervisor:

        async def once(number: int) -> None:
            async with anyio.create_task_group() as group:
                for place in range(SIDE_BY_SIDE):
                    group.start_soon(one_after_another, supervisor, place, number)

        await rounds(once)
