"""What the actors of one partition share: the doors to its log, its clock, its handlers. No state of theirs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import anyio
from msgspec import Struct, field

from intendant.actors.barred import Barred
from intendant.actors.deadlines import Deadlines
from intendant.actors.endings import Endings
from intendant.actors.kin import Kin
from intendant.actors.stage import Stage
from intendant.actors.wal_writer import WalWriter
from intendant.context import Context, Facts
from intendant.domain.ports import Clock, FileStore, LogReader
from intendant.domain.quotas import LimitsOf, Quotas, TenantLimits, limits_of
from intendant.domain.telemetry import Tracing
from intendant.parking import Seam
from intendant.realm import Repertoire
from intendant.steps.recording import Recording


class Limits(Struct, frozen=True):
    """How much a partition takes on. Counts, but for `session_idle`.

    `tenants` says what a single tenant may ask for: by its id ("*" stands for all others), or by a function of it.
    """

    running: int = 1_000  # handlers that run at a time; what is accepted beyond waits its turn
    resident: int = 1_000  # handlers that stay in memory while they wait; beyond, the one that waits longest leaves it
    open: int = 200_000  # executions that are accepted and have not ended; beyond, intents get Overloaded
    session_concurrency: int = 16  # executions of a session that have begun and not ended, unless the session says
    session_mailbox: int = 10_000  # messages that wait for one session
    sessions_resident: int = 10_000  # sessions that stay in memory; beyond, those not asked longest leave it
    session_idle: float = 300.0  # seconds after which one that nobody asks leaves memory
    deaths: int = 3  # of the process while an execution ran and recorded nothing; then it runs alone once more
    tenants: Mapping[str, TenantLimits] | LimitsOf | None = None

    def __post_init__(self) -> None:
        if self.deaths < 1:
            raise ValueError(f"deaths must be 1 or more, not {self.deaths}")
        if self.sessions_resident < 1:
            raise ValueError(f"sessions_resident must be 1 or more, not {self.sessions_resident}")
        if not self.session_idle > 0:
            raise ValueError(f"session_idle must be more than 0 seconds, not {self.session_idle}")


class Periods(Struct, frozen=True):
    """Seconds between two looks at what nobody announces; None is each one's own. Virtual time looks seldom."""

    gauge: float | None = None  # how full the hot store is
    sweep: float | None = None  # what retention takes away
    wall_clock: float | None = None  # whether somebody has set it while timers wait


class Services(Struct, frozen=True):
    """Handed to every actor of a partition."""

    partition: int
    log: LogReader
    writer: WalWriter
    repertoire: Repertoire
    clock: Clock
    seam: Seam
    deadlines: Deadlines
    files: FileStore
    threads: Mapping[str, anyio.CapacityLimiter]  # by realm
    endings: Endings = field(default_factory=Endings)
    limits: Limits = field(default_factory=Limits)
    quotas: Quotas = field(default_factory=lambda: Quotas(limits_of(None)))
    barred: Barred = field(default_factory=Barred)
    stage: Stage = field(default_factory=Stage)
    kin: Kin = field(default_factory=Kin)
    context: Callable[[Recording, Facts], Context] = Context  # makes what a handler sees
    tracing: Tracing | None = None
