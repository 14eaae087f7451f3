"""Retention: how long what has ended is kept, hot and in all. Pure: facts in, decisions out."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Final

from msgspec import Struct

from intendant.domain.errors import InvalidIntent
from intendant.domain.ids import check_id

FLOOR: Final = "floor"  # the key of a tenant's Floor, in the collection state.RETENTION
_MICROSECOND = timedelta(microseconds=1)


class Retention(Struct, frozen=True):
    """How long what has ended is kept, counted from its end: in the hot store, and in all stores together.

    Before `hot` is over everything is at hand at once; then documents and records are only in the cold store, until
    `total` is over and nothing is left. Without a cold store everything stays in the hot one until `total`.
    `timedelta.max` keeps for ever. What has not ended is never touched. Raises ValueError when `hot` is negative, or
    longer than `total`.
    """

    hot: timedelta = timedelta(days=7)
    total: timedelta = timedelta(days=30)

    def __post_init__(self) -> None:
        if not timedelta(0) <= self.hot <= self.total:
            raise ValueError(f"retention: hot ({self.hot}) must be from 0 to total ({self.total})")

    def __str__(self) -> str:
        hot, total = map(_told, (self.hot, self.total))
        return f"hot {hot}, in all {total}"


def _told(time: timedelta) -> str:
    if time == timedelta.max:
        return "for ever"
    return str(time) if time % timedelta(days=1) else f"{time.days} days"


class RetentionPolicy:
    """Which retention holds: the tenant's, else the realm's, else the runtime's."""

    def __init__(
        self,
        default: Retention,
        realms: Mapping[str, Retention] | None = None,
        tenants: Mapping[str, Retention] | None = None,
    ) -> None:
        for tenant in tenants or {}:
            try:
                check_id(tenant, "retention_of")
            except InvalidIntent as error:
                raise ValueError(str(error)) from None
        self._default = default
        self._realms = dict(realms or {})
        self._tenants = dict(tenants or {})

    def of(self, tenant: str, type: str) -> Retention:
        """The retention of a tenant's executions of an intent type."""
        if tenant in self._tenants:
            return self._tenants[tenant]
        realm = type
        while realm := realm.rpartition(".")[0]:
            if realm in self._realms:
                return self._realms[realm]
        return self._default

    def told(self) -> dict[str, str]:
        """Each rule in words, by whom it is for: the default, realms, tenants."""
        rules = {"default": self._default}
        rules |= {f"realm {name}": each for name, each in self._realms.items()}
        rules |= {f"tenant {name}": each for name, each in self._tenants.items()}
        return {name: str(each) for name, each in rules.items()}

    def shortest(self, tenant: str) -> Retention:
        """The shortest limits that any of the tenant's executions may have."""
        if tenant in self._tenants:
            return self._tenants[tenant]
        every = [self._default, *self._realms.values()]
        hot, total = min(each.hot for each in every), min(each.total for each in every)
        return Retention(min(hot, total), total)


class Stage(enum.Enum):
    """Where something belongs now."""

    KEPT = "kept"  # where it is
    COLD = "cold"  # only in cold state
    GONE = "gone"  # nowhere


def stage(
    *, ended_at: int, version: int, now: int, retention: Retention, archived: int | None, waiting: int | None = None
) -> Stage:
    """Where an execution or session belongs that ended at `ended_at` (µs since 1970 UTC; 0 when it has not).

    `version` is the sequence of the newest record of any of its documents; `archived` how far cold state has come,
    None when there is none: what it does not have yet stays. `waiting` is where the tenant's oldest event comes from
    that is not published yet: whatever ended behind it may be its source, and is kept somewhere.
    """
    if not ended_at or (archived is not None and version > archived):
        return Stage.KEPT
    age = now - ended_at
    if age >= retention.total // _MICROSECOND and (waiting is None or version < waiting):
        return Stage.GONE
    if archived is not None and age >= retention.hot // _MICROSECOND:
        return Stage.COLD
    return Stage.KEPT


def before(now: int, limit: timedelta) -> int:
    """The time, in µs since 1970 UTC, before which something must have ended to be older than a limit; 0 at least."""
    return max(now - limit // _MICROSECOND, 0)


def trim_below(*, recent: int, kept: Iterable[int], waiting: int | None, archived: int | None) -> int:
    """The sequence below which no entry of a tenant's log is needed any more.

    `recent` is the first sequence that is younger than every limit, `kept` where each older execution that stays
    begins, `waiting` where its oldest event comes from that is not published, `archived` how far cold state has come.
    """
    bounds = [recent, *kept]
    if waiting is not None:
        bounds.append(waiting)
    if archived is not None:
        bounds.append(archived + 1)
    return max(min(bounds), 0)


class Floor(Struct, frozen=True, omit_defaults=True):
    """What retention has taken out of the hot store, of one tenant.

    Entries that end below the sequence `below` are not there, nor are documents of some executions whose keys are not
    higher than `newest`. Entries that end below `gone` are nowhere. `orphans` are digests of files that what is gone
    referred to.
    """

    below: int = 0
    newest: str = ""
    gone: int = 0
    orphans: list[str] = []
