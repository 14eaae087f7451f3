"""The tree as a table that keeps its columns, whatever is in it: fit for a terminal of 80 columns, and wider.

A narrower one goes without the figures that are seldom there. Of a name that is too long the middle is left out: ids
that begin alike end differently.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from msgspec import Struct
from rich.console import Group
from rich.table import Table
from rich.text import Text

from intendant.runtime.control import Answer
from intendant.runtime.tree_node import LoopBlock, TreeNode

LEAST_WIDTH: Final = 40
_NARROW: Final = 70  # below that many columns
_NAME_MAX: Final = 60  # what a screen has more is for notes
_STATE, _AGE, _MAIL, _RESTARTS = 10, 6, 5, 8
_TAIL: Final = 4  # of an id: what tells those of about one time apart
_STYLES: Final = {
    "running": "green", "busy": "green", "starting": "cyan", "waiting": "blue", "passive": "blue", "queued": "yellow",
    "restarting": "bold red", "stopping": "yellow", "stopped": "red", "held": "red", "idle": "dim",
}  # fmt: skip
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


class Row(Struct, frozen=True):
    """A line of the table."""

    lead: str  # the branches before the name
    name: Text
    node: TreeNode | None
    note: Text


def show(answer: Answer, width: int, height: int | None = None) -> Group:
    """A head line and the table; `height` is how many lines there are for both.

    What does not fit is told with trouble first, and without workers that have nothing to tell.
    """
    assert answer.tree is not None  # noqa: S101  an answer without error has one
    found = list(rows(answer.tree))
    room = None if height is None else max(height - 3, 1)
    if room is not None and len(found) > room:
        found = list(rows(answer.tree, crowded=True))
    left = 0 if room is None or len(found) <= room else len(found) - room + 1
    table = _table(found[: len(found) - left], max(width, LEAST_WIDTH))
    foot = [Text(f"… {left:,} more lines: --fold session, --fold tenant or --tenant show fewer", "dim")] if left else []
    return Group(_head(answer), Text(""), table, *foot)


def _head(answer: Answer) -> Text:
    stats, head = answer.stats, Text(no_wrap=True, overflow="ellipsis")
    head.append(answer.name, "bold").append(f"  pid {answer.pid}")
    if stats is not None:
        head.append(f"  {stats.open:,} open, {stats.running:,} running, {stats.sessions:,} sessions")
        head.append(f", {stats.restarts:,} restarts", "red" if stats.restarts else "")
        if stats.lag:
            head.append(f", {stats.lag:,} behind", "yellow")
        if stats.blocks:
            head.append(f", loop held {stats.blocks:,}×", "bold red")
        if stats.lost:
            head.append(f", lost: {', '.join(map(str, stats.lost))}", "bold red")
    return head


def _table(found: Sequence[Row], width: int) -> Table:
    figures = [("age", _AGE)] if width < _NARROW else [("age", _AGE), ("mail", _MAIL), ("restarts", _RESTARTS)]
    flexible = width - _STATE - sum(columns for _, columns in figures) - 2 - len(figures)
    name = min(flexible * 3 // 5, _NAME_MAX)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), width=width, header_style="bold")
    table.add_column("actor", width=name, no_wrap=True, overflow="ellipsis")
    table.add_column("state", width=_STATE, no_wrap=True)
    for title, columns in figures:
        table.add_column(title, width=columns, justify="right", no_wrap=True)
    table.add_column("at", width=flexible - name, no_wrap=True, overflow="ellipsis")
    for row in found:
        shown = _shortened(row.name, name - len(row.lead))
        table.add_row(Text(row.lead, "dim") + shown, *_cells(row.node)[: 1 + len(figures)], row.note)
    return table


def _shortened(name: Text, room: int) -> Text:
    """A name without its middle, where it is too long."""
    if name.cell_len <= room or room < 3:
        return name
    tail = max(room // 3, 1)
    return name[: room - tail - 1] + Text("…") + name[len(name) - tail :]


def _cells(node: TreeNode | None) -> tuple[Text, ...]:
    if node is None:
        return Text(), Text(), Text(), Text()
    restarts = f"{node.restarts:,}" if node.restarts else ""
    return (
        Text(node.state, _STYLES.get(node.state, "")),
        Text(duration(node.age) if node.age else "", "dim"),
        Text(f"{node.depth:,}" if node.depth else "", "yellow"),
        Text(restarts, "red"),
    )


def rows(root: TreeNode, *, crowded: bool = False) -> Iterator[Row]:
    """A line for each node, in order: branches first drawn as lines, as people expect of a tree."""
    yield Row("", Text(_label(root)), root, _note(root, crowded=crowded))
    yield from _below(root, "", crowded=crowded)


def _below(node: TreeNode, lead: str, *, crowded: bool) -> Iterator[Row]:
    groups = list(_groups(node, crowded=crowded))
    rest = _rest(node)
    for number, (head, each) in enumerate(groups):
        last = number == len(groups) - 1 and rest is None
        yield Row(lead + ("└ " if last else "├ "), head.name, head.node, head.note)
        inner = lead + ("  " if last else "│ ")
        for place, child in enumerate(each):
            branch = "└ " if place == len(each) - 1 else "├ "
            yield Row(inner + branch, _execution_name(child), child, _note(child))
        if head.node is not None:
            yield from _below(head.node, inner, crowded=crowded)
    if rest is not None:
        yield Row(lead + "└ ", rest, None, Text())


def _groups(node: TreeNode, *, crowded: bool) -> Iterator[tuple[Row, list[TreeNode]]]:
    """Children as they are; executions beneath their session; of sessions only those that have something to tell."""
    executions = [each for each in node.children if each.kind == "execution"]
    others = [each for each in node.children if each.kind != "execution" and not _is_dull(each)]
    if crowded:
        others = [each for each in others if not _is_calm(each)]
    if executions:
        executions.sort(key=lambda each: (each.tenant, each.session, crowded and not _is_in_trouble(each), each.path))
        lanes = [list(found) for _, found in groupby(executions, lambda each: (each.tenant, each.session))]
        if crowded:
            lanes.sort(key=lambda found: not _is_in_trouble(found[0]))
        for found in lanes:
            yield Row("", Text(f"{found[0].tenant}/{found[0].session}", "bold"), None, Text()), found
    others.sort(key=lambda each: (crowded and not _is_in_trouble(each), each.tenant, each.session, _grows(each)))
    for each in others:
        yield Row("", Text(_label(each)), each, _note(each, crowded=crowded)), []


def _is_in_trouble(node: TreeNode) -> bool:
    if node.kind == "supervisor":
        return False  # its children's is shown below it
    return node.state in ("restarting", "stopped", "held") or node.last_crash is not None or node.blocked is not None


def _is_calm(node: TreeNode) -> bool:
    return node.kind == "worker" and node.state == "running" and not (node.restarts or node.depth or node.last_crash)


def _grows(node: TreeNode) -> bool:
    """Whether sessions or executions are below it: that comes last, so that what stays does not move."""
    return bool(node.counts) or any(_grows(each) for each in node.children)


def _is_dull(node: TreeNode) -> bool:
    return node.kind == "session" and not (node.state != "idle" or node.depth or node.last_crash or node.counts)


def _rest(node: TreeNode) -> Text | None:
    """What is counted and not shown, but for idle sessions: of these the count is enough."""
    if node.kind != "supervisor":
        return None  # a sum
    shown = [each for each in node.children if not _is_dull(each)]
    there = sum(sum(each.counts.values()) if each.counts else 1 for each in shown)
    left = sum(node.counts.values()) - there - node.counts.get("idle", 0)
    return Text(f"… {left:,} more", "dim") if left > 0 else None


def _label(node: TreeNode) -> str:
    if node.kind == "tenant":
        return node.tenant
    return f"{node.tenant}/{node.session}" if node.kind == "session" else node.name


def _execution_name(node: TreeNode) -> Text:
    return Text(node.name[-_TAIL:], "dim").append(f" {node.type or 'unknown'}", "not dim")


def _note(node: TreeNode, *, crowded: bool = False) -> Text:
    """The one thing worth saying: a crash before what it does, that before how many it holds."""
    if node.blocked is not None:
        held = Text("held the loop ", "bold red").append(duration(node.blocked.seconds))
        return held if node.kind == "execution" else _holder(node.blocked)
    if node.last_crash is not None:
        return Text(" ".join(node.last_crash.reason.split()), "red")
    if node.steps:
        return Text(", ".join(node.steps), "cyan")
    if node.counts:
        return Text(", ".join(f"{count:,} {state}" for state, count in node.counts.items()))
    calm = sum(map(_is_calm, node.children)) if crowded else 0
    return Text(f"{calm} worker{'s' * (calm > 1)}, all well" if calm else "", "dim")


def _holder(block: LoopBlock) -> Text:
    """The last one of the whole runtime, which may have ended long ago."""
    held = f"{block.type or 'no handler'} held the loop {duration(block.seconds)} at {block.at.astimezone():%H:%M:%S}"
    return Text(held, "red")


def duration(seconds: float) -> str:
    """A time in at most six characters."""
    if seconds < 10:
        return f"{seconds:.1f}s"
    if seconds < _MINUTE:
        return f"{seconds:.0f}s"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE:.0f}m{seconds % _MINUTE:02.0f}s"
    if seconds < _DAY:
        return f"{seconds // _HOUR:.0f}h{seconds % _HOUR // _MINUTE:02.0f}m"
    return f"{seconds // _DAY:.0f}d{seconds % _DAY // _HOUR:02.0f}h"
