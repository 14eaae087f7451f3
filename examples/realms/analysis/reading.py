"""Read a document's text, or say why there is none."""

from __future__ import annotations

import io
import tokenize
from pathlib import Path

from msgspec import Struct

from .listing import digest_of
from .model import Document, Kind, Problem

SUFFIXES: dict[str, Kind] = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".csv": "table",
    ".tsv": "table",
    ".py": "python",
    ".pyw": "python",
    ".pyi": "python",
}
MAGIC = (
    (b"\x89PNG", "a PNG image"),
    (b"GIF8", "a GIF image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "gzip data"),
    (b"\x7fELF", "an ELF program or library"),
    (b"MZ", "a Windows program"),
    (b"%PDF", "a PDF document"),
    (b"SQLite format 3", "an SQLite database"),
    (b"RIFF", "RIFF media"),
    (b"\x00\x00\x01\x00", "an icon"),
)
MARKERS = frozenset({"__init__.py", "py.typed", ".gitkeep", ".keep", ".nojekyll"})
"""Files that say something by being there; nothing is amiss when they are empty."""


class ChangedSinceListed(Exception):
    """The file no longer holds what was accepted for analysis. A new run lists it anew."""


class Text(Struct, frozen=True):
    """A document's kind and text; `problems` says what was wrong on the way."""

    kind: Kind
    text: str = ""
    problems: list[Problem] = []


def read(document: Document) -> Text:
    """The text of `document`; a file without usable text comes back with its kind and a problem, never as an error.

    Raises `ChangedSinceListed` when the content is not the listed one: its result would be stored under a wrong key.
    """
    if document.problem:
        return _refused(document)
    content = (Path(document.folder) / document.name).read_bytes()
    if digest_of(content) != document.digest:
        raise ChangedSinceListed(f"{document.path} has changed since it was listed")
    return decode(document.name, content)


def decode(name: str, content: bytes) -> Text:
    """The text in `content`, by the kind its name and first bytes say."""
    base = name.rpartition("/")[2]
    if not content.strip():
        return Text("empty", problems=[] if base in MARKERS else [Problem(1, "empty", "The file is empty.")])
    kind = SUFFIXES.get(Path(name).suffix.lower(), "text")
    what = next((words for magic, words in MAGIC if content.startswith(magic)), "")
    if what or (b"\0" in content[:8192] and not content.startswith((b"\xff\xfe", b"\xfe\xff")) and kind != "table"):
        return Text(
            "binary", problems=[Problem(1, "binary", f"Not text but {what or 'binary data'}, {_size(content)}.")]
        )
    return _decoded(kind, content)


def _decoded(kind: Kind, content: bytes) -> Text:
    encoding = "utf-8-sig"
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif kind == "python":
        try:
            encoding = tokenize.detect_encoding(io.BytesIO(content).readline)[0]
        except SyntaxError as error:
            problem = Problem(1, "encoding", f"Its declared encoding cannot be used: {error.msg}.")
            return Text(kind, content.decode("latin-1"), [problem])
    try:
        return Text(kind, content.decode(encoding))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        message = (
            f"Not valid {encoding.removesuffix('-sig').upper()}: byte 0x{content[error.start]:02x} at {error.start}."
        )
        return Text(kind, content.decode(encoding, "replace"), [Problem(line, "encoding", message)])


def _refused(document: Document) -> Text:
    if document.problem == "alias":
        return Text("alias")
    if document.problem == "huge":
        message = f"{document.size / 1048576:.1f} MiB: too large to be read here; only its size was looked at."
        return Text("huge", problems=[Problem(1, "huge", message)])
    return Text("unreadable", problems=[Problem(1, "unreadable", f"It cannot be read: {document.problem}.")])


def _size(content: bytes) -> str:
    return f"{len(content)} bytes" if len(content) < 1024 else f"{len(content) / 1024:.1f} KiB"
