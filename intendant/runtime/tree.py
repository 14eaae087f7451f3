"""The supervision tree, whole.

    intendant (one_for_one)
    ├─ deadlines
    ├─ partition[n] (rest_for_one)      wal-writer → sessions → executions
    └─ projections (one_for_one)        state-writer[n], outbox-relay[n]

What the log's failure takes with it restarts with it; nobody else's failure restarts a neighbour. Projections are
started again for ever, with back-off: an outage outside makes a lag, not an escalation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from intendant.actors.deadlines import Deadlines
from intendant.runtime.config import Shutdown
from intendant.runtime.partition import LOST, Partition
from intendant.supervisor import (
    Backoff,
    ChildSpec,
    Event,
    Intensity,
    Started,
    Strategy,
    Supervisor,
)

ROOT = "intendant"
_PATIENT = Backoff(initial=0.05, maximum=10.0)


def partition_path(number: int) -> str:
    """Where a partition's supervisor stands."""
    return f"{ROOT}/partition[{number}]"


def build(
    partitions: Sequence[Partition],
    deadlines: Deadlines,
    *,
    on_event: Callable[[Event], None],
    shutdown: Shutdown,
    takeover_timeout: float,
) -> Supervisor:
    """Put the tree together; nothing runs before its root does."""

    async def sweep(status: Started) -> None:
        status.started()
        await deadlines.run()

    children = [ChildSpec("deadlines", sweep)]
    children += [_partition(each, on_event, shutdown, takeover_timeout) for each in partitions]
    children.append(_projections(partitions, on_event, shutdown))
    return Supervisor(ROOT, children, strategy=Strategy.ONE_FOR_ONE, intensity=Intensity(3, 30.0), on_event=on_event)


def _partition(
    partition: Partition, on_event: Callable[[Event], None], shutdown: Shutdown, takeover_timeout: float
) -> ChildSpec:
    async def serve(status: Started) -> None:
        await partition.sessions.run(status)

    async def execute(status: Started) -> None:
        await partition.executions.run(_Then(status, partition.serves))

    start = takeover_timeout + 60.0
    supervisor = Supervisor(
        f"partition[{partition.number}]",
        [
            ChildSpec(
                "wal-writer",
                partition.writer.run,
                stop=partition.writer.stop,
                shutdown=shutdown.flush,
                start_timeout=start,
                fatal=LOST,
            ),
            ChildSpec("sessions", serve, stop=partition.sessions.stop, shutdown=shutdown.flush),
            ChildSpec(
                "executions",
                execute,
                stop=partition.executions.stop,
                shutdown=shutdown.suspend + 1.0,
                start_timeout=300.0,
            ),
        ],
        strategy=Strategy.REST_FOR_ONE,
        intensity=Intensity(5, 30.0),
        on_event=on_event,
        path=ROOT,
    )
    return supervisor.as_child(fatal=LOST)


def _projections(partitions: Sequence[Partition], on_event: Callable[[Event], None], shutdown: Shutdown) -> ChildSpec:
    children: list[ChildSpec] = []
    for partition in partitions:
        if (state_writer := partition.state_writer) is not None:
            name = f"state-writer[{partition.number}]"
            children.append(ChildSpec(name, state_writer.run, stop=state_writer.stop, shutdown=shutdown.flush))
        if (relay := partition.relay) is not None:
            name = f"outbox-relay[{partition.number}]"
            children.append(ChildSpec(name, relay.run, stop=relay.stop, shutdown=shutdown.flush))
    supervisor = Supervisor(
        "projections",
        children,
        strategy=Strategy.ONE_FOR_ONE,
        intensity=Intensity.unlimited(),
        backoff=_PATIENT,
        on_event=on_event,
        path=ROOT,
    )
    return supervisor.as_child()


class _Then:
    """Passes `started` on and does one thing more."""

    def __init__(self, status: Started, then: Callable[[], None]) -> None:
        self._status = status
        self._then = then

    def started(self, value: object = None) -> None:
        """Ready."""
        self._status.started(value)
        self._then()
