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

    async def documents(
        self, tenant: str, collection: str, *, after: str = "", limit: int = 100, newest_first: bool = False
    ) -> list[Document]:
        """Documents in the order of their keys (falling if `newest_first`), beginning behind the key `after`."""
        ...

    async def journal(self, tenant: str, execution: str) -> list[bytes]:
        """The rows of an execution's journal in the order they were appended; empty if there is none."""
        ...

    async def index(self, name: str, *, after: IndexMember | None = None, limit: int = 1000) -> list[IndexMember]:
        """Members of an ordered index, by score, tenant, member, beginning behind `after`."""
        ...

    async def key(self, tenant: str, key: str) -> bytes | None:
        """What a key was claimed with, or None if it is free."""
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
        most what that tenant wrote in the range.
        """
        ...

    async def position_at(self, time: int) -> int:
        """The sequence of the first record not before `time` (µs since 1970 UTC); one past the end if there is none.

        Costs a number of look-ups that grows with the logarithm of the log's length, at most.
        """
        ...


class Log(LogReader, Protocol):
    """One partition: its log, and everything derived from it, which change together or not at all."""

    @property
    def durability(self) -> Durability:
        """What the store really gives, found out when it was opened."""
        ...

    async def acquire(self, owner: Owner, *, timeout: float, lease: float) -> Tenure:
        """Become the partition's one writer, with an epoch higher than any before and a new random token.

        Returns at once when nobody owns it, the owner has released it, its lease is over, it is provably dead on this
        host (boot id, pid, start time), or it is this very object that acquired it before. Otherwise waits, and after
        `timeout` seconds raises PartitionOwned. The lease runs for `lease` seconds of the store's clock from the last
        `commit` or `renew`; it is for liveness only. From the moment this returns, every commit of an older tenure is
        answered FENCED. Cancelling gives up waiting. Never steals a live lease.
        """
        ...

    async def renew(self, tenure: Tenure) -> bool:
        """Renew the lease while idle; False when the tenure is not the owner's any more."""
        ...

    async def release(self, tenure: Tenure) -> None:
        """Give the partition back, so that the next owner need not wait. Does nothing for a tenure that was fenced."""
        ...

    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        """Apply a batch whole or not at all; when this returns OK or DUP it is durable at the log's level.

        The same batch may be sent any number of times. First the fence is checked, then the place (`first` is the
        next sequence: go on; the last batch's `first` and `digest`: DUP; lower: CONFLICT; higher: GAP), then the keys.
        A batch without records only moves checkpoints and may be applied again. Within a batch claims come before
        releases, what is appended before what is dropped, what is added before what is settled. Raises InternalError,
        and applies nothing, for what no correct writer sends: a key claimed twice, a position used twice, changes
        without records, another partition's batch.
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


class ColdStore(Protocol):
    """Durable documents and the archived log. Every write may be repeated, and an older version never wins."""

    async def open(self) -> None:
        """Connect and create what is missing."""
        ...

    async def close(self) -> None:
        """Let go of connections. May be called twice."""
        ...

    async def archive(self, partition: int, entries: Sequence[tuple[str, int, bytes]]) -> None:
        """Keep log entries, given as (tenant, first sequence, entry). One that is kept already is left alone."""
        ...

    async def put(self, documents: Sequence[ColdDocument]) -> None:
        """Keep documents; one whose version is not higher than what is kept changes nothing."""
        ...

    async def document(self, tenant: str, collection: str, key: str) -> ColdDocument | None:
        """The document, or None if there is none or it was deleted."""
        ...

    async def archived(self, partition: int, tenant: str | None = None) -> list[bytes]:
        """All archived entries, in order of sequence; of one tenant, or with None of all."""
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


@runtime_checkable
class Publisher(Protocol):
    """Takes events out of the outbox to the outside."""

    async def publish(self, event: Event) -> None:
        """Deliver one event. Returning settles it; raising any Exception leaves it to be tried again later.

        Called again with the same event id when the runtime died in between: the receiver must take it twice.
        """
        ...


class Clock(Protocol):
    """Time, for what is written down. Durations are measured by the event loop's own clock."""

    def now(self) -> int:
        """µs since 1970 UTC. May jump; the writer never lets record times decrease."""
        ...
