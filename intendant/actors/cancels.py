"""Cancels: recorded before they are told, and level-triggered: a resume finds them in the journal."""

from __future__ import annotations

from intendant.actors.barred import open_executions
from intendant.actors.executions import Executions
from intendant.actors.services import Services
from intendant.domain.erasure import Scope


class Cancels:
    """Takes cancels of a partition's executions. They go by no mailbox, and are never refused for want of room."""

    def __init__(self, services: Services, executions: Executions) -> None:
        self._services = services
        self._executions = executions

    async def cancel(self, tenant: str, execution: str) -> bool:
        """Cancel an execution; when this returns, it is durable. False when it is not open, or has ended by now.

        One that has not begun ends without running; another is told, and ends when its handler has cleaned up. Raises
        ActorStopped while executions do not serve, BeingErased, StoreUnavailable.
        """
        entry = self._executions.entry(tenant, execution)
        waits = None if entry is None else await self._executions.waits_of(entry)
        if entry is None or waits is None:
            return False
        unstarted = entry.waiting and entry.unstarted  # it is not to begin any more: the cancel is decided below
        if not entry.closed:
            await waits.cancel().wait(self._services.seam)
        if unstarted and entry.waiting:
            self._executions.launch(entry)  # it was recorded before a resume
        if self._executions.is_open(tenant, execution) and (unstarted or entry.closed):
            await entry.wait_end().wait(self._services.seam)
        return self._executions.is_open(tenant, execution)

    async def open(self, scope: Scope) -> list[str]:
        """The executions of a tenant or session that have not ended. Raises StoreUnavailable."""
        return await open_executions(self._services.log, scope)
