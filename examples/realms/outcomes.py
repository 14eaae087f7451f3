"""Realm `outcomes`: what a reader gets. The same studies give the same bytes.

The page's section on the run itself is added by the driver, for no execution knows the run it is part of.
"""

from __future__ import annotations

from msgspec import Struct

from intendant import Context, Realm

from .analysis.model import Action, Meaning, Structure, Study
from .analysis.study import totals_of
from .insights import Collection, profiles_of
from .journey import all_findings
from .pages import markdown
from .shelf import Shelf
from .tally import counted

outcomes = Realm("outcomes")


class Portfolio(Struct, frozen=True):
    """All that was worked out about one root, by names on the shelf."""

    root: str
    collection: Collection
    findings: list[str]
    meaning: str
    structure: str
    plan: str


class Studies(Struct, frozen=True):
    """The studies to report on, in the order of the report."""

    shelf: str
    studies: list[str]


@outcomes.handler
async def study(ctx: Context, portfolio: Portfolio) -> str:
    """Bind the parts of one root together."""
    name = await ctx.step("bind", counted(ctx, bind), portfolio)
    ctx.emit("root.studied", {"root": portfolio.root, "name": name})
    return name


@outcomes.handler
async def report(ctx: Context, studies: Studies) -> str:
    """Write the report as Markdown."""
    name = await ctx.step("write_report", counted(ctx, write_report), studies)
    ctx.emit("report.written", {"name": name})
    return name


@outcomes.handler
async def roadmap(ctx: Context, studies: Studies) -> str:
    """Write the roadmap as Markdown."""
    name = await ctx.step("write_roadmap", counted(ctx, write_roadmap), studies)
    ctx.emit("roadmap.written", {"name": name})
    return name


def bind(portfolio: Portfolio) -> str:
    """Read the parts and keep them as one."""
    shelf = Shelf(portfolio.collection.shelf)
    structure = shelf.get(portfolio.structure, Structure)
    bound = Study(
        root=portfolio.root,
        totals=totals_of(profiles_of(portfolio.collection)),
        findings=all_findings(shelf, portfolio.findings, structure),
        meaning=shelf.get(portfolio.meaning, Meaning),
        structure=structure,
        actions=shelf.get(portfolio.plan, list[Action]),
    )
    return shelf.put(bound)


def write_report(studies: Studies) -> str:
    """The report's text, by its name on the shelf."""
    return Shelf(studies.shelf).put(markdown.report(read_studies(studies)))


def write_roadmap(studies: Studies) -> str:
    """The roadmap's text, by its name on the shelf."""
    return Shelf(studies.shelf).put(markdown.roadmap(read_studies(studies)))


def read_studies(studies: Studies) -> list[Study]:
    """The studies themselves."""
    shelf = Shelf(studies.shelf)
    return [shelf.get(name, Study) for name in studies.studies]
