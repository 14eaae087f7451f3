"""One file at a time: what it is made of and what it speaks of."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from .markdown import cut_anchors, outline_markdown
from .model import Document, Outline, Vocabulary
from .python import outline_python
from .reading import Text, read
from .tables import outline_table
from .words import vocabulary_of

OUTLINE_BYTES_MAX = 56 * 1024
"""A step's result may have 64 KiB."""


def outline(document: Document) -> Outline:
    """What `document` is made of, by its kind. Never fails for what is in the file."""
    text = read(document)
    found = outline_text(document.name, text)
    return fitted(replace(found, problems=[*text.problems, *found.problems]))


def fitted(found: Outline) -> Outline:
    """`found`, its lists cut until it can be a step's result. Only tables and lists without end come to this."""
    cut, keep = found, 256
    while len(msgspec.msgpack.encode(cut)) > OUTLINE_BYTES_MAX:
        cut = replace(
            found,
            headings=found.headings[:keep],
            anchors=cut_anchors(found.anchors, keep),
            links=found.links[:keep],
            tables=[replace(table, columns=table.columns[:keep]) for table in found.tables[: keep // 8]],
            problems=found.problems[:keep],
        )
        keep //= 2
    return cut


def outline_text(name: str, text: Text) -> Outline:
    """The outline of a text that was read."""
    match text.kind:
        case "markdown":
            return outline_markdown(text.text)
        case "python":
            return outline_python(text.text)
        case "table":
            return outline_table(name, text.text)
        case "text":
            return Outline("text", lines=len(text.text.splitlines()), title=_first_line(text.text))
        case _:
            return Outline(text.kind)


def vocabulary(document: Document) -> Vocabulary:
    """The words of `document`; none when it is not text."""
    text = read(document).text
    return vocabulary_of(text) if text else Vocabulary()


def _first_line(text: str) -> str:
    return next((line.strip()[:120] for line in text.splitlines() if line.strip()), "")
