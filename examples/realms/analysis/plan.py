"""Order what should be done: by what it brings against what it costs. Values are points, costs are minutes."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import replace

from .model import Action, Finding

ACTIONS_MAX = 400
NOW_MINUTES = 120
NEXT_MINUTES = 16 * 60


class Rule(Struct, frozen=True):
    """How findings of one kind are worked off: points, minutes for the first and for each further one."""

    title: str
    points: float
    minutes: int
    each: float
    why: str


RULES: dict[str, Rule] = {
    "syntax-error": Rule("Make it parse", 10, 15, 0, "Nothing that imports it can run."),
    "broken-link": Rule("Repair the link", 6, 5, 3, "A reader who follows it is lost."),
    "malformed-row": Rule("Repair the row", 6, 5, 2, "Whoever reads the table gets the wrong column or an error."),
    "misfit-value": Rule("Correct the value", 6, 5, 2, "One value of another type turns the whole column to text."),
    "outlier": Rule("Check the value", 4, 5, 3, "A slip of the pen here moves every sum and mean."),
    "unreadable": Rule("Make it readable or take it away", 5, 10, 0, "Tools that walk this folder stop here."),
    "encoding": Rule("Save it as UTF-8", 5, 5, 0, "Part of its text is lost to every reader."),
    "gap": Rule(
        "Fill the gaps or say why they are there", 3, 10, 1, "A gap is read as zero by one and left out by another."
    ),
    "duplicate": Rule("Keep one copy", 4, 15, 5, "A change made in one copy is missing in the other."),
    "near-duplicate": Rule("Draw out what is shared", 4, 60, 20, "The same change has to be made several times."),
    "import-cycle": Rule(
        "Break the circle", 5, 90, 10, "None of them can be read, tested or loaded without the others."
    ),
    "heavy-function": Rule("Divide the function", 3, 60, 45, "So much in one piece is tested only as a whole."),
    "large-file": Rule("Divide the file", 2, 180, 0, "Everyone who changes it meets everyone else."),
    "undocumented": Rule("Document the public names", 0.7, 5, 3, "Their users have to read the code."),
    "orphan": Rule("Link to it or take it away", 2, 10, 0, "Nobody finds it."),
}
"""Kinds without a rule are told in the report and ask for nothing."""


def plan(findings: Iterable[Finding], ranks: dict[str, float]) -> list[Action]:
    """One action for each file and kind, best value for the effort first. Central files count for up to three times.

    Effort counts by its square root: else nothing that takes more than an hour would ever come up.
    """
    grouped: defaultdict[tuple[str, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        if finding.severity != "note" and finding.kind in RULES:
            grouped[finding.path, finding.kind].append(finding)
    actions = [_action(group, ranks.get(group[0].path, 0.0)) for _, group in sorted(grouped.items())]
    actions.sort(
        key=lambda action: (
            -action.value / math.sqrt(action.minutes),
            -action.value,
            action.path,
            action.line,
            action.kind,
        )
    )
    return _with_horizons(actions[:ACTIONS_MAX])


def _action(group: list[Finding], rank: float) -> Action:
    group.sort(key=lambda finding: finding.line)
    first = group[0]
    rule = RULES[first.kind]
    count = sum(finding.count for finding in group)
    value = rule.points * (1 + 2 * rank) * (1 + math.log2(count))
    further = ", ".join(str(line) for line in sorted({finding.line for finding in group[1:]})[:8])
    where = f" More of it in line {further}." if further else ""
    return Action(
        path=first.path,
        line=first.line,
        kind=first.kind,
        title=rule.title,
        why=f"{first.message}{where} {rule.why}",
        value=round(value, 1),
        minutes=round(rule.minutes + rule.each * (count - 1)),
        findings=count,
    )


def _with_horizons(actions: list[Action]) -> list[Action]:
    """Now: what fits into two hours. Next: what fits into two days. Later: the rest."""
    left = {"now": NOW_MINUTES, "next": NEXT_MINUTES}
    placed: dict[str, list[Action]] = {"now": [], "next": [], "later": []}
    for action in actions:
        horizon = next((name for name, minutes in left.items() if action.minutes <= minutes), "later")
        if horizon in left:
            left[horizon] -= action.minutes
        placed[horizon].append(replace(action, horizon=horizon))
    return [*placed["now"], *placed["next"], *placed["later"]]
