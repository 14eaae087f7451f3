"""The ports: what the runtime asks of the outside. Adapters fulfil them; `intendant.testing` checks every promise.

All methods are called from one event loop. Any of them may raise StoreUnavailable, which promises nothing was told:
a commit may or may not be applied. Except where it says so, a cancelled call leaves the store as if it had not been
made; `commit` is never cancelled by its caller.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from msgspec import Struct

from intendant.domain.commit import Batch, KeysTaken, Verdict
from intendant.domain.state import Event


class Durability(enum.IntEnum):
    """What survives, once a commit is acknowledged. Ordered: a higher level includes the lower ones."""

    MEMORY = 0  # dies with our process
    WRITTEN = 1  # survives our process, not surely the store's
    FSYNC = 2  # survives power loss of the store's machine
    REPLICATED = 3  # fsync on two machines or more


class Owner(Struct, frozen=True):
    """Who wants a partition: enough to tell, on the same host, whether that process still lives."""

    host: str
    boot_id: str
    pid: int
    started: str  # the process's start time as the kernel tells it, so that a reused pid is not taken for it


class Tenure(Struct, frozen=True):
    """An ownership that was granted, and where the log stood then."""

    partition: int
    epoch: int
    token: bytes
    next_sequence: int
    last_time: int
    last_first: int = 0  # the newest batch: where it begins,
    last_digest: bytes = b""  # and its digest


class Holding(Struct, frozen=True):
    """Who has a partition now, since when (µs since 1970 UTC), under which epoch."""

    owner: Owner
    epoch: int
    since: int


class Usage(Struct, frozen=True):
    """How full a store is, in bytes. `limit` 0 means that it knows none."""

    used: int
    limit: int

    @property
    def share(self) -> float:
        """The part of the limit that is used, 0.0 to 1.0; 0.0 when there is no limit."""
        return self.used / self.limit if self.limit else 0.0


class Document(Struct, frozen=True, gc=False):
    """A stored document; `since` and `version` are the sequences of its first and newest record."""

    key: str
    body: bytes
    since: int
    version: int


class IndexMember(Struct, frozen=True, gc=False):
    """A member of an ordered index."""

    score: int
    tenant: str
    member: str


class OutboxItem(Struct, frozen=True, gc=False):
    """An event that has not been published; `time` is that of its record, in µs since 1970 UTC."""

    position: int
    tenant: str
    session: str
    time: int
    body: bytes


class LogReader(Protocol):
    """Reads a partition's log and everything derived from it. Sees each batch whole or not at all."""

    async def document(self, tenant: str, collection: str, key: str) -> Document | None:
        """The document, or None if there is none."""
        ...

    async def fetch(self, wanted: Sequence[tuple[str, str, str]]) -> list[Document | None]:
        """The documents of these (tenant, collection, key), in their order, None where there is none.

        One round trip, whatever their number; ask for some hundreds at a time. They need not be of one moment.
        """
        ...

    async def documents(
        self, tenant: str, collection: str, *, after: str = "", limit: int = 100, newest_first: bool = False
    ) -> list[Document]:
        """Documents in the order of their keys (falling if `newest_first`), beginning behind the key `after`."""
        ...

    async def journal(self, tenant: str, execution: str) -> list[bytes]:
        """The rows of an execution's journal in the order they were appended; empty if there is none."""
        ...

    async def journals(self, wanted: Sequence[tuple[str, str]]) -> list[list[bytes]]:
        """The journals of these (tenant, execution), in their order, each as `journal` tells it; see `fetch`."""
        ...

    async def index(self, name: str, *, after: IndexMember | None = None, limit: int = 1000) -> list[IndexMember]:
        """Members of an ordered index, by score, tenant, member, beginning behind `after`."""
        ...

    async def key(self, tenant: str, key: str) -> bytes | None:
        """What a key was claimed with, or None if it is free."""
        ...

    async def keys(self, tenant: str, *, after: str = "", limit: int = 1000) -> list[tuple[str, bytes]]:
        """The tenant's claimed keys in order, each with what it was claimed with, beginning behind `after`."""
        ...

    async def tenants(self, *, after: str = "", limit: int = 1000) -> list[str]:
        """Tenants that have log entries here, in order, beginning behind `after`.

        The partition's own records are of the tenant "", which is listed (first) like any other; so a page that ends
        with it can't be gone on from: ask for two at least.
        """
        ...

    async def outbox(self, *, after: int = 0, limit: int = 256, tenant: str | None = None) -> list[OutboxItem]:
        """Events that wait to be published, by position, beginning behind `after`; of one tenant if it is given."""
        ...

    async def checkpoint(self, name: str) -> int:
        """How far the reader `name` has come; 0 if it never moved."""
        ...

    async def entries(
        self,
        tenant: str | None,
        *,
        first: int = 0,
        last: int | None = None,
        limit: int = 100,
        newest_first: bool = False,
    ) -> list[bytes]:
        """Log entries that hold a sequence in first..last, in order of sequence (falling if `newest_first`).

        Of one tenant, or with None of all. A boundary entry may hold sequences outside of the range as well. Costs at
        most what that tenant wrote in the range. What was trimmed is not there; when the tenant "" was trimmed, reading
        all tenants begins at that place.
        """
        ...

    async def position_at(self, time: int) -> int:
        """The sequence of the first record not before `time` (µs since 1970 UTC); one past the end if there is none.

        Never behind a record that is there and not before `time`. Where the tenant "" was trimmed, any place before
        that may be told for a time that lies before it. Costs a number of look-ups that grows with the logarithm of the
        log's length, at most.
        """
        ...


