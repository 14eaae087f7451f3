"""What a runtime was made with and what it found, as an operator wants to read it. Without secrets."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from intendant.adapters.urls import without_secrets
from intendant.runtime.config import resolve_files

if TYPE_CHECKING:
    from intendant.runtime.engine import Engine
    from intendant.runtime.settings import Settings


class Configuration(Struct, frozen=True):
    """Of a running runtime. Times are seconds. `files` is "" where there is no place for them."""

    name: str
    hot: str
    cold: str | None
    files: str
    durability: str  # what an acknowledgement means here
    partitions: int  # of the store,
    own: list[int]  # and those that are served
    handlers: list[str]
    publisher: str | None
    retention: dict[str, str]  # the default, and those of realms and tenants
    limits: dict[str, Any]
    shutdown: dict[str, Any]
    relay: dict[str, Any]
    timeout: float
    takeover_timeout: float
    lease: float
    on_failure: str
    control: str | None
    watchdog: float | None
    telemetry: str | None = None  # who is told


def configuration_of(settings: Settings, engine: Engine) -> Configuration:
    """The settings of a runtime, and what its stores are."""
    stores = engine.stores
    return Configuration(
        name=settings.name,
        hot=stores.hot.name,
        cold=None if stores.cold is None else stores.cold.name,
        files=_files(settings, stores.hot.name),
        durability=stores.hot.durability.name.lower(),
        partitions=stores.hot.partitions,
        own=[each.number for each in engine.partitions],
        handlers=[_handler(*each) for each in sorted(settings.repertoire.versions)],
        publisher=_publisher(settings),
        retention=settings.retention.told(),
        limits=_plain(settings.limits),
        shutdown=_plain(settings.shutdown),
        relay=_plain(settings.relay),
        timeout=settings.timeout,
        takeover_timeout=settings.takeover_timeout,
        lease=settings.lease,
        on_failure=settings.on_failure,
        control=None if settings.control is None else str(settings.control),
        watchdog=settings.watchdog,
        telemetry=None if settings.telemetry is None else type(settings.telemetry).__name__,
    )


def files_beside(hot: str, url: str | None) -> str:
    """Where files lie that go with the hot store `hot`: as the URL says, else beside it; "" where that is nowhere."""
    if url:
        return without_secrets(url)
    scheme, _, path = hot.partition(":")
    return f"file:{path.partition('?')[0]}.files" if scheme == "sqlite" else "memory:" if scheme == "memory" else ""


def _files(settings: Settings, hot: str) -> str:
    if settings.files is not None and not isinstance(settings.files, str):
        return type(settings.files).__name__
    return files_beside(hot, resolve_files(settings.name, settings.files))


def _publisher(settings: Settings) -> str | None:
    if settings.publisher is None:
        return None
    name = getattr(settings.publisher, "name", None)
    return name if isinstance(name, str) else type(settings.publisher).__name__


def _handler(type: str, version: int) -> str:
    return type if version == 1 else f"{type} version {version}"


def _plain(settings: Struct) -> dict[str, Any]:
    """A settings object as plain values; what is none, such as a function, by its name."""
    return {name: _value(value) for name, value in msgspec.structs.asdict(settings).items()}


def _value(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, dict):
        named: dict[Any, Any] = value  # pyright: ignore[reportUnknownVariableType]
        return {str(name): _value(each) for name, each in named.items()}
    if isinstance(value, Struct):
        return _plain(value)
    return getattr(value, "__name__", type(value).__name__)
