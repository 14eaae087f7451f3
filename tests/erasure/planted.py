"""Tenants and sessions full of secrets, and everything that can be read of a store."""

from __future__ import annotations

from typing import Any

import anyio
import msgspec
from msgspec import Struct

from intendant import Context, Event, FileReference, Intent, Realm, Runtime, Session
from intendant.domain import state as states
from intendant.domain.ports import ColdStore, FileStore, LogReader, Store

COLLECTIONS = (
    states.DEAD_LETTERS,
    states.EXECUTION_DATA,
    states.EXECUTIONS,
    states.FILES,
    states.SESSION_DATA,
    states.SESSION_STATE,
    states.SESSIONS,
)
COMMON = b"what every session has"
shop = Realm("shop")


def secret(tenant: str, session: str) -> str:
    """Stands in everything that a session gives, and is never an id that may stay."""
    return f"secret-of-{session}-at-{tenant}-"


@shop.handler
async def sell(ctx: Context, order: dict[str, Any]) -> dict[str, Any]:
    """Leaves its order everywhere."""
    word = str(order["word"])
    kept = await ctx.files.put("note", f"{word}file-{order['n']}".encode())
    common = await ctx.files.put("common", COMMON)
    await ctx.step("look", _same, order)
    ctx.emit("sold", order)
    ctx.artifact("receipt", {"word": word, "file": kept.digest, "common": common.digest})
    if order["n"] % 3 == 2:
        raise ValueError(f"{word}as asked")
    return {"word": word, "file": kept.digest}


@shop.handler
async def hold(ctx: Context, order: dict[str, Any]) -> dict[str, Any]:
    """Does not end."""
    await ctx.step("look", _same, order)
    ctx.emit("held", order)
    await ctx.step("again", _same, order)
    await anyio.sleep(order["seconds"])
    return await ctx.step("late", _same, order)


@shop.handler
async def keep(ctx: Context, order: dict[str, Any]) -> str:
    """Puts content, and names it only in the end."""
    kept = await ctx.files.put("note", order["content"].encode())
    await ctx.step("look", _same, {"content": "put"})
    await anyio.sleep(order["seconds"])
    return kept.digest


@shop.handler
async def cling(ctx: Context, order: dict[str, Any]) -> dict[str, Any]:
    """Swallows its cancellation, and goes on as if nothing had been."""
    await ctx.step("look", _same, order)
    try:
        await anyio.sleep(order["seconds"])
    except anyio.get_cancelled_exc_class():
        stubborn.append("cancelled")
    for act in (lambda: ctx.step("late", _same, order), lambda: ctx.files.put("late", order["word"].encode())):
        try:
            await act()
        except BaseException as error:
            stubborn.append(type(error).__name__)
    return order


stubborn: list[str] = []
"""What became of a handler that clings."""


async def _same(order: dict[str, Any]) -> dict[str, Any]:
    return order


async def refuse_some(event: Event) -> None:
    """Publishes nowhere; every other event of an execution that is even ends as a dead letter."""
    if event.payload["n"] % 2:
        raise ConnectionError(f"{event.payload['word']}no post today")


async def plant(runtime: Runtime, tenant: str, session: str, count: int = 3, first: int = 0) -> Session:
    """Fill a session; everything in it has ended when this returns."""
    word = secret(tenant, session)
    handle = await runtime.open_session(tenant, session, user_id=f"{word}user", metadata={"note": word})
    intents = [
        Intent("shop.sell", {"n": n, "word": word}, idempotency_key=f"{word}key-{n}", metadata={"of": word})
        for n in range(first, first + count)
    ]
    executions = await handle.submit_many(intents)
    for execution in executions:
        await execution.outcome()
        await runtime.state.set_execution(tenant, execution.id, {"seen": word})
    await runtime.state.set_session(tenant, session, {"data": word})
    digest = await runtime.files.put(tenant, f"{word}reference".encode())
    await runtime.state.set_file(FileReference(f"ref-{session}", tenant, session, word, word, {"m": word}, digest))
    return handle


class Everything(Struct):
    """All that the ports tell of a store, by tenant (documents, keys, ...), as it is stored."""

    entries: dict[str, list[bytes]]
    documents: dict[tuple[str, str, str], bytes]
    keys: dict[tuple[str, str], bytes]
    journals: dict[tuple[str, str], list[bytes]]
    outbox: list[tuple[str, str, bytes]]
    cold_documents: dict[tuple[str, str, str], bytes | None]
    cold_entries: dict[str, list[bytes]]
    files: dict[tuple[str, str], bytes | None]

    def holds(self, word: str) -> bool:
        """Whether a word stands anywhere."""
        return word.encode() in msgspec.msgpack.encode(
            [
                self.entries,
                list(self.documents.items()),
                list(self.keys.items()),
                list(self.journals.items()),
                self.outbox,
                list(self.cold_documents.items()),
                self.cold_entries,
                list(self.files.items()),
            ]
        )


async def everything(hot: Store, cold: ColdStore | None, files: FileStore, tenants: list[str]) -> Everything:
    """Read all of it."""
    log = hot.log(0)
    found = Everything({}, {}, {}, {}, [], {}, {}, {})
    for tenant in ["", *tenants]:
        found.entries[tenant] = await log.entries(tenant, limit=1_000_000)
        for collection in COLLECTIONS:
            for each in await log.documents(tenant, collection, limit=1_000_000):
                found.documents[tenant, collection, each.key] = each.body
        for key, value in await log.keys(tenant, limit=1_000_000):
            found.keys[tenant, key] = value
        for digest in await files.digests(tenant):
            found.files[tenant, digest] = await files.get(tenant, digest)
        if cold is not None:
            await _read_cold(cold, tenant, found)
    await _read_open(log, found)
    found.outbox = [(each.tenant, each.session, each.body) for each in await log.outbox(limit=1_000_000)]
    return found


async def _read_open(log: LogReader, found: Everything) -> None:
    for member in await log.index(states.OPEN, limit=1_000_000):
        found.journals[member.tenant, member.member] = await log.journal(member.tenant, member.member)


async def _read_cold(cold: ColdStore, tenant: str, found: Everything) -> None:
    for collection in COLLECTIONS:
        for each in await cold.documents(tenant, collection, limit=1_000_000):
            found.cold_documents[tenant, collection, each.key] = each.body
    chunks = await cold.chunks(0, tenant, limit=1_000_000)
    found.cold_entries[tenant] = [entry for chunk in chunks for entry in chunk.entries]
