"""The commit: records, and everything derived from them, as one value.

Whoever decides something builds a `Commit` out of a closed set of operations; the writer gathers the commits of one
moment, numbers them and makes a `Batch`; an adapter applies the batch whole or not at all, and never looks at what a
record says. Timers, the open set, signals and limits are uses of these operations: a new feature needs no new adapter
code.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from intendant.domain.codec import COMMIT_BYTES_MAX, digest
from intendant.domain.errors import InvalidValue
from intendant.domain.records import Record, encode_entry

RECORDS_MAX: Final = 512  # of a batch; also the most that one commit may hold
PLACES: Final = 1024  # positions of journal rows and of events for each sequence number


class PutDocument(Struct, frozen=True, gc=False):
    """Write a document whole. `since` is the sequence of its first record, 0 when this commit makes it."""

    collection: str
    key: str
    body: bytes
    since: int = 0


class DeleteDocument(Struct, frozen=True, gc=False):
    """Remove a document; removing one that is not there is no error."""

    collection: str
    key: str


class AppendJournal(Struct, frozen=True, gc=False):
    """Add a row to the journal of an open execution."""

    execution: str
    body: bytes


class DropJournal(Struct, frozen=True, gc=False):
    """Remove an execution's whole journal."""

    execution: str


class AddToIndex(Struct, frozen=True, gc=False):
    """Add a member to an ordered index of the partition; it is ordered by score, tenant, member."""

    index: str
    member: str
    score: int = 0


class RemoveFromIndex(Struct, frozen=True, gc=False):
    """Remove a member from an ordered index; the score must be the one it was added with."""

    index: str
    member: str
    score: int = 0


class ClaimKey(Struct, frozen=True, gc=False):
    """Claim a key of the tenant. If it is taken already, the store applies nothing and says which."""

    key: str
    value: bytes


class ReleaseKey(Struct, frozen=True, gc=False):
    """Give a key back."""

    key: str


class AddToOutbox(Struct, frozen=True, gc=False):
    """Add an event to the outbox. Its position follows the commit's sequence, so it is ordered as the log is."""

    session: str
    body: bytes
    record: int = 0  # the place in the commit of the record that it rides with


class SettleOutbox(Struct, frozen=True, gc=False):
    """Take events out of the outbox, by position."""

    positions: tuple[int, ...]


class MoveCheckpoint(Struct, frozen=True, gc=False):
    """Note how far a reader of the log has come."""

    name: str
    position: int


class TrimLog(Struct, frozen=True, gc=False):
    """Remove the tenant's log entries that end below a sequence: what retention or erasure takes away."""

    below: int


class ReplaceEntry(Struct, frozen=True, gc=False):
    """Rewrite the tenant's log entry that begins at `first`, because content in it was erased."""

    first: int
    body: bytes


Operation = (
    PutDocument
    | DeleteDocument
    | AppendJournal
    | DropJournal
    | AddToIndex
    | RemoveFromIndex
    | ClaimKey
    | ReleaseKey
    | AddToOutbox
    | SettleOutbox
    | MoveCheckpoint
    | TrimLog
    | ReplaceEntry
)

_WITH_BODY: Final = frozenset({PutDocument, AppendJournal, AddToOutbox, ReplaceEntry})


class Commit(Struct, frozen=True, gc=False):
    """What must become true together, for one tenant. It may hold no records only if it just moves a checkpoint."""

    tenant: str
    records: Sequence[Record]
    operations: Sequence[Operation]


class Receipt(Struct, frozen=True, gc=False):
    """A commit is durable at the log's level: the sequence of its first record, and its time in µs since 1970 UTC."""

    first: int
    time: int


class Verdict(enum.Enum):
    """What a store says to a batch."""

    OK = "ok"  # applied now
    DUP = "dup"  # this very batch was applied before
    GAP = "gap"  # it does not follow the store's last one: the store has lost records, or the writer is confused
    CONFLICT = "conflict"  # another batch stands at its place
    FENCED = "fenced"  # its epoch and token are not the owner's
    LOST = "lost"  # the store knows only tenures before this one, or none: it went back in time


