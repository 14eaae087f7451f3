"""Links between documents of one root: where each leads, and which lead nowhere."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .markdown import ANY, slug_of
from .model import Finding, Link, Listing, Profile

ELSEWHERE = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:|//|\{|<")
"""Addresses, mail, and templates: nothing here can tell whether they lead somewhere."""

LINE_ANCHOR = re.compile(r"L\d+(-L?\d+)?")


@dataclass(frozen=True)
class Atlas:
    """Every place of a root that a link may lead to."""

    paths: frozenset[str]
    folders: frozenset[str]
    skipped: frozenset[str]
    anchors: dict[str, frozenset[str]]


def atlas_of(listing: Listing, profiles: Iterable[Profile]) -> Atlas:
    """Gather the places; what was skipped may well be there and is never called missing."""
    paths = frozenset(document.path for document in listing.documents)
    folders = frozenset(parent for path in paths for parent in _parents(path)) | {listing.root}
    anchors = {each.path: frozenset(each.outline.anchors) for each in profiles if each.outline.kind == "markdown"}
    return Atlas(paths, folders, frozenset(f"{listing.root}/{name}" for name in listing.skipped), anchors)


def broken_links(profiles: Iterable[Profile], atlas: Atlas) -> Iterator[Finding]:
    """Each relative link of a Markdown file whose file, folder or heading is not there."""
    for profile in profiles:
        for link in profile.outline.links:
            reason = _broken(profile, link, atlas)
            if reason:
                yield Finding(profile.path, link.line, "broken-link", "fix", f"“{link.target}”: {reason}.")


def linked_paths(profile: Profile, atlas: Atlas) -> list[str]:
    """The files of this root that a Markdown file links to, each once."""
    targets = {destination(profile.path, link) for link in profile.outline.links}
    return sorted(target for target in targets if target and target in atlas.paths and target != profile.path)


def destination(path: str, link: Link) -> str | None:
    """The path a link leads to from `path`; None when it leads out of what was scanned."""
    target = link.target.strip()
    if not target or ELSEWHERE.match(target):
        return None
    file = target.partition("#")[0].partition("?")[0]
    if not file:
        return path
    root = path.partition("/")[0]
    base = root if file.startswith("/") else posixpath.dirname(path)
    joined = posixpath.normpath(posixpath.join(base, file.lstrip("/")))
    return joined if joined == root or joined.startswith(root + "/") else None


def _broken(profile: Profile, link: Link, atlas: Atlas) -> str:
    target = destination(profile.path, link)
    if target is None or any(place in atlas.skipped for place in [target, *_parents(target)]):
        return ""
    if target not in atlas.paths:
        return "" if target in atlas.folders else "there is no such file or folder"
    anchor = link.target.partition("#")[2]
    known = atlas.anchors.get(target)
    if not anchor or known is None or LINE_ANCHOR.fullmatch(anchor) or anchor in ("top", ""):
        return ""
    return "" if {anchor, slug_of(anchor), ANY} & known else "the file has no such heading"


def _parents(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path
