"""Documents and chunks as ArangoDB keeps them, and back; and how many of them go into one request."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import asdict, replace

from intendant.adapters.arango.bodies import body_of, fields_of, to_bytes, to_text
from intendant.adapters.arango.keys import chunk_key, document_key, list_id, owner, place
from intendant.adapters.arango.schema import WAL, kept_in
from intendant.domain.codec import digest, encode
from intendant.domain.errors import InternalError
from intendant.domain.ports import Chunk, ColdDocument
from intendant.domain.refused import Refused

REQUEST_DOCUMENTS_MAX: Final = 1_000
REQUEST_BYTES_MAX: Final = 8 * 1024 * 1024

_OVERHEAD: Final = 1_024  # names of attributes, numbers and digests
_EXPANSION: Final = 6  # at most, of msgpack in JSON: a control character becomes \u0000
_ID_EXPANSION: Final = 30  # a character of four bytes stands in clear, and as digits, and escaped in `_key`


class Notes(Struct, frozen=True):
    """What people want to know of a dead letter."""

    of: str  # the collection, and
    of_key: str  # the `_key` there
    reason: str
    number: int
    size: int
    digest: str


class Item(Struct, frozen=True, gc=False):
    """A document for ArangoDB: where it goes, and about how many bytes it takes (never fewer than it really does)."""

    collection: str
    key: str
    version: int
    size: int
    source: ColdDocument | tuple[int, Chunk]
    notes: Notes | None = None

    def fields(self) -> dict[str, Any]:
        """All its attributes."""
        source = self.source
        if isinstance(source, ColdDocument):
            return {**_of_document(self.key, source), **(asdict(self.notes) if self.notes else {})}
        return _of_chunk(self.key, *source)


def document_item(document: ColdDocument) -> Item:
    """A document as it is kept."""
    ids = len(document.tenant) + len(document.collection) + len(document.key)
    return Item(
        kept_in(document.collection),
        document_key(document.tenant, document.collection, document.key),
        document.version,
        _OVERHEAD + _ID_EXPANSION * ids + _EXPANSION * len(document.body or b""),
        document,
    )


def letter_item(item: Item, reason: str, number: int, *, whole: bool) -> Item:
    """The dead letter of what was refused; not `whole`, it says what that was, and no more."""
    content = encode(item.source)
    refused = Refused(item.source, reason)
    letter = document_item((refused if whole else refused.without_content).letter)
    notes = Notes(item.collection, item.key, reason, number, len(content), digest(content).hex())
    return replace(letter, notes=notes)


def chunk_item(partition: int, chunk: Chunk) -> Item:
    """A chunk as it is kept."""
    size = sum(4 + (len(entry) + 2) // 3 * 4 for entry in chunk.entries)
    key = chunk_key(partition, chunk.tenant, chunk.first)
    return Item(WAL, key, chunk.version, _OVERHEAD + _ID_EXPANSION * len(chunk.tenant) + size, (partition, chunk))


def requests(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Items by collection in requests of bounded size, of each key only the highest version.

    One that alone is larger than a request may be has one to itself.
    """
    newest: dict[tuple[str, str], Item] = {}
    for item in items:
        kept = newest.get((item.collection, item.key))
        if kept is None or item.version > kept.version:
            newest[item.collection, item.key] = item
    gathered: dict[str, list[Item]] = {}
    for item in newest.values():
        gathered.setdefault(item.collection, []).append(item)
    for of_one in gathered.values():
        yield from _bounded(of_one)


def _bounded(items: list[Item]) -> Iterator[list[Item]]:
    request: list[Item] = []
    size = 0
    for item in items:
        if request and (len(request) == REQUEST_DOCUMENTS_MAX or size + item.size > REQUEST_BYTES_MAX):
            yield request
            request, size = [], 0
        request.append(item)
        size += item.size
    yield request


def read_document(fields: dict[str, Any], tenant: str, collection: str, key: str | None = None) -> ColdDocument:
    """The document that these attributes keep. Raises InternalError if it is another than was asked for."""
    if fields["tenant"] != tenant or fields["collection"] != collection or (key is not None and fields["key"] != key):
        raise InternalError(f"the document {fields['_key']} is not the one that was asked for; nothing of it was shown")
    return ColdDocument(tenant, collection, fields["key"], fields["version"], body_of(fields))


def read_chunk(fields: dict[str, Any], partition: int, tenant: str | None) -> Chunk:
    """The chunk that these attributes keep. Raises InternalError if it is another than was asked for."""
    if fields["partition"] != partition or (tenant is not None and fields["tenant"] != tenant):
        raise InternalError(f"the chunk {fields['_key']} is not the one that was asked for; nothing of it was shown")
    entries = [to_bytes(entry) for entry in fields["entries"]]
    return Chunk(fields["tenant"], fields["first"], fields["last"], fields["version"], entries)


def _of_document(key: str, document: ColdDocument) -> dict[str, Any]:
    return {
        "_key": key,
        "tenant": document.tenant,
        "collection": document.collection,
        "key": document.key,
        "version": document.version,
        "owner": owner(document.tenant),
        "list": list_id(document.tenant, document.collection),
        "place": place(document.key),
        **fields_of(document.body),
    }


def _of_chunk(key: str, partition: int, chunk: Chunk) -> dict[str, Any]:
    return {
        "_key": key,
        "partition": partition,
        "tenant": chunk.tenant,
        "first": chunk.first,
        "last": chunk.last,
        "version": chunk.version,
        "owner": owner(chunk.tenant),
        "span": chunk.last - chunk.first,
        "gone": not chunk.entries,
        "entries": [to_text(entry) for entry in chunk.entries],
    }
