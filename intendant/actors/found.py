"""What a resume finds open."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from intendant.domain import state as states
from intendant.domain.ports import Document, IndexMember, LogReader

_PAGE = 1_000  # members of the open set that are read at a time


class Found(Struct, frozen=True, gc=False):
    """An open execution, as far as whoever gives turns must know it. A `concurrency` of 0 is the runtime's.

    Those of one commit have one `since`, and ids in the order in which they were submitted.
    """

    tenant: str
    session: str
    type: str
    id: str
    since: int
    priority: int
    concurrency: int
    within: bool  # it begins in the place of an execution above it, which is of the same session
    version: int


class _Parent(Struct):
    within: bool = False


class _Execution(Struct):
    """Of an execution's document what is needed here: so much less is kept when very many are open."""

    session: str
    type: str
    priority: int = 0
    parent: _Parent | None = None
    version: int = 1


class _Session(Struct):
    concurrency: int = 0


_NOTHING: Final = _Execution("", "")


async def found_open(log: LogReader) -> AsyncIterator[list[Found]]:
    """Every member of the open set, with what its document and its session's say, as many as are read at a time.

    One without a document that can be read is found as well: nobody else is held up, and its actor says what is wrong.
    """
    after: IndexMember | None = None
    concurrency: dict[tuple[str, str], int] = {}
    while page := await log.index(states.OPEN, after=after, limit=_PAGE):
        after = page[-1]
        documents = await log.fetch([(each.tenant, states.EXECUTIONS, each.member) for each in page])
        executions = [_header(each) for each in documents]
        since = [0 if each is None else each.since for each in documents]
        places = [(member.tenant, execution.session) for member, execution in zip(page, executions, strict=True)]
        await _read_sessions(log, [place for place in places if place not in concurrency], concurrency)
        yield [
            Found(
                *(*place, execution.type, member.member, first, execution.priority, concurrency[place]),
                *(execution.parent is not None and execution.parent.within, execution.version),
            )
            for member, place, execution, first in zip(page, places, executions, since, strict=True)
        ]


def _header(document: Document | None) -> _Execution:
    try:
        return _NOTHING if document is None else msgspec.msgpack.decode(document.body, type=_Execution)
    except msgspec.MsgspecError:
        return _NOTHING


async def _read_sessions(
    log: LogReader, places: Sequence[tuple[str, str]], concurrency: dict[tuple[str, str], int]
) -> None:
    wanted = list(dict.fromkeys(places))
    found = await log.fetch([(tenant, states.SESSIONS, session) for tenant, session in wanted]) if wanted else []
    for place, document in zip(wanted, found, strict=True):
        concurrency[place] = 0 if document is None else msgspec.msgpack.decode(document.body, type=_Session).concurrency
