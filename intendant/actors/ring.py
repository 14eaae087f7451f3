"""The newest acknowledged batches of a partition, kept to put back what its store may lose.

A store that fails over, or comes back from an older copy, can lose what it had acknowledged. Whoever wrote it still
holds the batches, because the ring refers to them; what must be sent again is decided here, without I/O.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from intendant.domain.commit import Batch
from intendant.domain.errors import AcknowledgedDataMissing
from intendant.domain.ports import Tenure

RING_BYTES: Final = 16 * 2**20
_BATCH_BYTES: Final = 2_048  # what a batch takes beside its bodies


class Place(Struct, frozen=True, gc=False):
    """A place between two batches: the next sequence, and which batch stands before it."""

    next_sequence: int
    last_first: int
    last_digest: bytes


def place_of(tail: Tenure) -> Place:
    """Where the log ended when a tenure was granted."""
    return Place(tail.next_sequence, tail.last_first, tail.last_digest)


def place_behind(batch: Batch) -> Place:
    """Where the log ends once a batch with records was applied."""
    return Place(batch.first + batch.count, batch.first, batch.digest)


def missing(tail: Place, before: Place, batches: Sequence[Batch], flying: Batch | None = None) -> list[Batch]:
    """The acknowledged batches that a log ending at `tail` lacks, in the order in which to send them again.

    `batches` follow each other, the first one at `before`. `flying` follows them: it was sent, and nobody knows
    whether it was applied. Raises AcknowledgedDataMissing, naming sequences, when the log lacks what is not among the
    batches, or holds something else than was acknowledged.
    """
    end = next((place_behind(batch) for batch in reversed(batches) if batch.count), before)
    if tail == end or (flying is not None and flying.count and tail == place_behind(flying)):
        return []  # nearly always: the others need not be looked at
    if tail == before or any(tail == place_behind(batch) for batch in batches if batch.count):
        return [batch for batch in batches if batch.first >= tail.next_sequence]
    if tail.next_sequence < before.next_sequence:
        raise AcknowledgedDataMissing(
            f"the store's log ends before sequence {tail.next_sequence}; {tail.next_sequence} to "
            f"{end.next_sequence - 1} were acknowledged, and {tail.next_sequence} to {before.next_sequence - 1} are "
            "not in this process's memory any more"
        )
    raise AcknowledgedDataMissing(
        f"the store's log, which ends before sequence {tail.next_sequence}, holds other records than were "
        f"acknowledged up to {end.next_sequence - 1}: something else has written it"
    )


class Ring:
    """Keeps the newest batches, as many as `limit` bytes hold."""

    def __init__(self, limit: int = RING_BYTES) -> None:
        self._limit = limit
        self._bytes = 0
        self._batches: deque[Batch] = deque()
        self._sizes: deque[int] = deque()  # of each
        self._before = Place(1, 0, b"")

    def begin(self, place: Place) -> None:
        """Forget all; what follows begins at this place."""
        self._batches.clear()
        self._sizes.clear()
        self._bytes = 0
        self._before = place

    def add(self, batch: Batch, size: int) -> None:
        """Keep a batch that was acknowledged; `size` is about that of its operations, in bytes."""
        size += _BATCH_BYTES + sum(len(entry[3]) for entry in batch.entries)
        self._batches.append(batch)
        self._sizes.append(size)
        self._bytes += size
        while self._bytes > self._limit:
            oldest = self._batches.popleft()
            self._bytes -= self._sizes.popleft()
            if oldest.count:
                self._before = place_behind(oldest)

    def missing(self, tail: Place, flying: Batch | None = None) -> list[Batch]:
        """What a log that ends at `tail` lacks; see `missing`."""
        return missing(tail, self._before, self._batches, flying)

    def __len__(self) -> int:
        return len(self._batches)
