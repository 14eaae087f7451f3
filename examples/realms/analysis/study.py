"""The phases as functions of profiles: what each realm's step calls, and what a test can call without a runtime."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from .likeness import duplicates, near_duplicates
from .links import atlas_of, broken_links
from .model import Finding, Listing, Profile, Study, Totals
from .order import by_place


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


__all__ = ["Study", "compare", "totals_of"]
