"""Retention goes on while erasures come and go; neither undoes what the other does."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import anyio
import pytest

from intendant import Retention, Runtime
from intendant.adapters.memory import MemoryColdStore, MemoryFileStore, MemoryStore
from intendant.runtime.audit import audit
from intendant.testing.clock import VirtualClock, virtual_backend
from tests.erasure.planted import everything, plant, refuse_some, secret, shop

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("rare_looks")]
SWEEP = 600
SHORT = Retention(hot=timedelta(seconds=1800), total=timedelta(seconds=5400))


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return virtual_backend(request.param)


@pytest.mark.parametrize("cold", [True, False])
@pytest.mark.parametrize("session", ["s1", ""])
async def test_erased_in_every_stage_of_retention(cold: bool, session: str) -> None:
    """At hand, only in cold state, partly gone, and all gone but what retention told of it."""
    for age in (3600, 5400 + SWEEP, 9000):
        hot, files = MemoryStore(), MemoryFileStore()
        archive = MemoryColdStore() if cold else None
        async with Runtime(
            [shop],
            hot=hot,
            cold=archive,
            files=files,
            clock=VirtualClock(),
            lease=1e6,
            retention=SHORT,
            publisher=refuse_some,
        ) as runtime:
            for turn in range(3):
                for tenant, each in (("acme", "s1"), ("acme", "s2"), ("beta", "s1")):
                    await plant(runtime, tenant, each, 3, 3 * turn)
                await anyio.sleep(age / 3)
            if session:
                await runtime.erase_session("acme", "s1")
            else:
                await runtime.erase_tenant("acme")
            found = await everything(hot, archive, files, ["acme", "beta"])
            assert not found.holds(secret("acme", "s1")), age
            assert found.holds(secret("acme", "s2")) is bool(session), age
            assert found.holds(secret("beta", "s1")), age
            await anyio.sleep(SWEEP * 2)
            await check(hot)
            for tenant, each in (("acme", "s1"), ("acme", "s2")):
                await plant(runtime, tenant, each, 3, 0)
            await anyio.sleep(5400 + 3 * SWEEP)
            await check(hot)
            left = await everything(hot, archive, files, ["acme"])
            assert not left.keys, "retention frees them as ever"


async def check(hot: MemoryStore) -> None:
    found = await audit(hot.log(0))
    assert found.sound, [str(each) for each in found.findings]
