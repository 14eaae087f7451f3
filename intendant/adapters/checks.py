"""What every adapter checks of a batch before it looks at the store: faults of the writer, not of the moment."""

from __future__ import annotations

from intendant.domain.commit import Batch
from intendant.domain.errors import InternalError


def check_batch(batch: Batch, partition: int) -> None:
    """Raise InternalError for a batch that no correct writer sends to this partition."""
    if batch.partition != partition:
        raise InternalError(f"a batch of partition {batch.partition} was sent to partition {partition}")
    if not batch.count and _changes_more_than_checkpoints(batch):
        raise InternalError(f"the batch at {batch.first} has no records and changes more than checkpoints")


def _changes_more_than_checkpoints(batch: Batch) -> bool:
    return bool(
        batch.entries
        or batch.claims
        or batch.releases
        or batch.puts
        or batch.deletes
        or batch.journal
        or batch.drops
        or batch.index_adds
        or batch.index_removes
        or batch.outbox_adds
        or batch.outbox_settles
        or batch.replaces
        or batch.trims
    )
