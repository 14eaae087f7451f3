"""The working process: opens the runtime, hands in the work of one run, and tells how it goes.

It can be killed at any moment and started again with the same assignment. It keeps no account of how far it came:
it hands in everything again, and what was accepted before is found by its idempotency key.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import warnings
from pathlib import Path

import anyio
import msgspec

from intendant import Limits, PartitionOwned, Runtime

from .audit import audit, read_books
from .content import content
from .desk import Desk
from .events import EventFile, delivered
from .flow import READER, run_all
from .insights import insights
from .journey import journey
from .messages import Assignment, Finished, Opened, Progress, Refused, tell
from .outcomes import outcomes
from .shelf import Shelf
from .tally import count_into, read_tally

RUNNING_MAX = 64
"""Handlers at a time. The work is computing: more of them would only all end later."""

TAKEOVER_SECONDS = 2.0
DELIVERY_SECONDS = 30.0
TELL_SECONDS = 0.05


async def work(assignment: Assignment) -> None:
    """Open the store, work the assignment off, audit the log, tell what came of it."""
    folder = Path(assignment.work)
    bodies, events = folder / f"bodies-{assignment.run}", folder / f"events-{assignment.run}"
    runtime = Runtime(
        [content, insights, journey, outcomes],
        hot=f"sqlite:{folder / 'demo.db'}",
        publisher=EventFile(events),
        takeover_timeout=TAKEOVER_SECONDS,
        limits=Limits(running=RUNNING_MAX),
    )
    async with runtime:
        tell(Opened(resumed=runtime.stats().open))
        count_into(bodies)
        shelf = Shelf(folder / "shelf")
        desk = Desk(runtime, assignment.run)
        async with anyio.create_task_group() as group:
            group.start_soon(tell_how_it_goes, desk)
            studies, report, roadmap = await run_all(desk, shelf, assignment.sources)
            tenants = [*(source.root for source in assignment.sources), READER]
            await everything_ended(runtime, tenants)
            books = await read_books(runtime, tenants, assignment.started)
            figures = audit(books, read_tally(bodies), delivered(events), desk.accepted)
            tell(Finished(figures, studies.studies, report, roadmap))
            group.cancel_scope.cancel()


async def everything_ended(runtime: Runtime, tenants: list[str]) -> None:
    """Wait for what an earlier, interrupted run left open, and for the last events to leave."""
    for tenant in tenants:
        for status in ("accepted", "running"):
            for view in await runtime.executions(tenant, status=status, limit=10_000):
                await runtime.execution(tenant, view.id).outcome()
    with anyio.fail_after(DELIVERY_SECONDS):
        for tenant in tenants:
            while await runtime.outbox.pending(tenant, limit=1):  # noqa: ASYNC110  it is the store that is asked
                await anyio.sleep(0.01)


async def tell_how_it_goes(desk: Desk) -> None:
    """Tell the driver, some twenty times a second, until cancelled."""
    while True:
        stats = desk.runtime.stats()
        tell(Progress(desk.done, stats.open, desk.expected, stats.records, desk.phase))
        await anyio.sleep(TELL_SECONDS)


async def work_until_told_to_stop(assignment: Assignment) -> None:
    """Work; on SIGTERM leave the runtime in good order: what runs is suspended and goes on at the next start."""
    async with anyio.create_task_group() as group:
        group.start_soon(_stop_on_signal, group.cancel_scope)
        try:
            await work(assignment)
        except PartitionOwned as error:
            tell(Refused(f"Another demo is at work in {assignment.work}: {error}"))
        group.cancel_scope.cancel()


async def _stop_on_signal(scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()


def main() -> int:
    """Read the assignment from standard input and work it off."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    warnings.simplefilter("ignore", SyntaxWarning)  # of the files that are read; there are thousands
    warnings.simplefilter("ignore", DeprecationWarning)
    # Each parsed file makes and drops some hundred thousand objects; looking through all others after every 700 of
    # them, as is the default, takes a third of the time.
    gc.set_threshold(100_000)
    assignment = msgspec.json.decode(sys.stdin.buffer.read(), type=Assignment)
    try:
        anyio.run(work_until_told_to_stop, assignment)
    except* BrokenPipeError:
        logging.getLogger(__name__).warning("nobody listens any more")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or closing it complains once more
    return 0


if __name__ == "__main__":
    sys.exit(main())
