"""The log and the outbox: reading is all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from starlette.responses import Response

from intendant.domain.records import LogRecord
from intendant.http.cursors import seal, unseal
from intendant.http.endpoint import Call, json
from intendant.http.parameters import HttpPage, Record

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def query(call: Call) -> Response:
    """Query the log."""
    query = call.query
    name = f"wal:{query.order}"
    page = await call.runtime.wal.query(
        call.tenant,
        type=query.type,
        session=query.session,
        execution=query.execution,
        since=query.since,
        until=query.until,
        newest_first=query.order == "newest",
        limit=query.limit,
        cursor=unseal(call.tenant, name, query.cursor),
    )
    return json(HttpPage([_record(each) for each in page.items], seal(call.tenant, name, page.cursor)))


async def pending(call: Call) -> Response:
    """Events that wait."""
    cursor = unseal(call.tenant, "pending", call.query.cursor)
    page = await call.runtime.outbox.pending(call.tenant, limit=call.query.limit, cursor=cursor)
    return json(HttpPage(page.items, seal(call.tenant, "pending", page.cursor)))


async def published(call: Call) -> Response:
    """Events that went out."""
    cursor = unseal(call.tenant, "published", call.query.cursor)
    page = await call.runtime.outbox.published(call.tenant, limit=call.query.limit, cursor=cursor)
    return json(HttpPage(page.items, seal(call.tenant, "published", page.cursor)))


async def dead_letters(call: Call) -> Response:
    """Events that were given up."""
    cursor = unseal(call.tenant, "dead", call.query.cursor)
    page = await call.runtime.outbox.dead_letters(call.tenant, limit=call.query.limit, cursor=cursor)
    return json(HttpPage(page.items, seal(call.tenant, "dead", page.cursor)))


def _record(record: LogRecord) -> Record:
    time = _EPOCH + timedelta(microseconds=record.time)
    return Record(record.sequence, time, record.type, record.session, record.execution, record.payload)
