"""What a Markdown text is made of: headings and their anchors, links with their lines, tables."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from itertools import pairwise
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

from .model import Heading, Link, Outline, Problem, Table
from .tables import profile_rows

HEADINGS_MAX = 300
LINKS_MAX = 400
TABLES_MAX = 20
PARSED_MAX = 1024 * 1024
"""Characters; more of it takes the parser half a minute, and is no prose either."""

LINE_MAX = 20_000
"""A longer line is no prose; the parser's time grows with its square."""

ANY = "*"
HTML_LINK = re.compile(r"""<(?:a|img)\b[^>]*?\s(?:href|src)\s*=\s*["']([^"']+)["']""", re.IGNORECASE)
HTML_ANCHOR = re.compile(r"""<[a-z0-9]+\b[^>]*?\s(?:id|name)\s*=\s*["']([^"']+)["']""", re.IGNORECASE)


def outline_markdown(text: str) -> Outline:
    """Headings, links and tables of a CommonMark text with tables."""
    problems: list[Problem] = []
    if len(text) > PARSED_MAX:
        problems.append(
            Problem(1, "huge", f"Of {len(text):,} characters only the first {PARSED_MAX:,} were looked at.")
        )
    lines = text[:PARSED_MAX].splitlines()
    for number, line in enumerate(lines, 1):
        if len(line) > LINE_MAX:
            problems.append(Problem(number, "long-line", f"A line of {len(line)} characters; it was not looked at."))
            lines[number - 1] = ""
    tokens = MarkdownIt("commonmark").enable("table").parse("\n".join(lines))
    headings = list(_headings(tokens))
    links = sorted(set(_links(tokens)), key=lambda link: (link.line, link.target))
    anchors = [*_slugs(headings), *sorted(set(_html_anchors(tokens)))]
    return Outline(
        "markdown",
        lines=len(text.splitlines()),
        title=headings[0].text if headings else "",
        headings=headings[:HEADINGS_MAX],
        anchors=cut_anchors(anchors, HEADINGS_MAX),
        links=links[:LINKS_MAX],
        tables=list(_tables(tokens, lines))[:TABLES_MAX],
        problems=problems,
    )


def _headings(tokens: list[Token]) -> Iterator[Heading]:
    for token, following in pairwise(tokens):
        if token.type == "heading_open":
            text = "".join(child.content for child in following.children or [] if child.type in ("text", "code_inline"))
            yield Heading(_line(token), int(token.tag[1:]), text.strip()[:200])


def _links(tokens: list[Token]) -> Iterator[Link]:
    for token in tokens:
        line = _line(token)
        if token.type == "html_block":
            for offset, text in enumerate(token.content.splitlines()):
                yield from (Link(line + offset, match.group(1)) for match in HTML_LINK.finditer(text))
        for child in token.children or []:
            if child.type in ("softbreak", "hardbreak"):
                line += 1
            elif child.type in ("link_open", "image"):
                target = str(child.attrs.get("href") or child.attrs.get("src") or "")
                yield Link(line, unquote(target)[:300])
            elif child.type == "html_inline":
                yield from (Link(line, match.group(1)[:300]) for match in HTML_LINK.finditer(child.content))


def _html_anchors(tokens: list[Token]) -> Iterator[str]:
    for token in tokens:
        for part in [token, *(token.children or [])]:
            if part.type in ("html_block", "html_inline"):
                yield from (match.group(1) for match in HTML_ANCHOR.finditer(part.content))


def _slugs(headings: list[Heading]) -> list[str]:
    """The anchors that code hosts give to headings; the second of a name gets `-1`."""
    seen: dict[str, int] = {}
    slugs: list[str] = []
    for heading in headings:
        slug = slug_of(heading.text)
        count = seen.get(slug, 0)
        seen[slug] = count + 1
        slugs.append(f"{slug}-{count}" if count else slug)
    return slugs


def cut_anchors(anchors: list[str], count: int) -> list[str]:
    """The first anchors, and `ANY` in place of the others: whatever was cut may be linked to."""
    return anchors if len(anchors) <= count else [*anchors[:count], ANY]


def slug_of(heading: str) -> str:
    """Lower case, spaces to hyphens, everything but letters, digits, hyphens and underscores left out."""
    kept = (
        c
        for c in heading.lower()
        if c in " -_" or unicodedata.category(c)[0] in "LN" or unicodedata.category(c) == "Mn"
    )
    return "".join(kept).strip().replace(" ", "-")


def _tables(tokens: list[Token], lines: list[str]) -> Iterator[Table]:
    """Tables are split from the source, for the parser pads and cuts rows that have another number of cells."""
    for token in tokens:
        if token.type == "table_open" and token.map:
            first, last = token.map
            rows = [(number + 1, split_row(lines[number])) for number in range(first, min(last, len(lines)))]
            header = rows[0][1] if rows else []
            yield profile_rows(header, rows[2:], first + 1)


def split_row(line: str) -> list[str]:
    """The cells of `| a | b |`; a pipe counts unless it is escaped, as GitHub's rules say."""
    inside = line.strip().removeprefix("|")
    cells = re.split(r"(?<!\\)\|", inside)
    if len(cells) > 1 and not cells[-1].strip():
        cells.pop()
    return [cell.strip().replace("\\|", "|") for cell in cells]


def _line(token: Token) -> int:
    return token.map[0] + 1 if token.map else 1
