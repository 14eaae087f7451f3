"""Realm `journey`: from what was found to what should be done, in which order."""

from __future__ import annotations

from msgspec import Struct

from intendant import Context, Realm

from .analysis.model import Finding, Structure
from .analysis.order import by_place
from .analysis.plan import plan as plan_of
from .insights import Kept
from .shelf import Shelf
from .tally import counted

journey = Realm("journey")


class Judgement(Struct, frozen=True):
    """What the phases of `insights` left on the shelf."""

    shelf: str
    findings: list[str]
    structure: str


@journey.handler
async def plan(ctx: Context, judgement: Judgement) -> Kept:
    """Order actions by value against effort, each with its file and line."""
    kept = await ctx.step("plan_actions", counted(ctx, plan_actions), judgement)
    ctx.emit("root.planned", {"actions": kept.count})
    return kept


def plan_actions(judgement: Judgement) -> Kept:
    """Plan from all findings; the structure says which files weigh more."""
    shelf = Shelf(judgement.shelf)
    structure = shelf.get(judgement.structure, Structure)
    actions = plan_of(all_findings(shelf, judgement.findings, structure), structure.ranks)
    return Kept(shelf.put(actions), len(actions))


def all_findings(shelf: Shelf, names: list[str], structure: Structure) -> list[Finding]:
    """The findings of all phases in one order."""
    found = [finding for name in names for finding in shelf.get(name, list[Finding])]
    return sorted([*found, *structure.findings], key=by_place)