class Log(LogReader, Protocol):
    """One partition: its log, and everything derived from it, which change together or not at all."""

    @property
    def durability(self) -> Durability:
        """What the store really gives, found out when it was opened."""
        ...

    async def holder(self) -> Holding | None:
        """Who owns the partition by a lease that is not over; None if nobody does."""
        ...

    async def acquire(self, owner: Owner, *, timeout: float, lease: float, above: int = 0) -> Tenure:
        """Become the partition's one writer, with an epoch higher than any before and a new random token.

        The epoch is also higher than `above`: an owner whose store went back in time names its own, so that no epoch
        is given out twice.

        Returns at once when nobody owns it, the owner has released it, its lease is over, it is provably dead on this
        host (boot id, pid, start time), or it is this very object that acquired it before. Otherwise waits, and after
        `timeout` seconds raises PartitionOwned. The lease runs for `lease` seconds of the store's clock from the last
        `commit` or `renew`; it is for liveness only. From the moment this returns, every commit of an older tenure is
        answered FENCED. Cancelling gives up waiting. Never steals a live lease.
        """
        ...

    async def renew(self, tenure: Tenure, next_sequence: int) -> Verdict:
        """Renew the lease while idle, and compare the log's end with what the owner acknowledged.

        OK: renewed; the log holds everything before `next_sequence` (it may hold more: a commit may be in flight).
        GAP: the log ends before it. LOST, FENCED: as `commit` says it; nothing was renewed.
        """
        ...

    async def release(self, tenure: Tenure) -> None:
        """Give the partition back, so that the next owner need not wait. Does nothing for a tenure that was fenced."""
        ...

    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        """Apply a batch whole or not at all; when this returns OK or DUP it is durable at the log's level.

        The same batch may be sent any number of times. First the fence is checked (another tenure with an epoch not
        lower than the batch's, or an owner that has released: FENCED; a store that knows only lower epochs, or none:
        LOST, it went back in time), then the place (`first` is the
        next sequence: go on; the last batch's `first` and `digest`: DUP; lower: CONFLICT; higher: GAP), then the keys.
        A batch without records only moves checkpoints and may be applied again. Within a batch claims come before
        releases, what is appended before what is dropped, what is added before what is settled, entries before what
        is replaced and trimmed. A trim removes the entries of a tenant that end below a sequence; a replacement of an
        entry that is not there does nothing. Raises InternalError,
        and applies nothing, for what no correct writer sends: a key claimed twice, a position used twice, changes
        without records, another partition's batch.
        """
        ...

    async def scrub(self) -> None:
        """See to it that no byte of what was removed before is left in what the store itself keeps on disk.

        Takes as long as writing all of the partition anew where the store does not remove at once; commits wait. Says
        nothing of copies, or of what a server has logged: see the adapter. Raises StoreUnavailable when it can't now.
        """
        ...


class Store(Protocol):
    """A hot store: its partitions, opened and closed together."""

    @property
    def name(self) -> str:
        """The store's URL as it may be shown: without secrets."""
        ...

    @property
    def partitions(self) -> int:
        """How many partitions it was made with; fixed for its life."""
        ...

    @property
    def durability(self) -> Durability:
        """What the store really gives, found out when it was opened."""
        ...

    @property
    def apart(self) -> bool:
        """Whether another process carries commits out: this one's interpreter is free for other work meanwhile."""
        ...

    @property
    def loss_window(self) -> float:
        """Seconds after which a commit is safe even from a crash of the store; 0 where it is at once."""
        ...

    async def usage(self) -> Usage:
        """How full it is. Cheap enough to be asked every second."""
        ...

    async def open(self) -> None:
        """Connect, create what is missing, and find out what the store gives.

        Raises StoreUnavailable when it can't be reached, UnknownFormat when a newer version made it.
        """
        ...

    async def close(self) -> None:
        """Let go of connections, threads and files. May be called twice; a commit in flight ends first."""
        ...

    def log(self, partition: int) -> Log:
        """The partition's log; the same object each time."""
        ...


