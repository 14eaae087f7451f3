"""A supervision tree on anyio: who is started when, what happens when one of them ends, how all are stopped.

    async def worker(status: Started) -> None:      # a child's whole life
        ...
        status.started()                            # ready: the next one may start
        ...                                         # return: normal exit; raise: crash

    tree = Supervisor("tree", [ChildSpec("log", worker), ChildSpec("reader", worker)], strategy=Strategy.REST_FOR_ONE)
    async with anyio.create_task_group() as group:
        await group.start(tree.run)
        ...
        tree.stop()

`spec` says what a child is; `strategy`, `intensity`, `backoff` and `pace` decide and do nothing; `supervisor` (a
fixed list) and `dynamic` (thousands that come and go) act; `events` is what they tell.

It never knows what a child does, whether something is durable, or which event loop it runs on, and imports only the
standard library and anyio. No exception is lost: each is in an event with its path, and in the chain of what is raised.
"""

from .backoff import Backoff
from .child import ChildCounts, ChildInfo, ChildState, Crash, ResidentInfo
from .dynamic import DynamicSupervisor
from .errors import (
    ChildActive,
    DuplicateChild,
    Escalated,
    NotRunning,
    StartFailed,
    StartTimedOut,
    Stopping,
    SupervisorError,
    UnexpectedExit,
    UnknownChild,
)
from .events import (
    AskFailed,
    ChildCrashed,
    ChildExited,
    ChildRestarting,
    ChildStarted,
    ChildStarting,
    ChildStopped,
    ChildStopping,
    Ending,
    Event,
    IntensityExceeded,
    SupervisorEnding,
    SupervisorEscalated,
    SupervisorStarted,
    SupervisorStopped,
)
from .intensity import Intensity
from .parking import EventParking, Parking
from .spec import AutoShutdown, ChildSpec, Restart, Start, Started
from .strategy import Strategy
from .supervisor import Supervisor
from .value import replace
from .workers import Work, Worker, current_worker

__all__ = [
    "AskFailed",
    "AutoShutdown",
    "Backoff",
    "ChildActive",
    "ChildCounts",
    "ChildCrashed",
    "ChildExited",
    "ChildInfo",
    "ChildRestarting",
    "ChildSpec",
    "ChildStarted",
    "ChildStarting",
    "ChildState",
    "ChildStopped",
    "ChildStopping",
    "Crash",
    "DuplicateChild",
    "DynamicSupervisor",
    "Ending",
    "Escalated",
    "Event",
    "EventParking",
    "Intensity",
    "IntensityExceeded",
    "NotRunning",
    "Parking",
    "ResidentInfo",
    "Restart",
    "Start",
    "StartFailed",
    "StartTimedOut",
    "Started",
    "Stopping",
    "Strategy",
    "Supervisor",
    "SupervisorEnding",
    "SupervisorError",
    "SupervisorEscalated",
    "SupervisorStarted",
    "SupervisorStopped",
    "UnexpectedExit",
    "UnknownChild",
    "Work",
    "Worker",
    "current_worker",
    "replace",
]