class KeysTaken(Struct, frozen=True, gc=False):
    """Nothing was applied, because these keys are claimed: (tenant, key) and the value they were claimed with."""

    taken: dict[tuple[str, str], bytes]


Put = tuple[str, str, str, int, int, bytes]
"""A document: tenant, collection, key, the sequences of its first and its newest record, body."""


class Batch(Struct, frozen=True, gc=False):
    """A sealed row of commits: numbered, encoded, ready to be applied by an adapter as it stands.

    All is in commit order; documents and index changes hold only the last word on each key. It is tuples, because
    thousands of batches are kept (`Ring`), and the collector looks into lists again and again, into those never.
    """

    partition: int
    epoch: int
    token: bytes
    first: int
    count: int
    time: int
    digest: bytes
    entries: tuple[tuple[str, int, int, bytes], ...]  # tenant, first sequence, number of records, entry
    claims: tuple[tuple[str, str, bytes], ...]  # tenant, key, value
    releases: tuple[tuple[str, str], ...]  # tenant, key
    puts: tuple[Put, ...]
    deletes: tuple[tuple[str, str, str], ...]  # tenant, collection, key
    journal: tuple[tuple[str, str, int, bytes], ...]  # tenant, execution, position, body
    drops: tuple[tuple[str, str], ...]  # tenant, execution
    index_adds: tuple[tuple[str, int, str, str], ...]  # index, score, tenant, member
    index_removes: tuple[tuple[str, int, str, str], ...]
    outbox_adds: tuple[tuple[int, str, str, int, bytes], ...]  # position, tenant, session, time, body
    outbox_settles: tuple[int, ...]  # positions
    checkpoints: dict[str, int]
    replaces: tuple[tuple[str, int, bytes], ...] = ()  # tenant, first sequence, entry
    trims: tuple[tuple[str, int], ...] = ()  # tenant, below


def check_commit(commit: Commit) -> tuple[int, tuple[tuple[str, str], ...]]:
    """Return a commit's approximate size in bytes and the keys that it claims (tenant, key).

    Raises InvalidValue when it can't be part of any batch.
    """
    count = len(commit.records)
    if count > RECORDS_MAX:
        raise InvalidValue("commit", f"holds {count} records, the limit is {RECORDS_MAX}; make it smaller")
    size = 256 * count
    claims: tuple[tuple[str, str], ...] = ()
    for each in commit.operations:
        if type(each) in _WITH_BODY:
            size += len(each.body)  # type: ignore[union-attr]  # these have one
        elif type(each) is ClaimKey:
            claims += ((commit.tenant, each.key),)
    if size > COMMIT_BYTES_MAX:
        raise InvalidValue(
            "commit", f"takes about {size:,} bytes, the limit is {COMMIT_BYTES_MAX:,}; store it as files"
        )
    return size, claims


def seal(
    commits: Sequence[Commit], *, partition: int, epoch: int, token: bytes, first: int, time: int
) -> tuple[Batch, list[Receipt]]:
    """Number the commits from `first` on and encode them; the receipts are in the order of the commits.

    Tenants are brought together (the order within each stays), so that each has one entry of contiguous sequences.
    """
    of_tenants: dict[str, list[Commit]] = {}
    for commit in commits:
        of_tenants.setdefault(commit.tenant, []).append(commit)
    sealing = _Sealing(epoch, first, time)
    receipts = {tenant: iter(sealing.add(tenant, of_tenants[tenant])) for tenant in sorted(of_tenants)}
    batch = Batch(
        partition=partition,
        epoch=epoch,
        token=token,
        first=first,
        count=sealing.next - first,
        time=time,
        digest=digest(*[entry[3] for entry in sealing.entries]),
        entries=tuple(sealing.entries),
        claims=tuple(sealing.claims),
        releases=tuple(sealing.releases),
        puts=tuple([put for put in sealing.documents.values() if put]),
        deletes=tuple([place for place, put in sealing.documents.items() if not put]),
        journal=tuple(sealing.journal),
        drops=tuple(sealing.drops),
        index_adds=tuple([member for member, present in sealing.index.items() if present]),
        index_removes=tuple([member for member, present in sealing.index.items() if not present]),
        outbox_adds=tuple(sealing.outbox_adds),
        outbox_settles=tuple(sealing.outbox_settles),
        checkpoints=sealing.checkpoints,
        replaces=tuple(sealing.replaces),
        trims=tuple(sealing.trims),
    )
    return batch, [next(receipts[commit.tenant]) for commit in commits]


