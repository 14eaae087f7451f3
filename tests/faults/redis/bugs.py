"""Faults planted in the Redis adapter of a child process: each breaks one promise, which the suites must notice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import anyio
from msgspec.structs import replace

from intendant.adapters.redis import RedisStore, connection, store
from intendant.adapters.redis.connection import Word
from intendant.adapters.redis.function_library import LIBRARY
from intendant.adapters.redis.keys import base_of, pack_event
from intendant.adapters.redis.log import RedisLog
from intendant.domain.commit import Batch, KeysTaken, Verdict

SLOW: Final = 0.02  # seconds
FENCE: Final = "local function fence(epoch, token, asked_epoch, asked_token)\n"

honest_commit = RedisLog.commit
honest_key = RedisLog.key
honest_open = RedisStore.open


def no_fence() -> None:
    """The server takes what any owner sends, whoever came after it."""
    assert FENCE in LIBRARY.code
    library = replace(LIBRARY, code=LIBRARY.code.replace(FENCE, FENCE + "do return nil end\n"))
    for module in (connection, store):
        vars(module)["LIBRARY"] = library


def acknowledge_before_commit() -> None:
    """A batch is sent when the next one comes, and told to be committed before; a slow server makes that a while."""
    late: list[Batch] = []

    async def commit(self: RedisLog, batch: Batch) -> Verdict | KeysTaken:
        await anyio.sleep(SLOW)
        if late:
            await honest_commit(self, late[0])
        late[:] = [batch]
        return Verdict.OK

    patch(RedisLog, "commit", commit)


def outbox_outside_the_commit() -> None:
    """Events are written once the next batch with events comes; a slow server makes that a while."""
    late: list[Batch] = []
    opened: list[RedisStore] = []

    async def open(self: RedisStore) -> None:
        opened[:] = [self]
        await honest_open(self)

    async def commit(self: RedisLog, batch: Batch) -> Verdict | KeysTaken:
        await anyio.sleep(SLOW)
        if late and batch.outbox_adds:
            commands = events(late.pop())
            await opened[0].pool().use(0, lambda reads: reads.call(*commands))
        verdict = await honest_commit(self, replace(batch, outbox_adds=[]))
        if verdict is Verdict.OK and batch.outbox_adds:
            late[:] = [batch]
        return verdict

    patch(RedisStore, "open", open)
    patch(RedisLog, "commit", commit)


def events(batch: Batch) -> list[list[Word]]:
    """The commands that add a batch's events."""
    base = base_of("intendant", 0)
    bodies: list[Word] = ["HSET", f"{base}outbox"]
    positions: list[Word] = ["ZADD", f"{base}waiting"]
    for position, tenant, session, time, body in batch.outbox_adds:
        bodies += (position, pack_event(tenant, session, time, body))
        positions += (position, position)
    return [bodies, positions]


def key_without_tenant() -> None:
    """Two tenants that use the same key get in each other's way."""

    async def commit(self: RedisLog, batch: Batch) -> Verdict | KeysTaken:
        claims = [("shared", key, value) for _, key, value in batch.claims]
        if len({key for _, key, _ in claims}) < len(claims):
            return await honest_commit(self, batch)  # two of them at once
        verdict = await honest_commit(self, replace(batch, claims=claims))
        if isinstance(verdict, KeysTaken):
            taken = {key: value for (_, key), value in verdict.taken.items()}
            return KeysTaken({(of, key): taken[key] for of, key, _ in batch.claims if key in taken})
        return verdict

    async def key(self: RedisLog, tenant: str, key: str) -> bytes | None:
        return await honest_key(self, "shared", key)

    patch(RedisLog, "commit", commit)
    patch(RedisLog, "key", key)


def patch(owner: type[Any], name: str, replacement: Callable[..., Any]) -> None:
    """This process is a child that ends soon: nothing is put back."""
    setattr(owner, name, replacement)


BUGS: Final[dict[str, Callable[[], None]]] = {
    each.__name__: each for each in (no_fence, acknowledge_before_commit, outbox_outside_the_commit, key_without_tenant)
}
