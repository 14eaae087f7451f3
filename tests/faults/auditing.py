"""Whether everything that is derived from the log agrees with the log."""

from __future__ import annotations

from typing import Any

import msgspec

from intendant.actors.acceptance import Claim
from intendant.actors.outbox_relay import event_of
from intendant.domain import state as states
from intendant.domain.journal import Journal, decode_journal_row
from intendant.domain.ports import LogReader
from intendant.domain.records import decode_entry
from intendant.domain.replay import World, replay
from intendant.domain.state import ExecutionState, SessionState
from tests.faults.ledger import count_completed


async def read_world(log: LogReader) -> World:
    """Replay the whole log."""
    world = World()
    first = 0
    while entries := await log.entries(None, first=first, limit=256):
        for entry in entries:
            records = decode_entry(entry)
            replay(records, world)
            first = records[-1].sequence + 1
    return world


async def audit(log: LogReader, world: World | None = None) -> list[str]:
    """Compare everything that is derived from the log with the log, `world` if it is known. Empty when all is well."""
    world = world or await read_world(log)
    found = list(world.violations)
    await _audit_documents(log, world, found)
    open_members = {(each.tenant, each.member) for each in await log.index(states.OPEN, limit=1_000_000)}
    compare(found, "the open set", open_members, world.open)
    timers = {(each.score, each.tenant, each.member) for each in await log.index(states.TIMERS, limit=1_000_000)}
    compare(found, "the timers", timers, world.timers)
    outbox = {item.position: event_of(item).id for item in await log.outbox(limit=1_000_000)}
    compare(found, "the outbox", outbox, world.outbox)
    for (tenant, key), execution in world.keys.items():
        value = await log.key(tenant, key)
        held = None if value is None else msgspec.msgpack.decode(value, type=Claim).execution
        compare(found, f"key {key} of {tenant}", held, execution)
    for tenant, execution in world.executions:
        rows = [decode_journal_row(row) for row in await log.journal(tenant, execution)]
        compare(found, f"the journal of {execution}", rows, world.journals.get((tenant, execution), Journal()).rows)
    for (tenant, collection, session), body in world.documents.items():
        if collection == states.SESSION_STATE:
            own = [each for (of, _), each in world.executions.items() if (of, each.session) == (tenant, session)]
            compare(found, f"the state of {session}", msgspec.msgpack.decode(body), {"count": count_completed(own)})
    return found


async def _audit_documents(log: LogReader, world: World, found: list[str]) -> None:
    tenants = {tenant for tenant, _ in (*world.sessions, *world.executions)}
    tenants |= {tenant for tenant, _, _ in world.documents}
    for tenant in sorted(tenants):
        sessions = {
            (tenant, each.key): msgspec.msgpack.decode(each.body, type=SessionState)
            for each in await log.documents(tenant, states.SESSIONS, limit=1_000_000)
        }
        compare(found, f"sessions of {tenant}", sessions, _of(world.sessions, tenant))
        executions = {
            (tenant, each.key): msgspec.msgpack.decode(each.body, type=ExecutionState)
            for each in await log.documents(tenant, states.EXECUTIONS, limit=1_000_000)
        }
        compare(found, f"executions of {tenant}", executions, _of(world.executions, tenant))
        for collection in (states.SESSION_DATA, states.SESSION_STATE, states.EXECUTION_DATA):
            data = {each.key: each.body for each in await log.documents(tenant, collection, limit=1_000_000)}
            wanted = {
                key: body for (of, place, key), body in world.documents.items() if of == tenant and place == collection
            }
            compare(found, f"{collection} of {tenant}", data, wanted)


def _of(values: dict[tuple[str, str], Any], tenant: str) -> dict[tuple[str, str], Any]:
    return {key: value for key, value in values.items() if key[0] == tenant}


def compare(found: list[str], what: str, held: object, told_by_log: object) -> None:
    if held != told_by_log:
        found.append(f"{what}: the store holds {held!r:.300}, the log tells {told_by_log!r:.300}")
