"""How executions of a partition reach one another: through sessions, and as callers do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from intendant.actors.messages import SessionMessage
from intendant.actors.ref import Ref


class Kin:
    """Doors to sessions and executions: they know executions, and not the other way round. Set by the partition."""

    session: Callable[[str, str], Ref[SessionMessage]]
    """The reference of a session, by tenant and id. Raises ActorStopped while sessions do not serve."""
    serves: Callable[[], bool]
    """Whether sessions and executions do."""
    cancel: Callable[[str, str], Awaitable[bool]]
    """Cancel an execution, durably; see `ExecutionCalls.cancel`."""
    is_open: Callable[[str, str], bool]
    """Whether an execution is known here as not ended."""
