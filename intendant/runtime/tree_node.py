"""What `Runtime.tree` returns: supervisors and actors as people and programs want to see them."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct


class ActorCrash(Struct, frozen=True):
    """Why an actor was down: what it raised, cut off after 500 characters, and when."""

    reason: str
    at: datetime


class LoopBlock(Struct, frozen=True):
    """The event loop was held: nothing else of it ran meanwhile.

    `tenant`, `execution`, `type` and `steps` are empty when it was held by something else than a handler.
    """

    at: datetime
    """When that was seen."""
    seconds: float
    """For how long it was held by then, at least."""
    stack: str
    """The stack of the loop's thread at that time, the newest call last."""
    tenant: str = ""
    execution: str = ""
    type: str = ""
    steps: tuple[str, ...] = ()


class TreeNode(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A supervisor, a worker of the runtime's own, a session, an execution, or a sum of executions.

    `kind` is "supervisor", "worker", "session", "execution", or, when executions are folded, "tenant" or "session".

    `state` is "starting", "running", "restarting", "stopping" or "stopped" for what is supervised; "idle", "busy" or
    "restarting" for a session; for an execution "running", "starting", "waiting" (its handler does nothing but wait),
    "passive" (it waits, and is not in memory), "queued" (it waits for a place to run), "restarting", or "held" (it
    does not run before its trial, or no realm has its handler); a sum's is empty.
    """

    path: str
    kind: str
    state: str
    depth: int = 0
    """Messages that wait in its mailbox."""
    oldest: float = 0.0
    """Seconds that the oldest of them has waited, at least: since the first look that saw it."""
    restarts: int = 0
    """How often it was started again; of sessions and executions only what is in the window."""
    restarts_in_window: int = 0
    """How much of its budget is spent; a supervisor's is that of its children."""
    last_crash: ActorCrash | None = None
    tenant: str = ""
    session: str = ""
    type: str = ""
    """Of an execution: its handler's intent type."""
    steps: tuple[str, ...] = ()
    """Of an execution: the steps that run now, else what it waits for; ten at most."""
    age: float = 0.0
    """Of an execution: seconds since it was accepted."""
    counts: dict[str, int] = {}
    """Of what holds executions or sessions: how many there are in each state, shown or not."""
    blocked: LoopBlock | None = None
    """Of the root: the last time that the loop was held; of an execution: that it was this one."""
    blocks: int = 0
    """Of the root: how often the loop was held, as the watchdog saw it."""
    children: tuple[TreeNode, ...] = ()

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rpartition("/")[2]
