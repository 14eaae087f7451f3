"""A page of a list, as JSON or as a table, and how to get the next one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from intendant.cli.exits import OK
from intendant.cli.printing import Column, print_json, print_note, print_table
from intendant.cli.source import Where
from intendant.runtime.requests import QUESTIONS
from intendant.runtime.views import Page

T = TypeVar("T")


def print_page(
    where: Where,
    request: QUESTIONS,
    item: type[T],
    columns: Sequence[Column],
    row: Callable[[T], Sequence[Any]],
    *,
    as_json: bool,
) -> int:
    """Ask for a page of such items and print it. Returns the exit code; an empty page is none but zero."""
    source = where.source()
    answer = source.ask(request)
    if as_json:
        print_json(answer)
        return OK
    page: Page[T] = msgspec.json.decode(answer, type=Page[item])  # type: ignore[valid-type]
    if page.items:
        print_table(columns, [row(each) for each in page.items])
    more = f"; more: --cursor {page.cursor}" if page.cursor else ""
    print_note(f"{len(page.items) or 'none'}, from {source.name}{more}")
    return OK
