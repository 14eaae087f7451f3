"""Sessions and intents."""

from __future__ import annotations

from starlette.responses import Response

from intendant.http.cursors import seal, unseal
from intendant.http.endpoint import Call, json
from intendant.http.parameters import HttpPage
from intendant.http.waiting import outcome_or_accepted


async def create(call: Call) -> Response:
    """Create a session."""
    body = call.body
    session = await call.runtime.create_session(
        call.tenant,
        body.id,
        user_id=body.user_id,
        solution=body.solution,
        metadata=body.metadata,
        concurrency=body.concurrency,
        timeout=call.seconds,
    )
    return json(await session.view(), 201, call.place(f"/v1/sessions/{session.id}"))


async def open(call: Call) -> Response:
    """Get a session, or create it."""
    body = call.body
    session = await call.runtime.open_session(
        call.tenant,
        call.path["session"],
        user_id=body.user_id,
        solution=body.solution,
        metadata=body.metadata,
        concurrency=body.concurrency,
        timeout=call.seconds,
    )
    return json(await session.view())


async def show(call: Call) -> Response:
    """Show a session."""
    return json(await call.runtime.view_session(call.tenant, call.path["session"]))


async def list(call: Call) -> Response:
    """List sessions."""
    query = call.query
    cursor = unseal(call.tenant, "sessions", query.cursor)
    page = await call.runtime.sessions(call.tenant, solution=query.solution, limit=query.limit, cursor=cursor)
    return json(HttpPage(page.items, seal(call.tenant, "sessions", page.cursor)))


async def close(call: Call) -> Response:
    """Close a session."""
    session = call.runtime.session(call.tenant, call.path["session"])
    await session.close()
    return json(await session.view())


async def submit(call: Call) -> Response:
    """Submit an intent; wait for its end as long as `Prefer: wait=` says."""
    body = call.body
    execution = await call.runtime.session(call.tenant, call.path["session"]).submit(
        body.type,
        body.parameters,
        idempotency_key=call.key,
        metadata=body.metadata,
        solution=body.solution,
        priority=body.priority,
        timeout=call.seconds,
    )
    return await outcome_or_accepted(call, execution)
