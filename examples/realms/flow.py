"""The flow of one run over its roots: what is handed in when, and what of one phase the next one needs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import anyio
import anyio.to_thread

from intendant import Outcome

from .analysis.model import Document, Listing, Outline, Problem, Profile, Vocabulary
from .content import Listed, Source, batches_of, ingest, parse
from .desk import TOGETHER_MAX, Desk
from .insights import Batch, Collection, analyse, assess, compare, interpret
from .journey import Judgement, plan
from .outcomes import Portfolio, Studies, report, roadmap, study
from .shelf import Shelf

OTHERS = 6
"""Executions of a root beside those for its files and batches."""

REPORTS = 2
"""Executions for the reader."""

READER = "reader"
"""The tenant that the reports are written for. The roots are tenants of their own and never see each other."""


async def run_all(desk: Desk, shelf: Shelf, sources: Sequence[Source]) -> tuple[Studies, str, str]:
    """Study all roots side by side, then write the report and the roadmap; returns their names on the shelf."""
    names: dict[str, str] = {}

    async def study_into(source: Source, listed: Listed) -> None:
        names[source.root] = await study_root(desk, shelf, source.root, listed)

    listings = [(source, await list_root(desk, source)) for source in sources]
    desk.expected = sum(listed.files + listed.batches + OTHERS for _, listed in listings) + REPORTS
    async with anyio.create_task_group() as group:
        for source, listed in listings:
            group.start_soon(study_into, source, listed)
    desk.phases = {READER: "outcomes"}
    studies = Studies(str(shelf.folder), [names[source.root] for source in sources])
    session = await desk.session(READER, "reports")
    written = await desk.submit(session, report, studies)
    planned = await desk.submit(session, roadmap, studies)
    return studies, await written.result(), await planned.result()


async def list_root(desk: Desk, source: Source) -> Listed:
    """List a root. From here on the run sees it as it was now, also after a kill: the listing is recorded."""
    session = await desk.session(source.root, "root")
    return await (await desk.submit(session, ingest, source)).result()


async def study_root(desk: Desk, shelf: Shelf, tenant: str, listed: Listed) -> str:
    """One root, phase by phase; returns the name of its study on the shelf."""
    session, place = await desk.session(tenant, "root"), str(shelf.folder)
    listing = await anyio.to_thread.run_sync(shelf.get, listed.listing, Listing)

    desk.phases[tenant] = "content"
    profiles = await parse_all(desk, tenant, listing.documents)
    batches = [[profiles[each.path] for each in batch] for batch in batches_of(listing.documents)]
    names = [await anyio.to_thread.run_sync(shelf.put, batch) for batch in batches]
    collection = Collection(place, listed.listing, names)

    desk.phases[tenant] = "insights"
    assessed = await desk.submit_all(session, assess, [Batch(place, name) for name in names])
    compared = await desk.submit(session, compare, collection)
    interpreted = await desk.submit(session, interpret, collection)
    analysed = await desk.submit(session, analyse, collection)
    findings = [(await each.result()).name for each in [*assessed, compared]]
    meaning, structure = await interpreted.result(), await analysed.result()

    desk.phases[tenant] = "journey"
    planned = await desk.submit(session, plan, Judgement(place, findings, structure.name))
    actions = await planned.result()
    portfolio = Portfolio(tenant, collection, findings, meaning.name, structure.name, actions.name)
    return await (await desk.submit(session, study, portfolio)).result()


async def parse_all(desk: Desk, tenant: str, documents: list[Document]) -> dict[str, Profile]:
    """Profile every document; the profiles by path.

    A document whose execution failed (it changed after it had been listed) is tried once more under a key of this
    run, for the failure is kept under its own key; failed again, it is reported like a file that cannot be read.
    """
    outcomes = await _parse(desk, tenant, documents)
    failed = [document for document in documents if not outcomes[document.path].success]
    desk.expected += len(failed)
    outcomes |= await _parse(desk, tenant, failed, again=desk.run)
    return {
        document.path: outcomes[document.path].result or _unusable(document, outcomes[document.path])
        for document in documents
    }


async def _parse(desk: Desk, tenant: str, documents: list[Document], again: str = "") -> dict[str, Outcome[Profile]]:
    """Hand in all documents, those of each top-level folder in a session of its own, and wait for all."""
    outcomes: dict[str, Outcome[Profile]] = {}

    async def parse_some(top: str, some: list[Document]) -> None:
        executions = await desk.submit_all(await desk.session(tenant, top), parse, some, again)
        for document, outcome in zip(some, await desk.outcomes(executions), strict=True):
            outcomes[document.path] = outcome

    async with anyio.create_task_group() as group:
        for top, inside in groupby(sorted(documents, key=lambda each: each.top), key=lambda each: each.top):
            waiting = list(inside)
            for first in range(0, len(waiting), TOGETHER_MAX):
                group.start_soon(parse_some, top, waiting[first : first + TOGETHER_MAX])
    return outcomes


def _unusable(document: Document, outcome: Outcome[Profile]) -> Profile:
    message = outcome.error.message if outcome.error else f"It ended {outcome.status}."
    return Profile(document, Outline("unreadable", problems=[Problem(1, "unreadable", message)]), Vocabulary())
