"""Random histories of several tenants and sessions, some of them erased, over every hot store: all else stays."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from intendant import Runtime, Shutdown, StillOpen
from intendant.adapters.memory import MemoryColdStore, MemoryFileStore, MemoryStore
from intendant.adapters.redis import RedisStore
from intendant.adapters.sqlite import SqliteStore
from intendant.domain.erasure import Scope
from intendant.domain.ports import ColdStore, Store
from intendant.domain.records import decode_entry
from intendant.runtime.audit import audit
from tests.erasure.planted import COMMON, Everything, everything, plant, secret, shop

pytestmark = [pytest.mark.anyio, pytest.mark.in_turn]
TENANTS = ["acme", "acme.b", "b"]
SESSIONS = ["s", "s1", "t"]
RUNS = {"memory": 6, "sqlite": 3, "redis": 2}


@pytest.mark.parametrize("kind", ["memory", "sqlite", "redis"])
async def test_what_is_not_erased_is_as_it_was(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RedisStore, "loss_window", 0.02)
    for seed in range(RUNS[kind]):
        chance = random.Random(f"{kind}-{seed}")
        hot: Store
        if kind == "redis":
            hot = RedisStore(f"{request.getfixturevalue('redis_url')}-{seed}")
        else:
            hot = MemoryStore() if kind == "memory" else SqliteStore(tmp_path / f"{seed}.db")
        await live_and_erase(chance, hot, MemoryColdStore() if seed % 2 else None, f"{kind}, seed {seed}")


async def live_and_erase(chance: random.Random, hot: Store, cold: ColdStore | None, when: str) -> None:
    files = MemoryFileStore()
    lives: dict[tuple[str, str], int] = {}  # which secrets must be there
    async with Runtime([shop], hot=hot, cold=cold, files=files, shutdown=Shutdown(drain=0)) as runtime:
        for _ in range(chance.randint(8, 16)):
            tenant, session = chance.choice(TENANTS), chance.choice(SESSIONS)
            if chance.random() < 0.7 or not lives:
                lives[tenant, session] = await grow(chance, runtime, tenant, session, lives.get((tenant, session), 0))
                continue
            scope = Scope(tenant, session if chance.random() < 0.6 else "")
            before = await everything(hot, cold, files, TENANTS)
            await erase(chance, runtime, scope)
            after = await everything(hot, cold, files, TENANTS)
            lives = {place: n for place, n in lives.items() if not is_of(place, scope)}
            check(before, after, scope, lives, f"{when}: {scope}")
    await hot.open()
    found = await audit(hot.log(0))
    assert found.sound, (when, [str(each) for each in found.findings])
    await hot.close()


async def grow(chance: random.Random, runtime: Runtime, tenant: str, session: str, first: int) -> int:
    count = chance.randint(1, 3)
    handle = await plant(runtime, tenant, session, count, first)
    if chance.random() < 0.3:
        order = {"n": 1, "word": secret(tenant, session), "seconds": 1000}
        await handle.submit("shop.hold", order, idempotency_key=f"{order['word']}hold-{first}")
    return first + count


async def erase(chance: random.Random, runtime: Runtime, scope: Scope) -> None:
    options: dict[str, Any] = {"drop_open": chance.random() < 0.5}
    for _ in range(2):
        try:
            if scope.session:
                await runtime.erase_session(scope.tenant, scope.session, **options)
            else:
                await runtime.erase_tenant(scope.tenant, **options)
        except StillOpen:
            options["drop_open"] = True
        else:
            return


def is_of(place: tuple[str, str], scope: Scope) -> bool:
    return place[0] == scope.tenant and scope.session in ("", place[1])


def check(before: Everything, after: Everything, scope: Scope, lives: dict[tuple[str, str], int], when: str) -> None:
    """Nothing of the scope is left; of everything else what was there is there, byte for byte."""
    gone = [secret(scope.tenant, session) for session in ([scope.session] if scope.session else SESSIONS)]
    assert not any(after.holds(word) for word in gone), when
    assert all(after.holds(secret(*place)) for place in lives), when
    for name in ("documents", "keys", "files"):
        kept: dict[Any, Any] = {}
        for key, value in getattr(before, name).items():
            erased = any(word.encode() in repr((key, value)).encode() for word in gone)
            alone = key[0] == scope.tenant and not any(place[0] == scope.tenant for place in lives)
            erased = erased or (alone and value == COMMON)  # nobody else names it
            if not erased and (scope.session or key[0] != scope.tenant):
                kept[key] = value
        assert {key: getattr(after, name).get(key) for key in kept} == kept, f"{when}: {name}"
    for tenant in TENANTS:
        if scope.session or tenant != scope.tenant:
            own = scope.session if tenant == scope.tenant else ""
            old, new = records(before, tenant, own), records(after, tenant, own)
            assert {place: new.get(place) for place in old} == old, when


def records(found: Everything, tenant: str, without: str) -> dict[int, Any]:
    """By sequence, in either store, all but those of a session."""
    kept: dict[int, Any] = {}
    for entry in found.cold_entries.get(tenant, []) + found.entries[tenant]:
        for record in decode_entry(entry):
            own = record.session == without or secret(tenant, without).encode() in bytes(record.raw)
            if not (without and own):
                kept[record.sequence] = record
    return kept
