"""Realm `insights`, in three phases: assess what is wrong, interpret what is meant, analyse how it hangs together.

The profiles of a folder are more than a parameter should hold; they come by their names on the shelf.
"""

from __future__ import annotations

from msgspec import Struct

from intendant import Context, Realm

from .analysis.links import atlas_of
from .analysis.meaning import interpret as meaning_of
from .analysis.model import Finding, Listing, Profile
from .analysis.quality import assess as assess_each
from .analysis.structure import analyse as structure_of
from .analysis.study import compare as compare_all
from .shelf import Shelf
from .tally import counted

insights = Realm("insights")


class Batch(Struct, frozen=True):
    """The profiles of one folder, or of a few small ones."""

    shelf: str
    profiles: str


class Collection(Struct, frozen=True):
    """All profiles of a root, batch by batch, and its listing."""

    shelf: str
    listing: str
    batches: list[str]


class Kept(Struct, frozen=True):
    """The name of a result on the shelf, and how many things it holds."""

    name: str
    count: int


@insights.handler
async def assess(ctx: Context, batch: Batch) -> Kept:
    """First phase, by folder: broken and empty files, bad rows and values, undocumented and heavy code."""
    kept = await ctx.step("assess_batch", counted(ctx, assess_batch), batch)
    ctx.emit("folder.assessed", {"findings": kept.count})
    return kept


@insights.handler
async def compare(ctx: Context, collection: Collection) -> Kept:
    """First phase, across folders: links that lead nowhere, exact and near duplicates."""
    kept = await ctx.step("compare_collection", counted(ctx, compare_collection), collection)
    ctx.emit("root.compared", {"findings": kept.count})
    return kept


@insights.handler
async def interpret(ctx: Context, collection: Collection) -> Kept:
    """Second phase: key terms and groups of related documents."""
    kept = await ctx.step("interpret_collection", counted(ctx, interpret_collection), collection)
    ctx.emit("root.interpreted", {"groups": kept.count})
    return kept


@insights.handler
async def analyse(ctx: Context, collection: Collection) -> Kept:
    """Third phase: what is large, central, orphaned or circular."""
    kept = await ctx.step("analyse_collection", counted(ctx, analyse_collection), collection)
    ctx.emit("root.analysed", {"edges": kept.count})
    return kept


def assess_batch(batch: Batch) -> Kept:
    """Assess the files of a batch, each by itself."""
    shelf = Shelf(batch.shelf)
    return _keep(shelf, assess_each(shelf.get(batch.profiles, list[Profile])))


def compare_collection(collection: Collection) -> Kept:
    """Compare all files of a root with each other."""
    shelf = Shelf(collection.shelf)
    return _keep(shelf, compare_all(shelf.get(collection.listing, Listing), profiles_of(collection)))


def interpret_collection(collection: Collection) -> Kept:
    """Weigh the words of all files of a root."""
    meaning = meaning_of(profiles_of(collection))
    return Kept(Shelf(collection.shelf).put(meaning), len(meaning.groups))


def analyse_collection(collection: Collection) -> Kept:
    """Follow the links and imports between all files of a root."""
    shelf, profiles = Shelf(collection.shelf), profiles_of(collection)
    structure = structure_of(profiles, atlas_of(shelf.get(collection.listing, Listing), profiles))
    return Kept(shelf.put(structure), structure.edges)


def profiles_of(collection: Collection) -> list[Profile]:
    """All profiles of a collection."""
    shelf = Shelf(collection.shelf)
    return [profile for batch in collection.batches for profile in shelf.get(batch, list[Profile])]


def _keep(shelf: Shelf, findings: list[Finding]) -> Kept:
    return Kept(shelf.put(findings), len(findings))
