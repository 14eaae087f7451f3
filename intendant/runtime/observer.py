"""Looks at a running tree, a slice at a time: whoever else has something to do on the loop comes in between."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain, islice
from typing import Final

import anyio.lowlevel
from msgspec import Struct

from intendant.actors.actor import Cell
from intendant.actors.execution import HandlerCrashed
from intendant.actors.executions import Executions
from intendant.actors.messages import SessionMessage
from intendant.actors.open_execution import OpenExecution, Standing
from intendant.actors.sessions import Sessions
from intendant.domain.errors import InvalidIntent
from intendant.domain.ids import check_id
from intendant.domain.ports import Clock
from intendant.parking import Seam
from intendant.runtime.failure import cause_of
from intendant.runtime.partition import Partition
from intendant.runtime.tree import ROOT, Tree, partition_path
from intendant.runtime.tree_node import ActorCrash, LoopBlock, TreeNode
from intendant.supervisor import ChildInfo, Crash

LIMIT_MAX: Final = 10_000
DEPTH_MAX: Final = 16
FOLDS: Final = ("", "tenant", "session")
_SLICE: Final = 500  # entries that are looked at in a row: well below a millisecond
_REASON_MAX: Final = 500
_STEPS_MAX: Final = 10
_RESIDENTS: Final = 4  # how deep sessions and executions lie


class View(Struct, frozen=True, tag_field="ask", tag="tree", forbid_unknown_fields=True):
    """What of a tree is wanted. Checked when it is made: raises InvalidIntent naming the field."""

    depth: int = DEPTH_MAX
    tenant: str = ""
    limit: int = 1_000
    fold: str = ""

    def __post_init__(self) -> None:
        for field, value, least, most in (("depth", self.depth, 0, DEPTH_MAX), ("limit", self.limit, 0, LIMIT_MAX)):
            if type(value) is not int or not least <= value <= most:
                raise InvalidIntent(field, f"must be a whole number from {least} to {most:,}, not {value!r:.40}")
        if self.tenant:
            check_id(self.tenant, "tenant")
        if self.fold not in FOLDS:
            raise InvalidIntent("fold", f"must be 'tenant', 'session' or '', not {self.fold!r:.40}")


class Observer:
    """Looks at the tree of one engine. `blocked` tells how often the loop was held, and of the last time."""

    def __init__(
        self,
        tree: Tree,
        partitions: Sequence[Partition],
        seam: Seam,
        clock: Clock,
        blocked: Callable[[], tuple[int, LoopBlock | None]],
    ) -> None:
        self._tree = tree
        self._partitions = partitions
        self._seam = seam
        self._clock = clock
        self._blocked = blocked

    async def look(self, view: View) -> TreeNode:
        """The tree as it was in about this moment: each slice is true, and something may happen between two."""
        blocks, blocked = self._blocked()
        below: dict[str, TreeNode] = {}
        for partition in self._partitions:
            path = partition_path(partition.number)
            below[f"{path}/sessions"] = await self._sessions(f"{path}/sessions", partition.sessions, view)
            below[f"{path}/executions"] = await self._executions(
                f"{path}/executions", partition.executions, view, blocked
            )
        children = self._children(ROOT, below, view, 0)
        spent = self._tree.root.restarts_in_window
        return TreeNode(
            path=ROOT,
            kind="supervisor",
            state="running",
            restarts_in_window=spent,
            blocks=blocks,
            blocked=blocked,
            children=children,
        )

    # --- supervisors and workers

    def _children(self, path: str, below: Mapping[str, TreeNode], view: View, depth: int) -> tuple[TreeNode, ...]:
        if depth >= view.depth:
            return ()
        return tuple(self._supervised(info, below, view, depth + 1) for info in self._tree.supervisors[path].children())

    def _supervised(self, info: ChildInfo, below: Mapping[str, TreeNode], view: View, depth: int) -> TreeNode:
        supervisor, residents = self._tree.supervisors.get(info.path), below.get(info.path)
        nested = () if supervisor is None else self._children(info.path, below, view, depth)
        return TreeNode(
            path=info.path,
            kind="worker" if supervisor is None and residents is None else "supervisor",
            state=info.state.value,
            restarts=info.restarts,
            restarts_in_window=0 if supervisor is None else supervisor.restarts_in_window,
            last_crash=self._crash(info.crashes),
            counts={} if residents is None else residents.counts,
            children=nested if residents is None else residents.children,
        )

    def _crash(self, crashes: Sequence[Crash]) -> ActorCrash | None:
        if not crashes:
            return None
        last = crashes[-1]
        at = self._now() - timedelta(seconds=self._seam.time() - last.at)
        return ActorCrash(_reason(last.cause), at)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now() / 1_000_000, UTC)

    # --- sessions

    async def _sessions(self, path: str, sessions: Sessions, view: View) -> TreeNode:
        states: Counter[str] = Counter()
        busy: list[tuple[str, Cell[SessionMessage]]] = []
        idle: list[tuple[str, Cell[SessionMessage]]] = []
        prefix = f"{view.tenant}/" if view.tenant else ""
        for number, (id, cell) in enumerate(sessions.cells(), 1):
            if number % _SLICE == 0:
                await anyio.lowlevel.checkpoint()
            if id.startswith(prefix):
                found = idle if cell.idle else busy
                states["idle" if cell.idle else "busy"] += 1
                if len(found) < view.limit:
                    found.append((id, cell))
        children: list[TreeNode] = []
        if view.depth >= _RESIDENTS:
            for number, (id, cell) in enumerate(islice(chain(busy, idle), view.limit), 1):
                if number % _SLICE == 0:
                    await anyio.lowlevel.checkpoint()
                if sessions.serving:
                    children.append(self._session(path, sessions, id, cell))
        return TreeNode(path=path, kind="supervisor", state="", counts=dict(states), children=tuple(children))

    def _session(self, path: str, sessions: Sessions, id: str, cell: Cell[SessionMessage]) -> TreeNode:
        fares = sessions.fares(id)
        tenant, _, session = id.partition("/")
        return TreeNode(
            path=f"{path}/{id}",
            kind="session",
            state="restarting" if fares.down else "idle" if cell.idle else "busy",
            depth=len(cell.mailbox),
            oldest=cell.pressure().oldest if cell.mailbox else 0.0,
            restarts=fares.restarts,
            restarts_in_window=fares.restarts,
            last_crash=self._crash(fares.crashes),
            tenant=tenant,
            session=session,
        )

    # --- executions

    async def _executions(self, path: str, executions: Executions, view: View, blocked: LoopBlock | None) -> TreeNode:
        states: Counter[Standing] = Counter()
        folded: Counter[tuple[tuple[str, ...], Standing]] = Counter()
        found: dict[Standing, list[OpenExecution]] = {standing: [] for standing in Standing}
        for number, entry in enumerate(list(executions.open), 1):
            if number % _SLICE == 0:
                await anyio.lowlevel.checkpoint()
            if view.tenant and entry.tenant != view.tenant:
                continue
            standing = entry.standing
            states[standing] += 1
            if view.fold:
                key = (entry.tenant,) if view.fold == "tenant" else (entry.tenant, entry.lane)
                folded[key, standing] += 1
            elif len(found[standing]) < view.limit:
                found[standing].append(entry)
        children: list[TreeNode] = []
        if view.fold and view.depth >= _RESIDENTS:
            children = _sums(path, view, folded)
        elif view.depth >= _RESIDENTS:
            for number, entry in enumerate(islice(chain(*found.values()), view.limit), 1):
                if number % _SLICE == 0:
                    await anyio.lowlevel.checkpoint()
                if executions.serving and entry in executions.open:
                    children.append(self._execution(path, executions, entry, blocked))
        counts = {standing.value: states[standing] for standing in Standing if states[standing]}
        return TreeNode(path=path, kind="supervisor", state="", counts=counts, children=tuple(children))

    def _execution(
        self, path: str, executions: Executions, entry: OpenExecution, blocked: LoopBlock | None
    ) -> TreeNode:
        fares = executions.fares(entry)
        mailbox = () if entry.cell is None else entry.cell.mailbox
        held = blocked is not None and (blocked.tenant, blocked.execution) == (entry.tenant, entry.id)
        return TreeNode(
            path=f"{path}/{entry.child_id}",
            kind="execution",
            state="restarting" if fares.down else entry.standing.value,
            depth=len(mailbox),
            oldest=0.0 if entry.cell is None or not mailbox else entry.cell.pressure().oldest,
            restarts=fares.restarts,
            restarts_in_window=fares.restarts,
            last_crash=self._crash(fares.crashes),
            tenant=entry.tenant,
            session=entry.lane,
            type=entry.type,
            steps=tuple(entry.actor.steps[:_STEPS_MAX]) if entry.actor is not None else (),
            age=_age(entry.id, self._clock.now()),
            blocked=blocked if held else None,
        )


def _sums(path: str, view: View, folded: Counter[tuple[tuple[str, ...], Standing]]) -> list[TreeNode]:
    """One node for each tenant or session: those with most open executions first."""
    states: dict[tuple[str, ...], dict[str, int]] = {}
    for (key, standing), count in sorted(folded.items(), key=lambda each: list(Standing).index(each[0][1])):
        states.setdefault(key, {})[standing.value] = count
    largest = sorted(states.items(), key=lambda each: (-sum(each[1].values()), each[0]))[: view.limit]
    return [
        TreeNode(
            path="/".join((path, *key)),
            kind=view.fold,
            state="",
            tenant=key[0],
            session=key[1] if len(key) > 1 else "",
            counts=counts,
        )
        for key, counts in largest
    ]


def _age(id: str, now: int) -> float:
    """Seconds since an execution was accepted, which its id tells to the millisecond."""
    return max(now / 1_000_000 - int(id[:12], 16) / 1_000, 0.0)


def _reason(cause: BaseException) -> str:
    began = cause_of(cause)
    if isinstance(began, HandlerCrashed) and began.__cause__ is not None:
        began = began.__cause__  # which handler it was stands beside it
    try:
        return repr(began)[:_REASON_MAX]
    except Exception as error:  # a repr of somebody else's
        return f"{type(cause).__name__}, which can't be shown: {type(error).__name__}"
