"""The open executions of a partition that are known here, and how many each tenant has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from intendant.actors.messages import PreparedIntent
from intendant.actors.open_execution import OpenExecution
from intendant.actors.services import Services
from intendant.domain.errors import Overloaded


class OpenSet:
    """What has not ended: read from the store's open set at a start, and kept by what is accepted and ends."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._entries: dict[str, OpenExecution] = {}
        self._of: dict[str, int] = {}  # how many of each tenant
        self._left = 0  # how many there were when nobody ran them any more

    def __len__(self) -> int:
        return len(self._entries) or self._left

    def __iter__(self) -> Iterator[OpenExecution]:
        return iter(self._entries.values())

    def __contains__(self, entry: OpenExecution) -> bool:
        return self._entries.get(entry.child_id) is entry

    def find(self, tenant: str, execution: str) -> OpenExecution | None:
        """The one with this id, if it has not ended."""
        return self._entries.get(f"{tenant}/{execution}")

    def named(self, child_id: str) -> OpenExecution | None:
        """The one of this name under the supervisor."""
        return self._entries.get(child_id)

    def add(self, entry: OpenExecution) -> bool:
        """It was accepted, or found; False when it is known already, by its id."""
        if self._entries.setdefault(entry.child_id, entry) is not entry:
            return False
        self._of[entry.tenant] = self._of.get(entry.tenant, 0) + 1
        return True

    def remove(self, entry: OpenExecution) -> bool:
        """It has ended; False when it is not among these."""
        if self._entries.get(entry.child_id) is not entry:
            return False
        del self._entries[entry.child_id]
        left = self._of[entry.tenant] - 1
        if left:
            self._of[entry.tenant] = left
        else:
            del self._of[entry.tenant]
        return True

    def clear(self) -> None:
        """Nothing is known any more."""
        self._entries.clear()
        self._of.clear()
        self._left = 0

    def leave(self, error: BaseException) -> None:
        """Nobody runs them any more: who waits at them is told so. Only their number is kept."""
        entries = list(self._entries.values())
        self.clear()
        self._left = len(entries)
        for entry in entries:
            entry.leave(error)
            entry.let_go()
            entry.left()  # who was suspended is not told of by anybody else

    def check_room(self, tenant: str, intents: Sequence[PreparedIntent], now: int) -> None:
        """Raise Overloaded when so many more executions would be too many, at all or of the tenant.

        Raises InvalidIntent when an intent's parameters are larger than the tenant's may be.
        """
        limit, quotas = self._services.limits.open, self._services.quotas
        if quotas.given:
            for intent in intents:
                quotas.check_size(tenant, len(intent.parameters))
        if len(self._entries) + len(intents) > limit:
            raise Overloaded("the set of open executions", limit, kind="open_executions")
        if quotas.given:
            quotas.check(tenant, len(intents), self._of.get(tenant, 0), now)