class ColdDocument(Struct, frozen=True, gc=False):
    """A document on its way to, or from, cold state. `body` None is a tombstone."""

    tenant: str
    collection: str
    key: str
    version: int
    body: bytes | None


class Chunk(Struct, frozen=True, gc=False):
    """A piece of the archived log: entries of one tenant, rising, of at most 512 records; known by its `first`.

    `first` and `last` are the sequences of its first and last record. `version` is `last`, unless entries were
    rewritten later: then it is the sequence of the record that says so. Without entries it is a tombstone.
    """

    tenant: str
    first: int
    last: int
    version: int
    entries: list[bytes]


class ColdStore(Protocol):
    """Durable documents and the archived log. Every write may be repeated, and an older version never wins.

    Errors: StoreUnavailable when it is worth trying again (also when the outcome is unknown); Stopped when it is
    not before somebody changes the configuration. What the store refuses for good (one document of many) is kept with
    the reason as a letter, see `refused`, is logged, and counts as written. Letters are documents of their tenant.
    """

    @property
    def name(self) -> str:
        """The store's URL as it may be shown: without secrets."""
        ...

    async def open(self) -> None:
        """Connect and create what is missing."""
        ...

    async def close(self) -> None:
        """Let go of connections. May be called twice."""
        ...

    async def archive(self, partition: int, chunks: Sequence[Chunk]) -> None:
        """Keep chunks; one whose version is not higher than that of what is kept at its place changes nothing."""
        ...

    async def put(self, documents: Sequence[ColdDocument]) -> None:
        """Keep documents; one whose version is not higher than what is kept changes nothing."""
        ...

    async def document(self, tenant: str, collection: str, key: str) -> ColdDocument | None:
        """The document, or None if there is none or it was deleted."""
        ...

    async def documents(
        self, tenant: str, collection: str, *, after: str = "", limit: int = 100, newest_first: bool = False
    ) -> list[ColdDocument]:
        """Documents in the order of their keys (falling if `newest_first`), behind `after`; no tombstones."""
        ...

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
        """Chunks that hold a sequence in first..last, by their first sequence (falling if `newest_first`).

        Of one tenant, or with None of all (chunks of several tenants interleave). No tombstones.
        """
        ...

    async def tail(self, partition: int) -> int:
        """The highest `last` of the partition's chunks, tombstones included; 0 if there are none."""
        ...

    async def tenants(self, *, after: str = "", limit: int = 1000) -> list[str]:
        """Tenants that have documents or chunks that are no tombstones, in order, beginning behind `after`."""
        ...

    async def remove(self, documents: Sequence[tuple[str, str, str]]) -> None:
        """Remove documents (tenant, collection, key) without a trace: what retention ends. Repeating is no error.

        Their letters go with them.
        """
        ...

    async def trim(self, partition: int, tenant: str, *, below: int) -> None:
        """Remove a tenant's chunks that end below a sequence, tombstones and letters included.

        Repeating is no error.
        """
        ...


class FileStore(Protocol):
    """Content by tenant and digest. `put` returns when the content is as durable as the store can make it."""

    async def put(self, tenant: str, content: bytes) -> str:
        """Keep content and return its digest in hexadecimal. Putting the same twice keeps one."""
        ...

    async def get(self, tenant: str, digest: str) -> bytes | None:
        """The content, or None if this tenant has none of that digest. Raises InternalError if it is damaged."""
        ...

    async def delete(self, tenant: str, digest: str) -> None:
        """Remove content; removing what is not there is no error."""
        ...

    async def digests(self, tenant: str) -> list[str]:
        """The digests that a tenant has, sorted; what no document refers to is an orphan that may be deleted."""
        ...

    async def clear(self, tenant: str) -> None:
        """Remove everything that a tenant has, also what a crash left half written. Repeating is no error.

        Content that is put at the same time is kept whole, or its `put` raises.
        """
        ...


@runtime_checkable
class Publisher(Protocol):
    """Takes events out of the outbox to the outside."""

    async def publish(self, event: Event) -> None:
        """Deliver one event. Returning settles it; raising any Exception leaves it to be tried again later.

        Called again with the same event id when the runtime died in between: the receiver must take it twice. Called
        for the events of a session one after the other, and for sessions side by side. What is raised counts as one of
        the attempts after which an event is a dead letter, except TargetUnavailable; Undeliverable makes it one at
        once.
        """
        ...


@runtime_checkable
class LastingPublisher(Publisher, Protocol):
    """A publisher that keeps something open between events, such as connections."""

    async def aclose(self) -> None:
        """Let go of it: the runtime is left. A later `publish` opens anew, perhaps on another event loop."""
        ...


class Clock(Protocol):
    """Time, for what is written down. Durations are measured by the event loop's own clock."""

    def now(self) -> int:
        """µs since 1970 UTC. May jump; the writer never lets record times decrease."""
        ...
