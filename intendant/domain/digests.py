"""Digests of files in encoded content: who refers to which file. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

_HEXADECIMAL = re.compile(rb"[0-9a-f]{32,}")  # runs that may be a digest, or hold one


def named_in(contents: Iterable[bytes], digests: Collection[str]) -> set[str]:
    """Those of these digests that stand anywhere in the contents, as plain text."""
    found: set[str] = set()
    if not digests:
        return found
    lengths = {len(each) for each in digests}
    for content in contents:
        for run in _HEXADECIMAL.findall(content):
            text = run.decode()
            if len(text) in lengths and text in digests:
                found.add(text)
            if any(len(text) > length for length in lengths):  # something else stands beside it
                found.update(each for each in digests if each in text)
    return found
