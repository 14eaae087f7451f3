"""What the actors of one partition share: the doors to its log, its clock, its handlers. No state of theirs."""

from __future__ import annotations

from dataclasses import dataclass, field

import anyio

from intendant.actors.deadlines import Deadlines
from intendant.actors.endings import Endings
from intendant.actors.wal_writer import WalWriter
from intendant.domain.ports import Clock, FileStore, LogReader
from intendant.parking import Seam
from intendant.realm import Repertoire


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a partition takes on. Counts."""

    running: int = 1_000  # handlers that run at a time; what is accepted beyond waits its turn
    open: int = 200_000  # executions that are accepted and have not ended; beyond, intents get Overloaded
    session_mailbox: int = 10_000  # messages that wait for one session


@dataclass(frozen=True, slots=True)
class Services:
    """Handed to every actor of a partition."""

    partition: int
    log: LogReader
    writer: WalWriter
    repertoire: Repertoire
    clock: Clock
    seam: Seam
    deadlines: Deadlines
    files: FileStore
    threads: anyio.CapacityLimiter
    endings: Endings = field(default_factory=Endings)
    limits: Limits = field(default_factory=Limits)
