"""Cold state in ArangoDB: documents that people can query, the archived log, and what the server refused.

Every write waits for the server's disk, has a key of its own and carries a version: repeated, late or twice, it ends
in the same. Requests run in a few worker threads of their own; none is repeated by the driver.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import anyio
import anyio.lowlevel

from intendant.adapters.arango import documents as kept
from intendant.adapters.arango import queries, reads, schema, writes
from intendant.adapters.arango.address import parse
from intendant.adapters.arango.documents import Item
from intendant.adapters.arango.driver import Client, Clients
from intendant.adapters.arango.errors import Fate, Fault
from intendant.adapters.arango.keys import END, document_key, list_id, owner, place, tenant_of
from intendant.adapters.arango.writes import Faults, WriteItems
from intendant.domain.errors import StoreUnavailable
from intendant.domain.logs import about
from intendant.domain.ports import Chunk, ColdDocument
from intendant.domain.refused import REFUSED, ends_below, letter_of_chunk, letter_of_document
from intendant.supervisor import Backoff

T = TypeVar("T")

logger = logging.getLogger("intendant.cold")

ATTEMPTS: Final = 6  # of what was not applied, with
BACKOFF: Final = Backoff(initial=0.05, maximum=1.0)  # between them; about two seconds in all
_REPEATED: Final = (Fate.AGAIN, Fate.CHANGED)
_SEQUENCE_MAX: Final = 2**53 - 1
_TRIM: Final = 1_000  # chunks that are removed at a time
_AT_A_TIME: Final = 64  # documents that are taken apart in one turn of the loop: some 0.4 ms
_LETTERS: Final = 16  # dead letters that are read at a time


class ArangoColdStore:
    """A cold store in one ArangoDB database, by the URL that `address` describes. Constructing it touches nothing.

    The database may hold other things, but not collections of these names (`schema.COLLECTIONS`). Needs ArangoDB 3.11
    or newer; from 3.12 on a write is one request, before it takes two or three.
    """

    def __init__(self, url: str) -> None:
        self._address = parse(url)
        self.name = self._address.name
        self._clients: Clients | None = None
        self._write_items: WriteItems | None = None  # known when the server was prepared

    async def open(self) -> None:
        """Connect, make the database, collections and indexes that are missing, and check those that are there.

        A server that can't be reached now is prepared by the first call that reaches it; until then every call raises
        StoreUnavailable. Raises ColdStoreMisconfigured when it can't be used as it is, UnknownFormat when a newer
        version made the collections. It may be called again after it raised.
        """
        if self._clients is not None:
            return
        self._clients = Clients(self._address)
        try:
            await self._prepare(self._clients)
        except StoreUnavailable as error:
            logger.warning("cold state is not there yet: %s", error, extra=about())
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Let go of connections; of one that is in use when its request ends."""
        clients, self._clients = self._clients, None
        self._write_items = None
        if clients is not None:
            await clients.close()

    # --- writing

    async def archive(self, partition: int, chunks: Sequence[Chunk]) -> None:
        """See `ColdStore.archive`."""
        await self._write([kept.chunk_item(partition, chunk) for chunk in chunks])

    async def put(self, documents: Sequence[ColdDocument]) -> None:
        """See `ColdStore.put`."""
        await self._write([kept.document_item(document) for document in documents])

    async def remove(self, documents: Sequence[tuple[str, str, str]]) -> None:
        """See `ColdStore.remove`."""
        clients, _ = await self._prepared()
        keys: dict[str, list[str]] = {}
        for tenant, collection, key in documents:
            keys.setdefault(schema.kept_in(collection), []).append(document_key(tenant, collection, key))
            letter = document_key(tenant, REFUSED, letter_of_document(collection, key))
            keys.setdefault(schema.DEAD_LETTERS, []).append(letter)
        for collection, of_one in keys.items():
            for start in range(0, len(of_one), kept.REQUEST_DOCUMENTS_MAX):
                await self._remove(clients, collection, of_one[start : start + kept.REQUEST_DOCUMENTS_MAX])

    async def trim(self, partition: int, tenant: str, *, below: int) -> None:
        """See `ColdStore.trim`. Goes on where it stopped when it is cancelled and repeated."""
        clients, _ = await self._prepared()
        binds = {"partition": partition, "owner": owner(tenant), "below": below, "limit": _TRIM}
        while keys := await self._ask(queries.ENDING_BELOW, schema.WAL, binds):
            await self._remove(clients, schema.WAL, keys)
        prefix = after = letter_of_chunk(partition, None)
        while letters := await self.documents(tenant, REFUSED, after=after, limit=_LETTERS):
            ended = [each for each in letters if each.key.startswith(prefix) and ends_below(each, below)]
            await self.remove([(tenant, REFUSED, each.key) for each in ended])
            after = letters[-1].key
            if not after.startswith(prefix):
                return

    async def _write(self, items: Sequence[Item]) -> None:
        clients, write = await self._prepared()
        for request in kept.requests(items):
            await self._write_request(clients, write, request)

    async def _write_request(self, clients: Clients, write: WriteItems, items: Sequence[Item]) -> None:
        """Send one bounded request until each document in it is kept, or buried; repeat only what was not applied."""
        collection = items[0].collection
        for attempt in range(ATTEMPTS):
            answer = await clients.run(partial(write, collection, await _fields_of(items)))
            if isinstance(answer, Fault):
                if answer.fate is Fate.REFUSED and len(items) > 1:
                    await self._write_apart(clients, write, items)
                    return
                faults: Faults = [answer] * len(items)
            else:
                faults = answer
            items = await self._settle(clients, write, items, faults, last=attempt == ATTEMPTS - 1)
            if not items:
                return
            await _pause(attempt)

    async def _write_apart(self, clients: Clients, write: WriteItems, items: Sequence[Item]) -> None:
        """The server refused a request as a whole: halves of it, and of these, until it is known for which document."""
        middle = len(items) // 2
        await self._write_request(clients, write, items[:middle])
        await self._write_request(clients, write, items[middle:])

    async def _settle(
        self, clients: Clients, write: WriteItems, items: Sequence[Item], faults: Faults, *, last: bool
    ) -> list[Item]:
        """What each document's answer asks for; returns those that are to be sent again."""
        again: list[Item] = []
        for item, fault in zip(items, faults, strict=True):
            if fault is None:
                continue
            if fault.fate is Fate.REFUSED:
                await self._bury(clients, write, item, fault)
            elif fault.fate in _REPEATED and not last:
                again.append(item)
            else:
                raise fault.error(self.name)
        return again

    async def _bury(self, clients: Clients, write: WriteItems, item: Item, fault: Fault) -> None:
        """Keep what the server refuses for good as a dead letter, with its content if it takes that."""
        for whole in (True, False):
            letter = kept.letter_item(item, fault.text, fault.number, whole=whole)
            if whole:
                logger.error(
                    "%s refused %s/%s at version %d for good and keeps it as dead letter %s: %s (errorNum %d)",
                    *(self.name, item.collection, item.key, item.version, letter.key, fault.text, fault.number),
                    extra=about(),
                )
            if await self._takes(clients, write, letter):
                return
        raise StoreUnavailable(f"{self.name} takes neither a document nor its dead letter; see the log")

    async def _takes(self, clients: Clients, write: WriteItems, letter: Item) -> bool:
        """Whether the server keeps a dead letter, or has a newer one."""
        for attempt in range(ATTEMPTS):
            answer = await clients.run(partial(write, letter.collection, [letter.fields()]))
            fault = answer if isinstance(answer, Fault) else answer[0]
            if fault is None or fault.fate is Fate.REFUSED:
                return fault is None
            if fault.fate not in _REPEATED or attempt == ATTEMPTS - 1:
                raise fault.error(self.name)
            await _pause(attempt)
        return False

    async def _remove(self, clients: Clients, collection: str, keys: Sequence[str]) -> None:
        for attempt in range(ATTEMPTS):
            faults = await self._do(clients, partial(writes.remove, collection, keys))
            failed = [(key, fault) for key, fault in zip(keys, faults, strict=True) if fault]
            if not failed:
                return
            for _, fault in failed:
                if fault.fate not in _REPEATED or attempt == ATTEMPTS - 1:
                    raise fault.error(self.name)
            keys = [key for key, _ in failed]
            await _pause(attempt)

    # --- reading

    async def document(self, tenant: str, collection: str, key: str) -> ColdDocument | None:
        """See `ColdStore.document`."""
        work = partial(reads.get, schema.kept_in(collection), document_key(tenant, collection, key))
        clients, _ = await self._prepared()
        fields = await self._do(clients, work)
        if fields is None:
            return None
        found = kept.read_document(fields, tenant, collection, key)
        return None if found.body is None else found

    async def documents(
        self, tenant: str, collection: str, *, after: str = "", limit: int = 100, newest_first: bool = False
    ) -> list[ColdDocument]:
        """See `ColdStore.documents`."""
        start = place(after) if after or not newest_first else END
        binds = {"list": list_id(tenant, collection), "after": start, "limit": limit}
        query = queries.DOCUMENTS_FALLING if newest_first else queries.DOCUMENTS
        found = await self._ask(query, schema.kept_in(collection), binds)
        return [kept.read_document(fields, tenant, collection) for fields in found]

    async def chunks(
        self,
        partition: int,
        tenant: str | None,
        *,
        first: int = 0,
        last: int | None = None,
        limit: int = 100,
        newest_first: bool = False,
    ) -> list[Chunk]:
        """See `ColdStore.chunks`. What begins before `first` is no farther off than the widest chunk is wide."""
        widest = await self._greatest(queries.WIDEST, partition) if first > 0 else 0
        binds: dict[str, Any] = {
            "partition": partition,
            "from": max(first - widest, 0),
            "first": first,
            "last": _SEQUENCE_MAX if last is None else last,
            "limit": limit,
        }
        if tenant is None:
            query = queries.CHUNKS_FALLING if newest_first else queries.CHUNKS
        else:
            query = queries.TENANT_CHUNKS_FALLING if newest_first else queries.TENANT_CHUNKS
            binds["owner"] = owner(tenant)
        found = await self._ask(query, schema.WAL, binds, batch=reads.CHUNK_BATCH)
        return [kept.read_chunk(fields, partition, tenant) for fields in found]

    async def tail(self, partition: int) -> int:
        """See `ColdStore.tail`."""
        return await self._greatest(queries.TAIL, partition)

    async def tenants(self, *, after: str = "", limit: int = 1000) -> list[str]:
        """See `ColdStore.tenants`."""
        binds = {"after": owner(after) if after else "", "limit": limit}
        owners: set[str] = set()
        for collection in schema.INDEXES:
            owners.update(await self._ask(queries.OWNERS, collection, binds))
        return [tenant_of(each) for each in sorted(owners)[:limit]]

    async def _greatest(self, query: str, partition: int) -> int:
        found = await self._ask(query, schema.WAL, {"partition": partition})
        return int(found[0]) if found else 0

    async def _ask(self, query: str, collection: str, binds: dict[str, Any], *, batch: int = reads.BATCH) -> list[Any]:
        clients, _ = await self._prepared()
        return await self._do(clients, partial(reads.ask, query, collection, batch, binds))

    # --- the server

    async def _do(self, clients: Clients, work: Callable[[Client], T]) -> T:
        """Do work that may be repeated, again as long as the server says that it did not do it."""
        attempt = 0
        while isinstance(answer := await clients.run(work), Fault):
            attempt += 1
            if answer.fate is not Fate.AGAIN or attempt == ATTEMPTS:
                raise answer.error(self.name)
            await _pause(attempt)
        return answer

    async def _prepared(self) -> tuple[Clients, WriteItems]:
        if self._clients is None:
            raise StoreUnavailable(f"{self.name} is not open; nothing was read or written")
        return self._clients, self._write_items or await self._prepare(self._clients)

    async def _prepare(self, clients: Clients) -> WriteItems:
        """Make and check what has to be there. Several at once do no harm: it is idempotent."""
        version = await self._do(clients, partial(schema.prepare, address=self._address))
        self._write_items = writes.write if version >= schema.VERSION_ATTRIBUTE_MIN else writes.write_comparing
        return self._write_items


async def _fields_of(items: Sequence[Item]) -> list[dict[str, Any]]:
    """Their attributes, some in each turn of the loop.

    In the worker thread that would be done beside the loop, and yet keep it waiting: each time it lets go of the
    interpreter it would get it back 5 ms later.
    """
    made: list[dict[str, Any]] = []
    for start in range(0, len(items), _AT_A_TIME):
        await anyio.lowlevel.checkpoint()
        made += [item.fields() for item in items[start : start + _AT_A_TIME]]
    return made


async def _pause(attempt: int) -> None:
    await anyio.sleep(BACKOFF.delay(attempt, random.random))
