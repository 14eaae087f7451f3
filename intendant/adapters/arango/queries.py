"""Every AQL text that is ever sent. All are constant: values come by `@name`, the collection by `@@collection`.

What is compared for order is digits or numbers only (see `keys`), so that the server's language can't change it. Each
query is answered from one persistent index, in the index's order; the indexes stand in `schema`.
"""

from __future__ import annotations

from typing import Final

DOCUMENTS: Final = (
    "FOR doc IN @@collection FILTER doc.list == @list AND doc.gone == false AND doc.place > @after "
    "SORT doc.place LIMIT @limit RETURN doc"
)
"""Whole documents of one list (a tenant's collection) that are no tombstones, by place, behind `after`.

Binds: list, after (strings), limit. Index: list, gone, place.
"""

DOCUMENTS_FALLING: Final = (
    "FOR doc IN @@collection FILTER doc.list == @list AND doc.gone == false AND doc.place < @after "
    "SORT doc.place DESC LIMIT @limit RETURN doc"
)
"""The same with places falling, before `after`."""

CHUNKS: Final = (
    "FOR doc IN @@collection FILTER doc.partition == @partition AND doc.first >= @from AND doc.first <= @last "
    "AND doc.last >= @first AND doc.gone == false SORT doc.first LIMIT @limit RETURN doc"
)
"""Whole chunks of a partition, no tombstones, that begin in from..last and do not end before first, by first.

Binds: partition, from, first, last, limit (numbers). Index: partition, first.
"""

CHUNKS_FALLING: Final = (
    "FOR doc IN @@collection FILTER doc.partition == @partition AND doc.first >= @from AND doc.first <= @last "
    "AND doc.last >= @first AND doc.gone == false SORT doc.first DESC LIMIT @limit RETURN doc"
)
"""The same with first falling."""

TENANT_CHUNKS: Final = (
    "FOR doc IN @@collection FILTER doc.partition == @partition AND doc.owner == @owner AND doc.first >= @from "
    "AND doc.first <= @last AND doc.last >= @first AND doc.gone == false SORT doc.first LIMIT @limit RETURN doc"
)
"""As CHUNKS, of one owner (an encoded tenant). Binds: those of CHUNKS, owner (a string).

Index: partition, owner, first.
"""

TENANT_CHUNKS_FALLING: Final = (
    "FOR doc IN @@collection FILTER doc.partition == @partition AND doc.owner == @owner AND doc.first >= @from "
    "AND doc.first <= @last AND doc.last >= @first AND doc.gone == false SORT doc.first DESC LIMIT @limit RETURN doc"
)
"""The same with first falling."""

WIDEST: Final = "FOR doc IN @@collection FILTER doc.partition == @partition SORT doc.span DESC LIMIT 1 RETURN doc.span"
"""The greatest `span` (last - first) of a partition's chunks, tombstones included; nothing if there is none.

Binds: partition. Index: partition, span.
"""

TAIL: Final = "FOR doc IN @@collection FILTER doc.partition == @partition SORT doc.last DESC LIMIT 1 RETURN doc.last"
"""The greatest `last` of a partition's chunks, tombstones included; nothing if there is none.

Binds: partition. Index: partition, last.
"""

ENDING_BELOW: Final = (
    "FOR doc IN @@collection FILTER doc.partition == @partition AND doc.owner == @owner AND doc.first < @below "
    "AND doc.last < @below SORT doc.first LIMIT @limit RETURN doc._key"
)
"""The `_key` of an owner's chunks that end below a sequence, tombstones included, by first.

Binds: partition, owner (a string), below, limit. Index: partition, owner, first.
"""

OWNERS: Final = (
    "FOR doc IN @@collection FILTER doc.gone == false AND doc.owner > @after "
    "SORT doc.owner COLLECT owner = doc.owner OPTIONS { method: 'sorted' } LIMIT @limit RETURN owner"
)
"""Different `owner`s of what is no tombstone, in order, behind `after`.

Binds: after (a string), limit. Index: gone, owner (from 3.12.5 on the server skips through it).
"""

ALL: Final = (
    DOCUMENTS,
    DOCUMENTS_FALLING,
    CHUNKS,
    CHUNKS_FALLING,
    TENANT_CHUNKS,
    TENANT_CHUNKS_FALLING,
    WIDEST,
    TAIL,
    ENDING_BELOW,
    OWNERS,
)
