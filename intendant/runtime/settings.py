"""What a runtime was made with."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Literal

from msgspec import Struct, field

from intendant.actors.outbox_relay import RelaySettings
from intendant.actors.services import Limits, Periods
from intendant.context import Context, Facts
from intendant.domain.ports import Clock, ColdStore, FileStore, Publisher, Store
from intendant.domain.retention import RetentionPolicy
from intendant.domain.telemetry import Telemetry
from intendant.realm import Repertoire
from intendant.runtime.config import DurabilityName, Shutdown
from intendant.steps.recording import Recording
from intendant.supervisor import Event as SupervisorEvent


class Settings(Struct, frozen=True):
    """Each means what `Runtime` says of it. Times are seconds."""

    name: str
    repertoire: Repertoire
    hot: str | Store | None
    cold: str | ColdStore | None
    durability: DurabilityName | None
    own: Collection[int] | None
    publisher: Publisher | None
    files: str | FileStore | None
    takeover_timeout: float
    lease: float
    timeout: float
    limits: Limits
    retention: RetentionPolicy
    relay: RelaySettings
    shutdown: Shutdown
    on_failure: Literal["report", "cancel"]
    on_event: Callable[[SupervisorEvent], None] | None
    clock: Clock
    control: Path | None = None  # the directory of the socket
    watchdog: float | None = None
    context: Callable[[Recording, Facts], Context] = Context  # for tests: makes what handlers see
    periods: Periods = field(default_factory=Periods)
    telemetry: Telemetry | None = None

    def __repr__(self) -> str:
        return f"Settings(name={self.name!r})"  # URLs hold passwords
