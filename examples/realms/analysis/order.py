"""The one order in which findings are kept and shown."""

from __future__ import annotations

from .model import Finding


def by_place(finding: Finding) -> tuple[str, int, str, str]:
    """By file, line, kind and words: total, so that equal input sorts equally."""
    return finding.path, finding.line, finding.kind, finding.message
