"""What a tenant or session has: looked through before anything is erased, and all that a dry run does."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final

from intendant.actors.acceptance import decode_claim
from intendant.actors.barred import open_executions
from intendant.actors.tiers import Tiers
from intendant.domain import state as states
from intendant.domain.erasure import Content, Erased, Scope
from intendant.domain.ports import ColdDocument, ColdStore, FileStore, LogReader, OutboxItem
from intendant.domain.refused import REFUSED, letter_of_document, read_refused

_PAGE: Final = 256
_LETTERS: Final = 4  # that are read at a time: each may hold a chunk
_LOOKED_AT_FIRST: Final = states.EXECUTIONS


class Survey:
    """Looks through one tenant. Costs reading all of its log, documents, keys and waiting events, in either store."""

    def __init__(
        self, scope: Scope, log: LogReader, cold: ColdStore | None, files: FileStore, *, partition: int
    ) -> None:
        self.content = Content(scope)
        self.shared: set[str] = set()  # files that something else of the tenant names as well
        self.own: set[str] = set()  # files that nothing else does
        self.open: list[str] = []
        self._scope = scope
        self._log = log
        self._cold = cold
        self._tiers = Tiers(log, cold, partition)
        self._files = files
        self._digests: frozenset[str] = frozenset()
        self._counts = dict.fromkeys(("executions", "documents", "keys", "events", "journals"), 0)

    async def run(self, rest: Callable[[], Awaitable[None]]) -> Erased:
        """Look; `rest` is called between pieces of work. Raises StoreUnavailable."""
        scope, content = self._scope, self.content
        self._digests = frozenset(await self._files.digests(scope.tenant))
        records = self._tiers.records(scope.tenant)
        while page := await records.read():
            for record in page:
                content.see_record(record, self._digests if scope.session else ())
            await rest()
        await self._look_at_documents(rest)
        await self._look_at_journals()
        async with aclosing(self.events()) as found:
            async for item in found:
                self._counts["events"] += self._see_event(item)
        async with aclosing(self.keys()) as found:
            async for _ in found:
                self._counts["keys"] += 1
        # What retention's log named is nobody's any more: it may have been the session's, and it goes anyway.
        content.files |= self._digests.intersection((await self._tiers.floor(scope.tenant)).orphans)
        self.own = content.files - content.others if scope.session else set(self._digests)
        self.shared = content.files & content.others
        return self.erased()

    def erased(self) -> Erased:
        """The counts."""
        return Erased(
            tenant=self._scope.tenant,
            session=self._scope.session,
            open=len(self.open),
            records=self.content.records,
            files=len(self.own),
            shared=len(self.shared),
            **self._counts,
        )

    async def _look_at_documents(self, rest: Callable[[], Awaitable[None]]) -> None:
        for collection in sorted(states.CONTENT, key=lambda each: each != _LOOKED_AT_FIRST):
            async with aclosing(self.pages(collection)) as pages:
                async for page in pages:
                    for key, body in page:
                        own = self.content.see_document(collection, key, body, self._digests)
                        self._counts["documents"] += own
                        self._counts["executions"] += own and collection == states.EXECUTIONS
                    await rest()

    async def _look_at_journals(self) -> None:
        scope = self._scope
        self.open = await open_executions(self._log, scope)
        own = set(self.open)
        everybodys = await open_executions(self._log, Scope(scope.tenant)) if scope.session else self.open
        for execution in everybodys:
            rows = await self._log.journal(scope.tenant, execution)
            self._counts["journals"] += bool(rows) and execution in own
            for row in rows:
                self.content.see_body(row, self._digests, own=execution in own)

    def _see_event(self, item: OutboxItem) -> bool:
        own = self._is_own(item)
        self.content.see_body(item.body, self._digests, own=own)
        return own

    def _is_own(self, item: OutboxItem) -> bool:
        return not self._scope.session or item.session == self._scope.session

    # --- what belongs to it

    async def pages(self, collection: str) -> AsyncGenerator[list[tuple[str, bytes]]]:
        """Keys and bodies of the tenant's documents: the hot store's, then what only cold state has, or has refused.

        All of both, because an erasure that was cut off may have taken from one what it had not from the other.
        """
        tenant, after = self._scope.tenant, ""
        while hot := await self._log.documents(tenant, collection, after=after, limit=_PAGE):
            yield [(each.key, each.body) for each in hot]
            after = hot[-1].key
        after = ""
        while self._cold is not None:
            cold = await self._cold.documents(tenant, collection, after=after, limit=_PAGE)
            if not cold:
                break
            there = await self._log.fetch([(tenant, collection, each.key) for each in cold])
            yield [(each.key, each.body or b"") for each, other in zip(cold, there, strict=True) if other is None]
            after = cold[-1].key
        async with aclosing(self.letters(letter_of_document(collection, ""))) as found:
            async for refused in found:
                for letter in refused:
                    source = read_refused(letter).source
                    if isinstance(source, ColdDocument) and source.body and not await self._stands(source):
                        yield [(source.key, source.body)]

    async def letters(self, prefix: str = "") -> AsyncGenerator[list[ColdDocument]]:
        """What cold state refused for good and keeps apart: those of the tenant whose keys begin so."""
        after = prefix
        while self._cold is not None:
            found = await self._cold.documents(self._scope.tenant, REFUSED, after=after, limit=_LETTERS)
            own = [each for each in found if each.key.startswith(prefix)]
            if own:
                yield own
            if not found or len(own) < len(found):
                return
            after = found[-1].key

    async def _stands(self, document: ColdDocument) -> bool:
        """Whether a document, or a newer one at its place, is where documents should be."""
        place = (document.tenant, document.collection, document.key)
        hot = await self._log.document(*place)
        return hot is not None or (self._cold is not None and await self._cold.document(*place) is not None)

    async def events(self, *, own: bool = False) -> AsyncGenerator[OutboxItem]:
        """Events of the tenant that wait; with `own` those of the scope."""
        after = 0
        while page := await self._log.outbox(after=after, limit=_PAGE, tenant=self._scope.tenant):
            for item in page:
                if not own or self._is_own(item):
                    yield item
            after = page[-1].position

    async def keys(self) -> AsyncGenerator[str]:
        """Keys that executions of the scope hold."""
        after = ""
        while page := await self._log.keys(self._scope.tenant, after=after, limit=_PAGE):
            for key, value in page:
                if not self._scope.session or decode_claim(value).execution in self.content.executions:
                    yield key
            after = page[-1][0]
