"""The log on Redis against the log in memory: what is trimmed and rewritten over many days is read the same."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from msgspec.structs import replace

from intendant.adapters.memory import MemoryStore
from intendant.adapters.redis import RedisStore
from intendant.domain.commit import Batch, Commit, ReplaceEntry, Verdict
from intendant.testing.conformance.pen import Pen, commit
from tests.adapters.conftest import opener

pytestmark = pytest.mark.anyio

DAY = 86_400_000_000  # µs
TENANTS = ("", "a", "a:b", "c")
BATCHES = 150


class Life:
    """One log, written twice; `random` decides what is written and what is read."""

    def __init__(self, random: Random, redis: Pen, memory: Pen) -> None:
        self.random = random
        self.redis = redis
        self.memory = memory
        self.written: list[tuple[str, int]] = []  # tenant and first sequence of entries

    async def write(self) -> None:
        random, end = self.random, self.redis.next
        commits = [commit(random.choice(TENANTS), records=random.randint(1, 4)) for _ in range(random.randint(1, 4))]
        if self.written and random.random() < 0.3:
            commits.append(self._rewriting())
        time = self.redis.time + random.choice((0, 1, DAY // 5, DAY))
        below = random.choice((-1, 0, 1, random.randint(0, end), max(0, end - random.randint(5, 120)), end + 9))
        trims = [(random.choice(TENANTS), below)] if random.random() < 0.15 else []
        batch: Batch = replace(self.redis.seal(*commits, time=time), trims=trims)
        assert await self.redis.send(batch) is Verdict.OK
        tenure = self.memory.tenure
        assert await self.memory.send(replace(batch, epoch=tenure.epoch, token=tenure.token)) is Verdict.OK
        self.written = [*self.written, *((entry[0], entry[1]) for entry in batch.entries)][-40:]

    def _rewriting(self) -> Commit:
        tenant, first = self.random.choice(self.written)
        tenant = tenant if self.random.random() < 0.9 else self.random.choice(TENANTS)
        return commit(tenant, ReplaceEntry(first, self.random.randbytes(9)))

    async def read(self) -> None:
        random = self.random
        tenant, first = random.choice((None, *TENANTS)), random.randint(0, self.redis.next + 3)
        last = random.choice((None, first, first + 7, first + 80))
        limit, newest_first = random.choice((1, 3, 100)), random.random() < 0.5
        found, expected = [
            await pen.log.entries(tenant, first=first, last=last, limit=limit, newest_first=newest_first)
            for pen in (self.redis, self.memory)
        ]
        assert found == expected, (tenant, first, last, limit, newest_first)
        assert await self.redis.log.tenants() == await self.memory.log.tenants()


@pytest.mark.parametrize("seed", range(3))
async def test_every_read_is_the_same(seed: int, test_redis: str, fresh_prefix: Callable[[], str]) -> None:
    url = f"{test_redis}{'&' if '?' in test_redis else '?'}prefix={fresh_prefix()}"
    async with opener(lambda: RedisStore(url))() as redis, opener(MemoryStore)() as memory:
        life = Life(Random(seed), await Pen.take(redis.log(0)), await Pen.take(memory.log(0)))
        for _ in range(BATCHES):
            await life.write()
            for _ in range(3):
                await life.read()
