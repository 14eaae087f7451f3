"""What a store holds in the end, in terms that are the same in every run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from intendant import Event, Outcome
from intendant.domain import state as states
from intendant.domain.replay import World


@dataclass(frozen=True)
class End:
    """What a store holds in the end, in terms that are the same in every run: keys instead of ids, no times."""

    executions: dict[tuple[str, str], Any]
    sessions: dict[tuple[str, str], Any]
    documents: dict[tuple[str, str, str], Any]
    events: dict[tuple[str, str], list[Any]]


def plain(outcome: Outcome[Any]) -> tuple[Any, ...]:
    """An outcome without ids. The last of several crashes need not be the same in every run."""
    error = outcome.error and (outcome.error.code, outcome.error.message if outcome.error.code != "crashed" else "")
    sagas = [
        (saga.path, saga.compensated, sorted((step.path, step.state.value) for step in saga.steps))
        for saga in outcome.sagas
    ]
    children = sorted((child.path, child.session, child.abandoned) for child in outcome.children)
    return (outcome.status.value, outcome.result, outcome.artifacts, error, outcome.events, sorted(sagas), children)


def end_of(world: World, events: Sequence[Event]) -> End:
    """What a store holds, and what was published, in terms that are the same in every run."""
    keys = {(tenant, execution): key for (tenant, key), execution in world.keys.items()}
    for child, state in world.executions.items():  # the oldest first, and so parents before their children
        if state.parent is not None:
            above, attempt = keys[state.tenant, state.parent.execution], state.key.rpartition(":")[2]
            keys[child] = f"{above}/{state.parent.path}:{attempt}"
    executions: dict[tuple[str, str], Any] = {}
    for (tenant, id), state in world.executions.items():
        if state.parent is not None and state.status is states.Status.CANCELLED:
            continue  # how far it had come is not the same in every run
        key = keys[tenant, id]
        told = ("either",) if key.startswith("either") and state.status.ended else plain(states.outcome_of(state))
        executions[tenant, key] = (state.session, state.type, told)
    sessions = {key: (each.user_id, each.solution, each.closed) for key, each in world.sessions.items()}
    documents = {
        (tenant, collection, keys.get((tenant, key), key)): msgspec.msgpack.decode(body)
        for (tenant, collection, key), body in world.documents.items()
    }
    published: defaultdict[tuple[str, str], dict[str, Any]] = defaultdict(dict)
    for event in events:
        number = int(event.id.rpartition("-")[2])
        place = (keys[event.tenant, event.execution_id], number)
        published[event.tenant, event.session][event.id] = (*place, event.name, event.payload)
    in_order = {session: sorted(events.values()) for session, events in published.items()}
    return End(executions, sessions, documents, in_order)
