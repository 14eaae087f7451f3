"""Realm `content`: what is in a folder, and what each file is made of.

A handler is a plain async function. What takes time or touches the world is a step: its result is recorded, and
after a crash it is read back instead of computed again. What lies between steps is cheap and runs again.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from intendant import Context, Realm

from .analysis.listing import list_folder
from .analysis.model import Document, Profile
from .analysis.profiling import outline, vocabulary
from .shelf import Shelf
from .tally import counted

content = Realm("content")

BATCHES_MAX = 250
"""Batches of a root; in a larger one, neighbouring small folders are put together."""


class Source(Struct, frozen=True):
    """A folder to read, as part of one run: a run sees a folder as it was when it was listed."""

    run: str
    root: str
    folder: str
    shelf: str
    leave_out: list[str] = []
    files_max: int = 0


class Listed(Struct, frozen=True):
    """Where the listing is kept, and how much it names."""

    listing: str
    files: int
    bytes: int
    batches: int


@content.handler
async def ingest(ctx: Context, source: Source) -> Listed:
    """List a folder with the digest of each file's content."""
    listed = await ctx.step("list_source", counted(ctx, list_source), source)
    ctx.emit("folder.listed", {"root": source.root, "files": listed.files})
    return listed


@content.handler
async def parse(ctx: Context, document: Document) -> Profile:
    """Profile one file. Killed between the two steps, it goes on with the second."""
    made_of = await ctx.step("outline", counted(ctx, outline), document)
    words = await ctx.step("vocabulary", counted(ctx, vocabulary), document)
    ctx.emit("document.parsed", {"path": document.path, "kind": made_of.kind, "lines": made_of.lines})
    return Profile(document, made_of, words)


def list_source(source: Source) -> Listed:
    """List the folder and keep the listing on the shelf: it may be larger than a step's result."""
    listing = list_folder(source.root, source.folder, tuple(source.leave_out), source.files_max)
    size = sum(document.size for document in listing.documents)
    batches = sum(1 for _ in batches_of(listing.documents))
    return Listed(Shelf(source.shelf).put(listing), len(listing.documents), size, batches)


def batches_of(documents: list[Document]) -> Iterator[list[Document]]:
    """The documents of each folder together; the fewest folders that make a batch large enough for `BATCHES_MAX`."""
    large_enough = max(1, len(documents) // BATCHES_MAX)
    batch: list[Document] = []
    for document in sorted(documents, key=lambda each: (each.parent, each.path)):
        if batch and document.parent != batch[-1].parent and len(batch) >= large_enough:
            yield batch
            batch = []
        batch.append(document)
    if batch:
        yield batch
