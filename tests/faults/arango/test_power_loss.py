"""The machine of ArangoDB loses power, again and again, under load: what the checkpoint says is archived is there."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import anyio
import anyio.to_thread
import pytest
from arango.database import StandardDatabase

from intendant.adapters.arango import ArangoColdStore, schema, writes
from intendant.adapters.arango.driver import Client
from intendant.domain.ports import Store
from tests.arango_standin.process import StandIn
from tests.faults.arango.load import compare, loaded
from tests.infrastructure.tier import full

pytestmark = pytest.mark.anyio
QUARTER = 25  # of a hundred: on each event loop, over each of two hot stores
ARCHIVED_MIN = 50  # records between two losses: fewer prove nothing


async def losses(hot: Store, server: StandIn, count: int) -> None:
    url = f"{server.url}/work"
    chance = random.Random(count)
    async with loaded(hot, ArangoColdStore(f"{url}?timeout=2")) as load:
        for _ in range(count):
            wanted = load.archived + ARCHIVED_MIN
            with anyio.fail_after(60):
                while load.archived < wanted:  # noqa: ASYNC110  nobody announces it
                    await anyio.sleep(0.01)
            await anyio.sleep(chance.random() * 0.2)
            server.kill()
            server.launch(power_lost=True)
            await anyio.to_thread.run_sync(server.wait)
    records = await compare(hot, url)
    print(f"\n{count} losses of power: 0 of {records} records missing in cold state")


async def test_who_does_not_wait_for_the_disk_is_found_out(
    hot_on: Callable[[str], Store], server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A planted fault: collections and writes that are acknowledged before they are on the disk."""

    def careless(collection: str, items: Sequence[writes.Fields], client: Client) -> writes.Faults:
        answer = client.database.collection(collection).insert_many(items, overwrite=True)
        return writes.faults_in(answer, len(items))

    def make(database: StandardDatabase, name: str, address: object) -> None:
        database.create_collection(name)

    def unchecked(*_: object) -> None:
        """Take the collections as they are."""

    monkeypatch.setattr(writes, "write", careless)
    monkeypatch.setattr(schema, "_create", make)
    monkeypatch.setattr(schema, "_check", unchecked)
    with pytest.raises(AssertionError, match="records are archived"):
        await losses(hot_on("sqlite"), server, 1)


async def test_two_losses(hot_on: Callable[[str], Store], server: StandIn) -> None:
    await losses(hot_on("sqlite"), server, 2)


@pytest.mark.stress
@pytest.mark.parametrize("kind", ["redis", "sqlite"])
async def test_many_losses(hot_on: Callable[[str], Store], server: StandIn, kind: str) -> None:
    await losses(hot_on(kind), server, full(QUARTER))
