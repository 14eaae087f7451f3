"""Settings: the constructor beats the environment, the environment beats the defaults. Nothing is global."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final, Literal

from msgspec import Struct

from intendant.domain.ports import Durability
from intendant.domain.telemetry import Telemetry

DEFAULT_HOT: Final = "sqlite:intendant.db"
LEAST_SECONDS: Final = 0.01  # of a watchdog: a loop that is never held for so long does nothing else
_NAME = re.compile(r"[a-z][a-z0-9_]{0,30}\Z")

DurabilityName = Literal["memory", "written", "fsync", "replicated"]


class Shutdown(Struct, frozen=True):
    """Seconds that each stage of leaving may take."""

    drain: float = 2.0  # running handlers may still finish; what has not by then is suspended
    suspend: float = 5.0  # suspended handlers unwind
    flush: float = 10.0  # what was acknowledged to them is committed, the partition is given back


class Stores(Struct, frozen=True):
    """Which stores, and what they must give."""

    hot: str
    cold: str | None
    durability: Durability

    def __repr__(self) -> str:
        return f"Stores(durability={self.durability!r})"  # URLs hold passwords


def hot_url(given: str | None, environment: Mapping[str, str] = os.environ, *, prefix: str = "INTENDANT_") -> str:
    """The hot store that is meant: as given, else as the environment names it, else the default."""
    return given or environment.get(f"{prefix}HOT") or DEFAULT_HOT


def resolve(
    name: str,
    hot: str | None,
    cold: str | None,
    durability: str | None,
    environment: Mapping[str, str] = os.environ,
) -> Stores:
    """Settle the stores of the runtime called `name`.

    A runtime called "default" reads `INTENDANT_HOT`, `INTENDANT_COLD`, `INTENDANT_DURABILITY`; another one only
    `INTENDANT_<NAME>_...`. Raises ValueError naming what is wrong.
    """
    prefix = variable_prefix(name)
    url = hot_url(hot, environment, prefix=prefix)
    level = (
        durability or environment.get(f"{prefix}DURABILITY") or ("memory" if url.startswith("memory:") else "written")
    )
    if level.upper() not in Durability.__members__:
        known = ", ".join(each.name.lower() for each in Durability)
        raise ValueError(f"durability {level!r} is not known; choose one of {known}")
    return Stores(url, cold or environment.get(f"{prefix}COLD") or None, Durability[level.upper()])


def resolve_files(name: str, files: str | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """Settle where files lie: as given, else by `INTENDANT_FILES`, else None: beside the hot store."""
    return files or environment.get(f"{variable_prefix(name)}FILES") or None


def resolve_own(
    name: str, own: Collection[int] | None, partitions: int, environment: Mapping[str, str] = os.environ
) -> list[int]:
    """Settle which of a store's partitions to serve: as given, else by `INTENDANT_OWN="0,1"`, else all.

    Raises ValueError naming the store's range for what is none of its partitions.
    """
    variable = f"{variable_prefix(name)}OWN"
    wanted: Collection[object]
    if own is not None:
        source, wanted = "own", own
    elif text := environment.get(variable, "").strip():
        source, wanted = variable, [int(each) if each.strip().isdecimal() else each for each in text.split(",")]
    else:
        return list(range(partitions))
    known = range(partitions)
    wrong = [each for each in wanted if type(each) is not int or each not in known]
    if wrong or not wanted:
        named = f"names {', '.join(map(repr, wrong))}" if wrong else "names no partition"
        raise ValueError(f"{source} {named}; the store has {partitions}: 0 to {partitions - 1}")
    return [each for each in known if each in wanted]


def resolve_control(
    name: str,
    control: bool | str | os.PathLike[str] | None,
    environment: Mapping[str, str] = os.environ,
    *,
    default: bool = False,
) -> Path | None:
    """Settle the directory of the control socket: as given, else by `INTENDANT_CONTROL`, else None: there is none.

    True, or the variable as 1, is the default directory; False, or 0, is none. `default` holds where nothing is said.
    """
    if control is None:
        text = environment.get(f"{variable_prefix(name)}CONTROL", "").strip()
        control = {"": default, "0": False, "1": True}.get(text, text)
    if isinstance(control, bool):
        from intendant.runtime.control_place import default_directory  # noqa: PLC0415  it brings sockets

        return default_directory(environment) if control else None
    return Path(control).absolute()


def resolve_watchdog(name: str, watchdog: float | None, environment: Mapping[str, str] = os.environ) -> float | None:
    """Settle the watchdog's limit: as given, else by `INTENDANT_WATCHDOG`, else None: there is none; 0 is none too.

    Raises ValueError for what is no number of seconds, or less than 0.01.
    """
    variable = f"{variable_prefix(name)}WATCHDOG"
    given = environment.get(variable, "").strip() if watchdog is None else watchdog
    if given == "":
        return None
    try:
        seconds = float(given)
    except (TypeError, ValueError):
        seconds = math.nan
    if seconds == 0:
        return None
    if not LEAST_SECONDS <= seconds < math.inf:
        source = variable if watchdog is None else "watchdog"
        raise ValueError(f"{source} is {LEAST_SECONDS} seconds or more, or 0 for none, not {given!r:.40}")
    return seconds


def resolve_telemetry(
    name: str, telemetry: bool | Telemetry | None, environment: Mapping[str, str] = os.environ
) -> Telemetry | None:
    """Settle who is told of the runtime: as given, else by `INTENDANT_TELEMETRY=1`, else None; True: OpenTelemetry.

    Raises ValueError when its package is not there, or for what is neither.
    """
    variable = f"{variable_prefix(name)}TELEMETRY"
    if telemetry is None:
        text = environment.get(variable, "").strip()
        if text not in {"", "0", "1"}:
            raise ValueError(f"{variable} is 1 or 0, not {text!r:.40}")
        telemetry = text == "1"
    if not isinstance(telemetry, bool):
        if not isinstance(telemetry, Telemetry):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
            raise ValueError(f"telemetry is True, or like OpenTelemetry(); {telemetry!r:.80} is neither")
        return telemetry
    if not telemetry:
        return None
    try:
        from intendant.adapters.opentelemetry import OpenTelemetry  # noqa: PLC0415  nothing of it without being asked
    except ImportError as error:
        raise ValueError("telemetry needs OpenTelemetry's API package: pip install 'intendant[otel]'") from error
    return OpenTelemetry()


def variable_prefix(name: str) -> str:
    """What the environment variables of the runtime called `name` begin with."""
    if not _NAME.match(name):
        raise ValueError(f"a runtime's name is 1 to 31 of a-z, 0-9 and _, beginning with a letter, not {name!r}")
    return "INTENDANT_" if name == "default" else f"INTENDANT_{name.upper()}_"
