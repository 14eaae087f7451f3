"""Waiting for an end, as long as somebody listens: what was accepted goes on."""

from __future__ import annotations

from typing import Any

import anyio
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from intendant.domain.state import Outcome
from intendant.http.endpoint import Call, json
from intendant.http.parameters import Accepted
from intendant.runtime.handles import Execution


async def outcome_or_accepted(call: Call, execution: Execution[Any]) -> Response:
    """200 with the outcome if it comes in time, else 202 with the execution's place."""
    outcome = await _outcome(call, execution) if call.wait else None
    if outcome is not None:
        return json(outcome, 200, call.place(f"/v1/executions/{execution.id}"))
    told = Accepted(execution.id, await execution.status())
    return json(told, 202, call.place(f"/v1/executions/{execution.id}"))


async def _outcome(call: Call, execution: Execution[Any]) -> Outcome[Any] | None:
    outcome: Outcome[Any] | None = None
    failure: Exception | None = None
    gone = False

    async def listen() -> None:
        nonlocal gone
        while (await call.request.receive())["type"] != "http.disconnect":
            pass
        gone = True
        group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(listen)
        try:
            with call.application.until_drain(), anyio.move_on_after(call.wait):
                outcome = await execution.outcome()
        except Exception as error:
            failure = error
        group.cancel_scope.cancel()
    if failure is not None:
        raise failure
    if gone:
        raise ClientDisconnect
    return outcome
