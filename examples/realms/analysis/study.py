"""The phases together: what the steps call, and the whole study of a folder without any runtime."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from .likeness import duplicates, near_duplicates
from .links import atlas_of, broken_links
from .listing import list_folder
from .meaning import interpret
from .model import Finding, Listing, Profile, Study, Totals
from .order import by_place
from .plan import plan
from .profiling import outline, vocabulary
from .quality import assess
from .structure import analyse


def study_folder(root: str, folder: str) -> Study:
    """Everything the realms work out about a folder, one after the other: what a run must come to as well."""
    listing = list_folder(root, folder)
    profiles = [Profile(document, outline(document), vocabulary(document)) for document in listing.documents]
    structure = analyse(profiles, atlas_of(listing, profiles))
    findings = sorted([*assess(profiles), *compare(listing, profiles), *structure.findings], key=by_place)
    actions = plan(findings, structure.ranks)
    return Study(root, totals_of(profiles), findings, interpret(profiles), structure, actions)


def compare(listing: Listing, profiles: list[Profile]) -> list[Finding]:
    """What shows only between files: links that lead nowhere and duplicates; and folders that could not be entered."""
    atlas = atlas_of(listing, profiles)
    closed = [
        Finding(f"{listing.root}/{name}", 1, "unreadable", "fix", "The folder cannot be entered.")
        for name in listing.unreadable
    ]
    found = [*closed, *broken_links(profiles, atlas), *duplicates(profiles), *near_duplicates(profiles)]
    return sorted(found, key=by_place)


def totals_of(profiles: Iterable[Profile]) -> Totals:
    """How much was read, by kind."""
    ordered = list(profiles)
    kinds = Counter(profile.outline.kind for profile in ordered)
    return Totals(
        files=len(ordered),
        bytes=sum(profile.document.size for profile in ordered),
        lines=sum(profile.outline.lines for profile in ordered),
        words=sum(profile.vocabulary.words for profile in ordered),
        kinds={str(kind): count for kind, count in sorted(kinds.items())},
    )