class _Sealing:
    """Numbers commits, encodes their records and sorts their operations by kind."""

    def __init__(self, epoch: int, first: int, time: int) -> None:
        self.epoch = epoch
        self.next = first  # sequence
        self.time = time
        self.entries: list[tuple[str, int, int, bytes]] = []
        self.claims: list[tuple[str, str, bytes]] = []
        self.releases: list[tuple[str, str]] = []
        self.documents: dict[tuple[str, str, str], Put | None] = {}  # None: it is deleted
        self.journal: list[tuple[str, str, int, bytes]] = []
        self.drops: list[tuple[str, str]] = []
        self.index: dict[tuple[str, int, str, str], bool] = {}
        self.outbox_adds: list[tuple[int, str, str, int, bytes]] = []
        self.outbox_settles: list[int] = []
        self.checkpoints: dict[str, int] = {}
        self.replaces: list[tuple[str, int, bytes]] = []
        self.trims: list[tuple[str, int]] = []

    def add(self, tenant: str, commits: list[Commit]) -> list[Receipt]:
        """All commits of one tenant."""
        first = sequence = self.next
        records: list[Record] = []
        receipts: list[Receipt] = []
        for commit in commits:
            receipts.append(Receipt(sequence, self.time))
            self._sort(tenant, commit, sequence)
            records += commit.records
            sequence = first + len(records)
        if records:
            entry = encode_entry(self.epoch, first, self.time, tenant, records)
            self.entries.append((tenant, first, len(records), entry))
        self.next = sequence
        return receipts

    def _sort(self, tenant: str, commit: Commit, first: int) -> None:  # noqa: C901  a branch per operation: the closed set
        version = first + (len(commit.records) or 1) - 1
        rows = events = carrier = 0
        for each in commit.operations:  # by `type`, the commonest first: a class pattern costs some µs for each of them
            if type(each) is PutDocument:
                collection, key = each.collection, each.key
                put = (tenant, collection, key, each.since or first, version, each.body)
                self.documents[tenant, collection, key] = put
            elif type(each) is AddToIndex:
                self.index[each.index, each.score, tenant, each.member] = True
            elif type(each) is RemoveFromIndex:
                self.index[each.index, each.score, tenant, each.member] = False
            elif type(each) is ClaimKey:
                self.claims.append((tenant, each.key, each.value))
            elif type(each) is AppendJournal:
                self.journal.append((tenant, each.execution, first * PLACES + rows, each.body))
                rows += 1
            elif type(each) is DropJournal:
                self.drops.append((tenant, each.execution))
            elif type(each) is AddToOutbox:
                if each.record != carrier:
                    carrier, events = each.record, 0
                position = (first + carrier) * PLACES + events
                self.outbox_adds.append((position, tenant, each.session, self.time, each.body))
                events += 1
            elif type(each) is SettleOutbox:
                self.outbox_settles.extend(each.positions)
            elif type(each) is DeleteDocument:
                self.documents[tenant, each.collection, each.key] = None
            elif type(each) is ReleaseKey:
                self.releases.append((tenant, each.key))
            elif type(each) is MoveCheckpoint:
                self.checkpoints[each.name] = each.position
            elif type(each) is TrimLog:
                self.trims.append((tenant, each.below))
            elif type(each) is ReplaceEntry:
                self.replaces.append((tenant, each.first, each.body))
