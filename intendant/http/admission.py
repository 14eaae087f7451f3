"""Who is let in: how many requests go on at a time, of all and of each tenant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

from intendant.http.limits import HttpLimits
from intendant.http.problems import Refused
from intendant.http.refusals import Refusals


class Admission:
    """Counts the requests that go on, streams apart from others.

    One that is too many is refused before its body is read; where the process has as many as it takes, also before
    anybody's token is looked at.
    """

    def __init__(self, limits: HttpLimits) -> None:
        self.draining = False
        self._limits = limits
        self._count = 0
        self._requests: Counter[str] = Counter()
        self._streams: Counter[str] = Counter()
        self._refusals = Refusals()

    def check(self) -> None:
        """Raise Refused when the process takes no request. It is no tenant's state: anybody may be told."""
        if self.draining:
            raise Refused(503, "runtime_stopped", "the server is being stopped", {"Connection": "close"})
        if self._count >= self._limits.requests:
            raise Refused(503, "overloaded", "the server has as many requests as it takes", self.later())

    def later(self) -> dict[str, str]:
        """When one that is refused now is to come again, as a header."""
        return self._refusals.later()

    @contextmanager
    def admitted(self, tenant: str, *, stream: bool) -> Generator[None]:
        """A request among those that go on now. Raises Refused when they are too many, also of this tenant."""
        self.check()
        counts = self._streams if stream else self._requests
        most = self._limits.streams_of_tenant if stream else self._limits.requests_of_tenant
        if counts[tenant] >= most:
            detail = f"the tenant has {most} of these at a time already"
            raise Refused(429, "overloaded", detail, self.later())
        counts[tenant] += 1
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1
            counts[tenant] -= 1
            if not counts[tenant]:
                del counts[tenant]
