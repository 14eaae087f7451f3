"""The part of an erasure that is done in cold state: dead letters, the archived log, and the proof that all is gone."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final

from msgspec.structs import replace

from intendant.actors.survey import Survey
from intendant.actors.tiers import Tiers
from intendant.domain import state as states
from intendant.domain.codec import encode
from intendant.domain.erasure import without_old
from intendant.domain.errors import StoreUnavailable
from intendant.domain.ports import Chunk, ColdDocument, ColdStore
from intendant.domain.refused import REFUSED, Refused, Source, read_refused

_CHUNKS: Final = 4  # that are read at a time


class ErasureInCold:
    """Takes from cold state what an erasure's scope had; documents were taken with those of the hot store.

    `version` is higher than any that was given before.
    """

    def __init__(
        self,
        survey: Survey,
        cold: ColdStore,
        tiers: Tiers,
        partition: int,
        version: int,
        rest: Callable[[], Awaitable[None]],
    ) -> None:
        self._scope = survey.content.scope
        self._cold = cold
        self._tiers = tiers
        self._survey = survey
        self._content = survey.content
        self._version = version
        self._partition = partition
        self._rest = rest

    async def run(self, end: int) -> None:
        """Erase what lies before `end`. Raises StoreUnavailable, also when the store refuses to let go of something."""
        await self._erase_letters(end)
        await self._rewrite_chunks(end)
        await self._confirm(end)

    async def _erase_letters(self, end: int) -> None:
        """What cold state refused."""
        async with aclosing(self._survey.letters()) as found:
            async for letters in found:
                for letter in letters:
                    await self._erase_letter(letter, end)
                await self._rest()

    async def _erase_letter(self, letter: ColdDocument, end: int) -> None:
        """Its place as well, where nothing was accepted later: what was refused might be taken when it comes late."""
        refused = read_refused(letter)
        left = self._left_of(refused.source, end)
        if left is refused.source:
            return
        if not isinstance(left, ColdDocument) and not await self._has_chunk(*left):
            await self._cold.archive(left[0], [left[1]])
        gone = isinstance(left, ColdDocument) or not left[1].entries
        body = None if gone else encode(Refused(left, refused.reason))
        await self._cold.put([ColdDocument(letter.tenant, REFUSED, letter.key, self._version, body)])

    async def _has_chunk(self, partition: int, chunk: Chunk) -> bool:
        there = await self._cold.chunks(partition, chunk.tenant, first=chunk.first, last=chunk.first)
        return any(each.first == chunk.first for each in there)

    async def _rewrite_chunks(self, end: int) -> None:
        async with aclosing(self._chunks_with_content(end)) as found:
            async for changed in found:
                await self._cold.archive(self._partition, changed)

    async def _chunks_with_content(self, end: int) -> AsyncGenerator[list[Chunk]]:
        """Chunks as they are to be, of all that have content still."""
        first, limit = 0, _CHUNKS
        while True:
            chunks = await self._tiers.chunks(self._scope.tenant, first, end - 1, limit=limit)
            fresh = [each for each in chunks if each.first >= first]  # the others overlap, and were met before
            changed = [new for each in fresh if (new := self._without_content(each, end)) is not None]
            if changed:
                yield changed
            if len(chunks) < limit:
                return
            first, limit = (fresh[-1].first + 1, _CHUNKS) if fresh else (first, 2 * limit)
            await self._rest()

    # --- whether it is gone

    async def _confirm(self, end: int) -> None:
        """What the store refuses counts as written, see `ColdStore`; here it would be content that stays for good."""
        stays = await self._document_left() or await self._chunk_left(end)
        if stays:
            raise StoreUnavailable(
                f"{self._cold.name} does not let go of {stays}, which {self._scope} had: it refuses what is written in "
                "its place; its dead letters and the log say why. When that is mended the erasure goes on by itself"
            )

    async def _document_left(self) -> str:
        for collection in states.CONTENT:
            async with aclosing(self._survey.pages(collection)) as pages:
                async for page in pages:
                    for key, body in page:
                        if self._content.owns(collection, key, body):
                            return f"{collection}/{key}"
        return ""

    async def _chunk_left(self, end: int) -> str:
        async with aclosing(self._chunks_with_content(end)) as found:
            async for changed in found:
                return f"the records {changed[0].first} to {changed[0].last}"
        async with aclosing(self._survey.letters()) as found_letters:
            async for letters in found_letters:
                for letter in letters:
                    source = read_refused(letter).source
                    if isinstance(source, tuple) and source[1].entries and self._left_of(source, end) is not source:
                        return f"the dead letter {letter.key}"
        return ""

    # --- what is to be left

    def _left_of(self, source: Source, end: int) -> Source:
        """What was refused without what is erased; itself if nothing is."""
        if isinstance(source, ColdDocument):
            own = self._content.owns(source.collection, source.key, source.body or b"")
            return replace(source, version=self._version, body=None) if own else source
        partition, chunk = source
        if not self._scope.session and chunk.last < end:
            return partition, replace(chunk, version=self._version, entries=[])
        new = self._without_content(chunk, end)
        return source if new is None else (partition, new)

    def _without_content(self, chunk: Chunk, end: int) -> Chunk | None:
        """None when there is none of it in the chunk."""
        if self._scope.session:
            entries = [self._content.rewritten(each) or each for each in chunk.entries]
        else:
            entries = without_old(chunk.entries, end)
        if entries == chunk.entries:
            return None
        return Chunk(chunk.tenant, chunk.first, chunk.last, self._version, entries)
