"""The supervision tree, whole.

    intendant (one_for_one)
    ├─ deadlines
    ├─ partitions (one_for_one, side by side)
    │  └─ partition[n] (rest_for_one)   wal-writer → timers → sessions → executions
    └─ projections (one_for_one)        state-writer[n], outbox-relay[n], retention[n], eraser[n], hot-gauge, foreign

What the log's failure takes with it restarts with it; nobody else's failure restarts a neighbour. A partition that
must not be restarted, or was in vain, is left stopped while others go on; the last one takes the runtime with it.
Projections are started again for ever, with back-off: an outage outside makes a lag, not an escalation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from intendant.actors.deadlines import Deadlines
from intendant.runtime.config import Shutdown
from intendant.runtime.failure import cause_of
from intendant.runtime.partition import LOST, Partition
from intendant.supervisor import (
    Backoff,
    ChildSpec,
    Event,
    Intensity,
    Restart,
    Start,
    Started,
    Strategy,
    Supervisor,
    SupervisorError,
    replace,
)

ROOT = "intendant"
PARTITIONS = f"{ROOT}/partitions"
_PATIENT = Backoff(initial=0.05, maximum=10.0)


class Tree(Struct, frozen=True):
    """The root, and every supervisor below it by its path; those of sessions and executions are their own affair."""

    root: Supervisor
    supervisors: Mapping[str, Supervisor]


def partition_path(number: int) -> str:
    """Where a partition's supervisor stands."""
    return f"{PARTITIONS}/partition[{number}]"


def build(
    partitions: Sequence[Partition],
    deadlines: Deadlines,
    *,
    watchers: Mapping[str, Start],
    on_lost: Callable[[Partition, BaseException], None],
    on_event: Callable[[Event], None],
    shutdown: Shutdown,
    takeover_timeout: float,
) -> Tree:
    """Put the tree together; nothing runs before its root does.

    `watchers` are what else looks at the stores, by name. `on_lost` is told when a partition ends and others go on;
    when none is left, the root escalates.
    """

    async def sweep(status: Started) -> None:
        status.started()
        await deadlines.run()

    def given_up(lost: Partition, error: BaseException) -> bool:
        if all(each.lost for each in partitions if each is not lost):
            return False
        on_lost(lost, error)
        return True

    chains = [_chain(one, on_event, shutdown, takeover_timeout) for one in partitions]
    each = [_partition(one, chain, given_up) for one, chain in zip(partitions, chains, strict=True)]
    owned = Supervisor(
        "partitions", each, side_by_side=True, intensity=Intensity(3, 30.0), on_event=on_event, path=ROOT
    )
    projections = _projections(partitions, watchers, on_event, shutdown)
    children = [
        ChildSpec("deadlines", sweep),
        owned.as_child(fatal=(Exception,)),  # it has spent its budget: there is no other
        projections.as_child(),
    ]
    root = Supervisor(ROOT, children, strategy=Strategy.ONE_FOR_ONE, intensity=Intensity(3, 30.0), on_event=on_event)
    return Tree(root, {one.path: one for one in (root, owned, *chains, projections)})


def _chain(
    partition: Partition, on_event: Callable[[Event], None], shutdown: Shutdown, takeover_timeout: float
) -> Supervisor:
    """What serves a partition: each needs those before it."""

    async def serve(status: Started) -> None:
        await partition.barred.load(partition.log)  # before anybody can be served
        await partition.sessions.run(status)

    async def execute(status: Started) -> None:
        await partition.executions.run(_Then(status, partition.serves))

    start = takeover_timeout + 60.0
    return Supervisor(
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
            ChildSpec("timers", partition.timers.run, stop=partition.timers.stop, start_timeout=300.0),
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
        path=PARTITIONS,
    )


def _partition(
    partition: Partition, supervisor: Supervisor, given_up: Callable[[Partition, BaseException], bool]
) -> ChildSpec:
    async def run(status: Started) -> None:
        """To end because the partition is lost, while others go on, is an end like any other: nothing follows."""
        ready = _Then(status)
        try:
            await supervisor.run(ready)
        except SupervisorError as error:
            if not (ready.was and given_up(partition, cause_of(error))):
                raise

    child = supervisor.as_child(restart=Restart.TRANSIENT, fatal=LOST)
    return replace(child, start=run)


def _projections(
    partitions: Sequence[Partition],
    watchers: Mapping[str, Start],
    on_event: Callable[[Event], None],
    shutdown: Shutdown,
) -> Supervisor:
    children = [
        ChildSpec(
            f"{name}[{partition.number}]",
            _follower(partition, run),
            restart=Restart.TRANSIENT,
            stop=stop,
            shutdown=shutdown.flush,
        )
        for partition in partitions
        for name, run, stop in partition.projections
    ]
    children += [ChildSpec(name, run) for name, run in watchers.items()]
    return Supervisor(
        "projections",
        children,
        strategy=Strategy.ONE_FOR_ONE,
        intensity=Intensity.unlimited(),
        backoff=_PATIENT,
        on_event=on_event,
        path=ROOT,
    )


def _follower(partition: Partition, run: Start) -> Start:
    """What follows a partition's log ends for good with the partition."""

    async def follow(status: Started) -> None:
        if not partition.lost:
            await run(status)

    return follow


class _Then:
    """Passes `started` on, remembers it, and does one thing more."""

    def __init__(self, status: Started, then: Callable[[], None] = lambda: None) -> None:
        self.was = False
        self._status = status
        self._then = then

    def started(self, value: object = None) -> None:
        """Ready."""
        self.was = True
        self._status.started(value)
        self._then()
