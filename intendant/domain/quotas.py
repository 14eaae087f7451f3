"""What one tenant may ask of a runtime, and whether it asks for more. Pure: time goes in."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

from msgspec import Struct

from intendant.domain.errors import InvalidIntent, Overloaded

_SECOND: Final = 1_000_000  # µs
_BUCKETS: Final = 1_024  # that are kept before it is looked which of them may be forgotten


class TenantLimits(Struct, frozen=True):
    """How much one tenant may ask for. None is no limit of its own.

    weight            its share of the places to run and of what runs there costs, compared to other tenants' weights
    running           handlers of it that run at a time; what is accepted beyond waits its turn
    open              executions of it that are accepted and have not ended; beyond, its intents get Overloaded
    intents_per_second  as many at once, and so many in each second; beyond, its intents get Overloaded
    parameters_bytes  of one intent, encoded; a larger one is InvalidIntent

    Raises ValueError for what is no limit.
    """

    weight: float = 1.0
    running: int | None = None
    open: int | None = None
    intents_per_second: float | None = None
    parameters_bytes: int | None = None

    def __post_init__(self) -> None:
        if not 0.01 <= self.weight <= 1_000:
            raise ValueError(f"weight must be from 0.01 to 1,000, not {self.weight}")
        for name in ("running", "open", "parameters_bytes"):
            value: int | None = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise ValueError(f"{name} must be a whole number from 1 on, not {value!r}")
        if self.intents_per_second is not None and not 0.001 <= self.intents_per_second <= 1e9:
            raise ValueError(f"intents_per_second must be from 0.001 to 1e9, not {self.intents_per_second}")


UNLIMITED: Final = TenantLimits()
LimitsOf = Callable[[str], TenantLimits]


def limits_of(given: Mapping[str, TenantLimits] | LimitsOf | None) -> LimitsOf:
    """How to find a tenant's limits: by a function of its id, or a mapping, in which "*" stands for all others."""
    if given is None:
        return unlimited
    if callable(given):
        return given
    limits = dict(given)
    others = limits.get("*", UNLIMITED)
    return lambda tenant: limits.get(tenant, others)


def unlimited(_tenant: str) -> TenantLimits:
    """No tenant has limits of its own."""
    return UNLIMITED


class _Bucket:
    """Tokens for intents: it holds one second's worth, and fills evenly."""

    __slots__ = ("at", "tokens")

    def __init__(self, tokens: float, at: int) -> None:
        self.tokens = tokens
        self.at = at

    def fill(self, rate: float, size: float, now: int) -> None:
        """What has come since it was last filled."""
        self.tokens = min(size, self.tokens + max(now - self.at, 0) * rate / _SECOND)
        self.at = max(self.at, now)


class Quotas:
    """Says no to what a tenant asks beyond its limits. Nothing of it is kept over a restart."""

    def __init__(self, limits: LimitsOf) -> None:
        self.limits = limits
        self.given = limits is not unlimited  # else there is nothing to check
        self._buckets: dict[str, _Bucket] = {}
        self._many = _BUCKETS

    def check(self, tenant: str, count: int, open: int, now: int) -> None:
        """Raise Overloaded when a tenant with `open` executions may not have `count` more now."""
        limits = self.limits(tenant)
        if limits.open is not None and open + count > limits.open:
            raise Overloaded(f"the open executions of tenant {tenant!r}", limits.open, own=True, kind="tenant_open")
        if limits.intents_per_second is not None:
            self._take(tenant, count, limits.intents_per_second, now)

    def check_size(self, tenant: str, size: int) -> None:
        """Raise InvalidIntent when an intent's parameters are larger than the tenant's may be."""
        most = self.limits(tenant).parameters_bytes
        if most is not None and size > most:
            raise InvalidIntent("parameters", f"are {size:,} bytes, and those of tenant {tenant!r} may be {most:,}")

    def _take(self, tenant: str, count: int, rate: float, now: int) -> None:
        size = max(rate, 1.0)
        bucket = self._buckets.get(tenant)
        if bucket is None:
            self._forget_full(now)
            bucket = self._buckets[tenant] = _Bucket(size, now)
        bucket.fill(rate, size, now)
        missing = min(count, size) - bucket.tokens  # more than a second's worth is let in when that is full, on credit
        if missing > 0:
            told = f"tenant {tenant!r} may submit {rate:g} intents a second; nothing was accepted"
            told = f"{told}, wait {missing / rate:.3f} s"
            raise Overloaded(f"the intents of tenant {tenant!r}", math.ceil(rate), told, own=True, kind="tenant_rate")
        bucket.tokens -= count

    def _forget_full(self, now: int) -> None:
        if len(self._buckets) < self._many:
            return
        for tenant, bucket in list(self._buckets.items()):
            rate = self.limits(tenant).intents_per_second
            if rate is None:
                del self._buckets[tenant]
                continue
            bucket.fill(rate, max(rate, 1.0), now)
            if bucket.tokens >= max(rate, 1.0):
                del self._buckets[tenant]
        self._many = _BUCKETS + 2 * len(self._buckets)
