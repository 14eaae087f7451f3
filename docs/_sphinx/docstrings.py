"""Read the docstrings as they are written: for whoever reads the source, not for a markup."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import msgspec
from sphinx.application import Sphinx

import intendant
from intendant import supervisor

_PUBLIC = {*intendant.__all__, *supervisor.__all__}
_OURS = "|".join(name for name in _PUBLIC if re.search("[a-z][A-Z]|Overloaded|Fenced", name))  # no words of English
_BARE = re.compile(rf"(?<![`\w.=\"'])({_OURS})(?![`\w(])")
_QUOTED = re.compile(r"(?<![`\w.])`([^`]+)`(?![`_])")
_COLUMNS = re.compile(r"(\w+) {2,}(\S.*)")
_FIELD = re.compile(r"    (\w+): [^#]*#\s+(?!noqa|type:|pyright:)(.+)")


def adapt(_app: Sphinx, what: str, _name: str, thing: Any, _options: Any, lines: list[str]) -> None:
    """Code where a block is indented, links where ours are named, and what stands behind the fields of a class."""
    found = list(_marked(lines))
    if what == "class":
        found += ["", *_fields(thing), ""]
    if what == "exception" and "code" in vars(thing):
        found += ["", f"Code: ``{thing.code}``", ""]
    lines[:] = found


def _marked(lines: list[str]) -> Iterator[str]:
    in_code = False
    for before, line in pairwise(["", *lines]):
        if not line.startswith("    ") and line.strip():
            in_code = False
        elif line.startswith("    ") and not before.strip() and not in_code:
            in_code = True
            yield from (".. code-block:: python", "")
        yield line if in_code else _linked(line)


def _linked(line: str) -> str:
    """A name in backticks is a link if it is one of ours; what is more than a name is code."""
    if columns := _COLUMNS.fullmatch(line):
        return f":param {columns[1]}: {_linked(columns[2])}"
    if line.count("`") % 2:  # what is quoted goes on in the next line
        return line
    line = _BARE.sub(r"`\1`", line)
    return _QUOTED.sub(lambda found: found[0] if re.fullmatch(r"[\w.]+", found[1]) else f"``{found[1]}``", line)


def _fields(thing: type) -> Iterator[str]:
    """The comments behind fields of structs and dataclasses."""
    if not (dataclasses.is_dataclass(thing) or issubclass(thing, msgspec.Struct)):
        return
    for line in inspect.getsource(thing).splitlines():
        if field := _FIELD.fullmatch(line):
            yield f":param {field[1]}: {_linked(field[2])}"


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", adapt)
    return {"parallel_read_safe": True}
