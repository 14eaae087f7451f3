"""Erasing where a store has several partitions: only the tenant's is written, and only its owner may do it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from intendant import NotOwner, Runtime, Shutdown
from intendant.adapters.memory import MemoryFileStore, MemoryStore
from intendant.adapters.redis import RedisStore
from intendant.domain.ids import partition_of
from intendant.domain.ports import Store
from tests.erasure.planted import plant, secret, shop

pytestmark = pytest.mark.anyio
COUNT = 3


def tenant_of(partition: int) -> str:
    """A tenant that lives there."""
    return next(name for name in map("tenant-{}".format, range(1000)) if partition_of(name, COUNT) == partition)


TENANTS = [tenant_of(partition) for partition in range(COUNT)]


@pytest.fixture(params=["memory", "redis"])
def hot(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Store:
    if request.param == "memory":
        return MemoryStore(partitions=COUNT)
    monkeypatch.setattr(RedisStore, "loss_window", 0.05)
    url = str(request.getfixturevalue("redis_url"))
    return RedisStore(f"{url}{'&' if '?' in url else '?'}partitions={COUNT}")


@pytest.fixture
def runtime(hot: Store) -> Callable[..., Runtime]:
    files = MemoryFileStore()

    def make(**options: Any) -> Runtime:
        return Runtime([shop], hot=hot, files=files, shutdown=Shutdown(drain=0), **options)

    return make


async def entries(hot: Store, partition: int) -> list[bytes]:
    return await hot.log(partition).entries(None, limit=1_000_000)


async def test_only_the_tenant_s_partition_is_written(hot: Store, runtime: Callable[..., Runtime]) -> None:
    async with runtime() as running:
        for tenant in TENANTS:
            await plant(running, tenant, "s1", count=1)
        before = [await entries(hot, partition) for partition in range(COUNT)]
        await running.erase_tenant(TENANTS[1])
        after = [await entries(hot, partition) for partition in range(COUNT)]
        assert [old == new for old, new in zip(before, after, strict=True)] == [True, False, True]
        assert secret(TENANTS[1], "s1").encode() not in b"".join(after[1])
        for tenant in (TENANTS[0], TENANTS[2]):
            await plant(running, tenant, "s2", count=1)
            assert len((await running.executions(tenant)).items) == 2


async def test_whoever_does_not_own_it_is_refused(hot: Store, runtime: Callable[..., Runtime]) -> None:
    async with runtime() as running:
        await plant(running, TENANTS[1], "s1", count=1)
    async with runtime(own=[0, 2]) as running:
        for erase in (
            running.erase_tenant(TENANTS[1]),
            running.erase_tenant(TENANTS[1], dry_run=True),
            running.erase_session(TENANTS[1], "s1"),
        ):
            with pytest.raises(NotOwner):
                await erase
    async with runtime(own=[1]) as running:
        assert (await running.erase_session(TENANTS[1], "s1")).executions == 1
