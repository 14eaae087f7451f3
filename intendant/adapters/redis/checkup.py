"""What can be wrong with a Redis server, and what to set."""

from __future__ import annotations

import time
from typing import Final

from intendant.adapters.checkup import Check
from intendant.adapters.redis.address import parse
from intendant.adapters.redis.connection import Connection
from intendant.adapters.redis.keys import store_key
from intendant.adapters.redis.server import VERSION_MIN, WAITAOF_SINCE, Facts, facts_of, guarantee, usage_of
from intendant.domain.errors import StoreUnavailable
from intendant.domain.ports import Durability, Usage

TRIPS: Final = 20
FULL_SHARE: Final = 0.8


async def check_up(url: str, asked: Durability) -> list[Check]:
    """Look at the server that a URL names, and at whether it gives the level that is asked for. It changes nothing.

    Raises InvalidValue for a URL that is none.
    """
    address = parse(url)
    try:
        async with await Connection.make(address) as connection:
            facts = await facts_of(connection)
            usage = await usage_of(connection, address.memory)
            trip = await _round_trip(connection)
            [there] = await connection.call(("HGET", store_key(address.prefix), "partitions"))
    except StoreUnavailable as error:
        return [Check("server", "wrong", str(error), "start it, or name another one; look at user and password")]
    made = f"with {int(there)} partitions" if there else "not yet: it is made by the first runtime"
    return [
        *of_facts(facts, usage, asked, address.assume, address.name),
        Check("round trip", "ok" if trip < 5 else "warning", f"{trip:.2f} ms", "" if trip < 5 else "move it nearer"),
        Check("store", "ok", f"prefix {address.prefix}, made {made}"),
    ]


async def is_made(url: str) -> bool:
    """Whether there is a store; in a cluster it is taken for granted. Raises StoreUnavailable, InvalidValue."""
    address = parse(url)
    async with await Connection.make(address) as connection:
        if (await facts_of(connection)).clustered:
            return True
        [there] = await connection.call(("HGET", store_key(address.prefix), "partitions"))
        return there is not None


def of_facts(facts: Facts, usage: Usage, asked: Durability, assume: Durability | None, name: str) -> list[Check]:
    """Each setting by itself, and what all of them give."""
    settings = facts.settings or {}
    always = settings.get("appendfsync") == "always"
    rewrite = settings.get("no-appendfsync-on-rewrite", "not told")
    checks = [
        _wanted("version", ".".join(map(str, facts.version)), facts.version >= VERSION_MIN, "use Redis 7.0 or newer"),
        _wanted("role", facts.role, facts.role == "master", "name the primary: a replica takes no writes"),
        _wanted("maxmemory-policy", facts.policy, facts.policy == "noeviction", _set("maxmemory-policy noeviction")),
        _wanted("appendonly", _told(facts.appends), facts.appends is not False, _set("appendonly yes")),
        _wanted("appendfsync", settings.get("appendfsync", "not told"), settings.get("appendfsync") != "no",
                _set("appendfsync everysec, or always for level fsync")),
        _wanted("no-appendfsync-on-rewrite", rewrite, not (always and rewrite == "yes"),
                _set("no-appendfsync-on-rewrite no: always is not always with it")),
        _room(usage),
    ]  # fmt: skip
    if asked >= Durability.FSYNC and not always:
        waits = facts.version >= WAITAOF_SINCE
        found = "each commit waits for it, up to a second" if waits else "there is none before Redis 7.2"
        checks.append(Check("WAITAOF", "warning" if waits else "wrong", found, _set("appendfsync always")))
    try:
        given = guarantee(facts, asked, assume, name).durability
    except StoreUnavailable as error:
        return [*checks, Check("durability", "wrong", str(error), "change that, or ask for less")]
    return [*checks, Check("durability", "ok", f"{given.name.lower()}, asked for is {asked.name.lower()}")]


def _wanted(name: str, found: str, is_so: bool, change: str) -> Check:
    return Check(name, "ok", found) if is_so else Check(name, "wrong", found, change)


def _room(usage: Usage) -> Check:
    if not usage.limit:
        change = "set maxmemory, to what the machine has room for: then new work is refused before memory is out"
        return Check("maxmemory", "warning", "no limit", change)
    found = f"{usage.used / 1e6:,.0f} of {usage.limit / 1e6:,.0f} MB are used"
    if usage.share < FULL_SHARE:
        return Check("maxmemory", "ok", found)
    return Check("maxmemory", "warning", found, "raise it, or shorten retention: at 90 % new work is refused")


def _told(appends: bool | None) -> str:
    return "not told" if appends is None else "yes" if appends else "no"


def _set(setting: str) -> str:
    return f"CONFIG SET {setting}, and the same in its configuration file"


async def _round_trip(connection: Connection) -> float:
    """The median of some, in ms."""
    took: list[float] = []
    for _ in range(TRIPS):
        began = time.perf_counter()
        await connection.call(("TIME",))
        took.append((time.perf_counter() - began) * 1_000)
    return sorted(took)[TRIPS // 2]
