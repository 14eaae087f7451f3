"""Executions."""

from __future__ import annotations

from starlette.responses import Response

from intendant.http.cursors import seal, unseal
from intendant.http.endpoint import Call, json
from intendant.http.parameters import Answer, Cancelled, HttpPage, summary
from intendant.http.waiting import outcome_or_accepted


async def list(call: Call) -> Response:
    """List executions."""
    query = call.query
    page = await call.runtime.executions(
        call.tenant,
        status=query.status,
        type=query.type,
        session=query.session,
        solution=query.solution,
        parent=query.parent,
        since=query.since,
        limit=query.limit,
        cursor=unseal(call.tenant, "executions", query.cursor),
    )
    return json(HttpPage([summary(each) for each in page.items], seal(call.tenant, "executions", page.cursor)))


async def show(call: Call) -> Response:
    """Show an execution."""
    return json(await call.runtime.view_execution(call.tenant, call.path["execution"]))


async def outcome(call: Call) -> Response:
    """Its outcome, or 202 while it has not ended."""
    execution = call.runtime.execution(call.tenant, call.path["execution"])
    if (await execution.status()).ended:
        return json(await execution.outcome(timeout=call.seconds))
    return await outcome_or_accepted(call, execution)


async def signal(call: Call) -> Response:
    """Send a signal; the `Idempotency-Key` is its id."""
    execution = call.runtime.execution(call.tenant, call.path["execution"])
    await execution.signal(call.path["name"], call.body.payload, id=call.key, timeout=call.seconds)
    return Response(status_code=204)


async def query(call: Call) -> Response:
    """Ask its handler."""
    execution = call.runtime.execution(call.tenant, call.path["execution"])
    return json(Answer(await execution.query(call.path["name"], timeout=call.seconds)))


async def cancel(call: Call) -> Response:
    """Cancel an execution."""
    execution = call.runtime.execution(call.tenant, call.path["execution"])
    return json(Cancelled(await execution.cancel(timeout=call.seconds)))
