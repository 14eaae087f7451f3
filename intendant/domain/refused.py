"""What cold state refuses for good: kept beside the rest, in a collection of its tenant, until that goes as well.

A letter is known by the place of what it keeps, so that there is one for each place, and the newest stays.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from intendant.domain.codec import encode
from intendant.domain.ports import Chunk, ColdDocument

REFUSED: Final = "refused"
"""The collection. Its documents' bodies are what `Refused.body` gives."""

_WAL: Final = "wal"


Source = ColdDocument | tuple[int, Chunk]


class Refused(Struct, frozen=True):
    """A document, or a partition's chunk, and why it was refused."""

    source: Source
    reason: str

    @property
    def letter(self) -> ColdDocument:
        """The document that keeps it."""
        of: ColdDocument | Chunk
        if isinstance(self.source, ColdDocument):
            of, key = self.source, letter_of_document(self.source.collection, self.source.key)
        else:
            partition, chunk = self.source
            of, key = chunk, letter_of_chunk(partition, chunk.first)
        return ColdDocument(of.tenant, REFUSED, key, of.version, encode(self))

    @property
    def without_content(self) -> Refused:
        """What can be kept of it where the whole is too much."""
        if isinstance(self.source, ColdDocument):
            return replace(self, source=replace(self.source, body=None))
        partition, chunk = self.source
        return replace(self, source=(partition, replace(chunk, entries=[])))


def read_refused(letter: ColdDocument) -> Refused:
    """What a letter keeps. Raises msgspec.DecodeError if it is none."""
    return msgspec.msgpack.decode(letter.body or b"", type=Refused)


def letter_of_document(collection: str, key: str) -> str:
    """The key of a document's letter: all of a collection begin with `letter_of_document(collection, "")`."""
    return f"{collection}/{key}"


def letter_of_chunk(partition: int, first: int | None) -> str:
    """The key of a chunk's letter; without `first` what all of a partition begin with."""
    return f"{_WAL}/{partition}/" + ("" if first is None else f"{first:016}")


def ends_below(letter: ColdDocument, below: int) -> bool:
    """Whether a letter keeps a chunk that ends below a sequence."""
    source = read_refused(letter).source
    return not isinstance(source, ColdDocument) and source[1].last < below
