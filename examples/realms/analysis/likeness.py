"""Exact and near duplicates among the files of one root."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import combinations

from .model import Finding, Profile, Severity
from .quality import is_test
from .words import likeness

SMALLEST = 200
"""Below so many bytes, files are equal by chance or by habit."""

ALIKE = 0.8
SMALLEST_HASHES = 10
CROWD = 40
"""In a larger bucket each file is compared with the first one only: what is common to so many is boilerplate."""

NAMED_MAX = 30


def duplicates(profiles: Iterable[Profile]) -> Iterator[Finding]:
    """One finding for each set of files with the same content."""
    by_digest: defaultdict[str, list[Profile]] = defaultdict(list)
    for profile in profiles:
        if profile.document.digest and profile.document.size >= SMALLEST:
            by_digest[profile.document.digest].append(profile)
    for same in by_digest.values():
        if len(same) > 1:
            first, *others = sorted(each.path for each in same)
            message = f"{_files(len(others))} exactly the same content: {_named(others)}."
            yield Finding(
                first, 1, "duplicate", _severity(first, others), message, count=len(others), related=others[:NAMED_MAX]
            )


def near_duplicates(profiles: Iterable[Profile]) -> Iterator[Finding]:
    """One finding for each set of files that are at least four fifths the same."""
    sketches = {
        profile.path: profile.vocabulary.sketch for profile in _one_of_each(profiles) if profile.vocabulary.sketch
    }
    alike = {
        pair: share
        for pair in sorted(_candidates(sketches))
        if (share := likeness(sketches[pair[0]], sketches[pair[1]])) >= ALIKE
    }
    for members in _clusters(alike):
        first, *others = members
        shares = [share for (one, other), share in alike.items() if one in members and other in members]
        low, high = round(min(shares) * 100), round(max(shares) * 100)
        low, high = min(low, 99), min(high, 99)  # equal in all that the sketch sees, and still not the same
        range_ = f"{low} %" if low == high else f"{low} to {high} %"
        message = f"{_files(len(others))} nearly the same content (about {range_}): {_named(others)}."
        yield Finding(
            first, 1, "near-duplicate", _severity(first, others), message, count=len(others), related=others[:NAMED_MAX]
        )


def _one_of_each(profiles: Iterable[Profile]) -> Iterator[Profile]:
    """The first file of each content: the exact copies have a finding of their own."""
    seen: set[str] = set()
    for profile in sorted(profiles, key=lambda each: each.path):
        if profile.document.digest not in seen:
            seen.add(profile.document.digest)
            yield profile


def _candidates(sketches: dict[str, list[int]]) -> set[tuple[str, str]]:
    """Pairs that share one of their smallest hashes: at four fifths alike, one in 10⁷ does not."""
    buckets: defaultdict[int, list[str]] = defaultdict(list)
    for path in sorted(sketches):
        for value in sketches[path][:SMALLEST_HASHES]:
            buckets[value].append(path)
    pairs: set[tuple[str, str]] = set()
    for paths in buckets.values():
        if len(paths) <= CROWD:
            pairs.update(combinations(paths, 2))
        else:
            pairs.update((paths[0], other) for other in paths[1:])
    return pairs


def _clusters(pairs: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Join what is joined by a chain of pairs."""
    leader: dict[str, str] = {}

    def find(path: str) -> str:
        while leader.setdefault(path, path) != path:
            path = leader[path]
        return path

    for one, other in pairs:
        low, high = sorted((find(one), find(other)))
        leader[high] = low
    members: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted(leader):
        members[find(path)].append(path)
    return [members[path] for path in sorted(members)]


def _severity(first: str, others: list[str]) -> Severity:
    """Copies among test data are there on purpose."""
    return "note" if all(is_test(path) for path in [first, *others]) else "improve"


def _files(count: int) -> str:
    return "Another file has" if count == 1 else f"{count} other files have"


def _named(paths: list[str]) -> str:
    shown = ", ".join(paths[:3])
    return shown if len(paths) <= 3 else f"{shown} and {len(paths) - 3} more"
