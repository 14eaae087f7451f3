"""Erasures as callers ask for them."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from intendant.domain.erasure import Erased, Scope
from intendant.domain.errors import ActorStopped, OutcomeUnknown
from intendant.runtime.intent import check_timeout
from intendant.runtime.partition import Partition


class Erasures:
    """Where everything of a tenant or of a session is removed. `reach` returns a tenant's partition, or raises."""

    def __init__(self, reach: Callable[[str], Partition]) -> None:
        self._reach = reach

    async def erase(self, scope: Scope, timeout: float | None, *, dry_run: bool, drop_open: bool) -> Erased:
        """Remove everything of a scope; `Runtime.erase_tenant` and `erase_session` are the doors to it."""
        partition = self._reach(scope.tenant)
        check_timeout(timeout)
        try:
            with anyio.fail_after(timeout):
                if dry_run:
                    return await partition.eraser.survey(scope)
                return await partition.eraser.erase(scope, drop_open=drop_open)
        except ActorStopped as error:
            partition.check()
            again = f"it is not known whether the erasure of {scope} was begun; call it again"
            raise OutcomeUnknown(scope.session or scope.tenant, scope.session or scope.tenant, again) from error
