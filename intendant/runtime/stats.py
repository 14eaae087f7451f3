"""Numbers of a running runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from intendant.runtime.engine import Engine


class Stats(Struct, frozen=True):
    """Numbers of a running runtime, over the partitions it serves. What is counted is counted since it was entered."""

    open: int  # executions accepted and not ended
    running: int  # handlers
    sessions: int  # resident
    commits: int  # batches
    records: int
    restarts: int  # by any supervisor
    published: int  # events
    lag: int  # records that cold state is behind the log; 0 without a cold store
    restored: int = 0  # records that the store had lost, and that were put back
    used: int = 0  # bytes of the hot store at the last look, and
    room: int = 0  # how many it may hold; 0: it knows no limit
    lost: tuple[int, ...] = ()  # partitions that ended for good while others go on
    waiting: int = 0  # handlers that do nothing but wait, in memory
    timers: int = 0  # that are in memory: the near ones
    blocks: int = 0  # times that the event loop was held for longer than `watchdog` allows; 0 without one


def stats_of(engine: Engine) -> Stats:
    """The numbers of this moment."""
    each, live = engine.partitions, engine.live()
    return Stats(
        open=sum(len(partition.executions.open) for partition in live),
        running=sum(partition.executions.running for partition in live),
        sessions=sum(partition.sessions.resident for partition in live),
        commits=sum(partition.writer.commits for partition in each),
        records=sum(partition.writer.records for partition in each),
        restarts=engine.restarts.total(),
        published=sum(partition.relay.published for partition in each if partition.relay),
        lag=engine.lag(),
        restored=sum(partition.writer.restored for partition in each),
        used=engine.usage.used,
        room=engine.usage.limit,
        lost=tuple(engine.lost),
        waiting=sum(partition.executions.places.resident for partition in live),
        timers=sum(len(partition.timers) for partition in live),
        blocks=engine.blocked[0],
    )
