"""The metrics of a runtime: one table, from which Prometheus is answered and OpenTelemetry's instruments are made.

All is read when somebody asks, from what is counted anyway; nothing here takes long, waits, or changes anything, so
that an exporter's thread may read while the loop goes on. Labels are of small closed sets: no tenant, session or
execution.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from intendant.actors.outbox_relay import OutboxRelay
from intendant.actors.state_writer import StateWriter
from intendant.domain.telemetry import Distribution, Kind, Labels, Metric, Sample
from intendant.runtime.partition import Partition

if TYPE_CHECKING:
    from intendant.runtime.engine import Engine

Read = Callable[["Engine"], Sequence[Sample]]
_Value = Callable[[Partition], float | Distribution | None]


def read(engine: Engine, metric: Metric) -> Sequence[Sample]:
    """What a metric is at this moment."""
    return METRICS[metric](engine)


def _engine(value: Callable[[Engine], float]) -> Read:
    return lambda engine: [Sample(value(engine))]


def _counted(label: str, counts: Callable[[Engine], Counter[str]]) -> Read:
    def read(engine: Engine) -> list[Sample]:
        return [Sample(count, ((label, name),)) for name, count in sorted(counts(engine).copy().items())]

    return read


def _each(value: _Value) -> Read:
    """Of each partition that is served, unless it has no such value."""
    return lambda engine: list(_samples(engine.live(), value, ()))


def _relay(value: Callable[[OutboxRelay], float]) -> Read:
    return _each(lambda partition: None if partition.relay is None else value(partition.relay))


def _state_writer(value: Callable[[StateWriter], float]) -> Read:
    return _each(lambda partition: None if partition.state_writer is None else value(partition.state_writer))


def _samples(partitions: Sequence[Partition], value: _Value, more: Labels) -> Iterator[Sample]:
    for partition in partitions:
        if (found := value(partition)) is not None:
            yield Sample(found, (("partition", str(partition.number)), *more))


def _by_status(values: Mapping[str, Callable[[Partition], int]]) -> Read:
    def read(engine: Engine) -> list[Sample]:
        live = engine.live()
        return [each for status, value in values.items() for each in _samples(live, value, (("status", status),))]

    return read


def _threads(value: Callable[[Engine, str], float]) -> Read:
    return lambda engine: [Sample(value(engine, realm), (("realm", realm),)) for realm in engine.threads]


def _unseen(partition: Partition) -> int:
    """Open executions whose handlers are not in memory and that do not stand in line: passive, or held."""
    executions, places = partition.executions, partition.executions.places
    return max(len(executions.open) - places.running - places.resident - places.queued, 0)


_ROWS: Final[tuple[tuple[str, Kind, str, str, Read], ...]] = (
    # --- the runtime
    ("intendant.ready", "gauge", "", "1 while calls are answered, else 0", _engine(lambda e: int(e.ready))),
    ("intendant.partitions.lost", "gauge", "{partition}", "Partitions that ended for good while others go on",
     _engine(lambda e: len(e.lost))),
    ("intendant.restarts", "counter", "{restart}", "Children that supervisors started again, by what they are",
     _counted("child", lambda e: e.restarts)),
    ("intendant.refusals", "counter", "{call}", "Calls that got Overloaded, by which limit it was",
     _counted("limit", lambda e: e.refusals)),
    ("intendant.loop.blocks", "counter", "{block}", "Times that the event loop was held too long for the watchdog",
     _engine(lambda e: e.blocked[0])),
    # --- executions and sessions
    ("intendant.executions.open", "gauge", "{execution}", "Executions accepted and not ended, by where they stand",
     _by_status({
         "running": lambda p: p.executions.places.running,
         "waiting": lambda p: p.executions.places.resident,
         "queued": lambda p: p.executions.places.queued,
         "passive": _unseen,
     })),
    ("intendant.executions.ended", "counter", "{execution}", "Executions that have ended, by how",
     _by_status({
         "completed": lambda p: p.endings.completed,
         "failed": lambda p: p.endings.failed,
         "cancelled": lambda p: p.endings.cancelled,
     })),
    ("intendant.executions.places", "gauge", "{place}", "Handlers that may run at a time",
     _each(lambda p: p.executions.services.limits.running)),
    ("intendant.sessions.resident", "gauge", "{session}", "Sessions in memory", _each(lambda p: p.sessions.resident)),
    ("intendant.sessions.mailbox.depth", "gauge", "{message}", "Messages that wait for sessions",
     _each(lambda p: p.sessions.pressed()[0])),
    ("intendant.sessions.mailbox.age", "gauge", "s",
     "How long the oldest message for a session has waited, since a look first saw it",
     _each(lambda p: p.sessions.pressed()[1])),
    ("intendant.timers.near", "gauge", "{timer}", "Timers that are in memory", _each(lambda p: len(p.timers))),
    ("intendant.threads.busy", "gauge", "{thread}", "Plain functions that run in worker threads",
     _threads(lambda e, realm: e.threads[realm].borrowed_tokens)),
    ("intendant.threads.queue.depth", "gauge", "{step}", "Plain functions that wait for a worker thread",
     _threads(lambda e, realm: e.threads[realm].statistics().tasks_waiting)),
    # --- the log
    ("intendant.commits", "counter", "{batch}", "Batches committed", _each(lambda p: p.writer.commits)),
    ("intendant.records", "counter", "{record}", "Records committed", _each(lambda p: p.writer.records)),
    ("intendant.restored", "counter", "{record}", "Acknowledged records that the store had lost",
     _each(lambda p: p.writer.restored)),
    ("intendant.commit.duration", "histogram", "s", "From sending a batch until its outcome was known",
     _each(lambda p: p.writer.durations)),
    ("intendant.commit.records", "histogram", "{record}", "Records of a batch", _each(lambda p: p.writer.sizes)),
    ("intendant.commit.queue.depth", "gauge", "{commit}", "Commits that wait for the next batch",
     _each(lambda p: p.writer.depth)),
    ("intendant.commit.queue.age", "gauge", "s", "How long the batch in flight has been, and so what waits behind it",
     _each(lambda p: p.writer.flying)),
    # --- what follows the log
    ("intendant.cold.lag.records", "gauge", "{record}", "Records that cold state is behind the log",
     _state_writer(lambda w: w.lag)),
    ("intendant.cold.lag.age", "gauge", "s", "How long the oldest record that cold state lacks has been in the log",
     _state_writer(lambda w: w.lag_seconds)),
    ("intendant.outbox.published", "counter", "{event}", "Events published",
     _relay(lambda r: r.published)),
    ("intendant.outbox.failures", "counter", "{attempt}", "Attempts at publishing an event that failed",
     _relay(lambda r: r.failures)),
    ("intendant.outbox.dead_letters", "counter", "{event}", "Events that were given up",
     _relay(lambda r: r.dead)),
    ("intendant.outbox.held_sessions", "gauge", "{session}", "Sessions whose events wait for another attempt",
     _relay(lambda r: r.held_back)),
    ("intendant.outbox.lag.age", "gauge", "s", "How long the oldest event waits that the relay found last",
     _relay(lambda r: r.lag)),
    ("intendant.retention.sweeps", "counter", "{sweep}", "Rounds of retention",
     _each(lambda p: p.sweeper.swept.sweeps)),
    ("intendant.retention.left", "counter", "{execution}", "Executions that left the hot store",
     _each(lambda p: p.sweeper.swept.left)),
    ("intendant.retention.gone", "counter", "{execution}", "Executions that were removed from every store",
     _each(lambda p: p.sweeper.swept.gone)),
    # --- the hot store
    ("intendant.hot.used", "gauge", "By", "The hot store's size at the last look", _engine(lambda e: e.usage.used)),
    ("intendant.hot.limit", "gauge", "By", "How much the hot store may hold; 0 when it knows no limit",
     _engine(lambda e: e.usage.limit)),
)  # fmt: skip

METRICS: Final[Mapping[Metric, Read]] = {Metric(*row[:4]): row[4] for row in _ROWS}
