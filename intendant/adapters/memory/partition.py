"""The data of a partition in memory, and how a batch changes them. No I/O, no waiting."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from typing import Any, Generic, Protocol, TypeVar

from intendant.domain.commit import Batch, KeysTaken, Verdict
from intendant.domain.errors import InternalError
from intendant.domain.ports import Document, IndexMember, OutboxItem, Owner
from intendant.domain.records import SYSTEM_TENANT


class _Comparable(Protocol):
    def __lt__(self, other: Any, /) -> bool: ...


K = TypeVar("K", bound=_Comparable)
V = TypeVar("V")


class Sorted(Generic[K, V]):
    """A dict that is also read in the order of its keys. The order costs nothing until it is first asked for."""

    __slots__ = ("_order", "values")

    def __init__(self, values: dict[K, V] | None = None) -> None:
        self.values: dict[K, V] = {} if values is None else values
        self._order: list[K] | None = None

    def put(self, key: K, value: V) -> None:
        """Add or replace a value."""
        if self._order is not None and key not in self.values:
            insort(self._order, key)
        self.values[key] = value

    def remove(self, key: K) -> None:
        """Remove a value; one that is not there is no error."""
        if self.values.pop(key, None) is not None and self._order is not None:
            del self._order[bisect_left(self._order, key)]

    def after(self, key: K | None, limit: int) -> list[V]:
        """Values behind a key, or from the first, in rising order."""
        order = self.order()
        start = 0 if key is None else bisect_right(order, key)
        return [self.values[each] for each in order[start : start + limit]]

    def before(self, key: K | None, limit: int) -> list[V]:
        """Values before a key, or from the last, in falling order."""
        order = self.order()
        end = len(order) if key is None else bisect_left(order, key)
        return [self.values[each] for each in reversed(order[max(end - limit, 0) : end])]

    def order(self) -> list[K]:
        """All keys, rising; not to be changed."""
        if self._order is None:
            self._order = sorted(self.values)
        return self._order

    def copy(self) -> Sorted[K, V]:
        """A copy that shares the values."""
        return Sorted(self.values.copy())


class Entries:
    """Log entries in order of sequence: parallel lists, because sequences are searched."""

    __slots__ = ("bodies", "ends", "firsts", "times")

    def __init__(self) -> None:
        self.firsts: list[int] = []
        self.ends: list[int] = []  # one past the last sequence of each
        self.times: list[int] = []
        self.bodies: list[bytes] = []

    def add(self, first: int, count: int, time: int, body: bytes) -> None:
        """Add an entry behind all others."""
        self.firsts.append(first)
        self.ends.append(first + count)
        self.times.append(time)
        self.bodies.append(body)

    def read(self, first: int, last: int | None, limit: int, newest_first: bool) -> list[bytes]:
        """Entries that hold a sequence in first..last."""
        start = bisect_right(self.ends, first)
        end = len(self.firsts) if last is None else bisect_right(self.firsts, last)
        if newest_first:
            return self.bodies[max(start, end - limit) : end][::-1]
        return self.bodies[start : min(end, start + limit)]

    def trim(self, below: int) -> list[int]:
        """Remove entries that end below a sequence, where the entries are of one tenant; return their firsts."""
        end = bisect_right(self.ends, below)
        removed = self.firsts[:end]
        for column in (self.firsts, self.ends, self.times, self.bodies):
            del column[:end]
        return removed

    def remove(self, firsts: set[int]) -> None:
        """Remove the entries that begin at these sequences."""
        kept = [place for place, first in enumerate(self.firsts) if first not in firsts]
        self.firsts = [self.firsts[place] for place in kept]
        self.ends = [self.ends[place] for place in kept]
        self.times = [self.times[place] for place in kept]
        self.bodies = [self.bodies[place] for place in kept]

    def replace(self, first: int, body: bytes) -> bool:
        """Rewrite the entry that begins at a sequence; False if there is none."""
        place = bisect_left(self.firsts, first)
        if place == len(self.firsts) or self.firsts[place] != first:
            return False
        self.bodies[place] = body
        return True

    def position_at(self, time: int, end: int) -> int:
        """The first sequence not before `time`; `end` if there is none."""
        place = bisect_left(self.times, time)
        return self.firsts[place] if place < len(self.firsts) else end

    def copy(self) -> Entries:
        """A copy that shares the bodies."""
        copied = Entries()
        copied.firsts, copied.ends = self.firsts.copy(), self.ends.copy()
        copied.times, copied.bodies = self.times.copy(), self.bodies.copy()
        return copied


class Life:
    """One opening of a store: when it is over, so is every process that owned something through it."""

    __slots__ = ("over",)

    def __init__(self) -> None:
        self.over = False


class Ownership:
    """Who owns the partition, and where its log stands."""

    __slots__ = (
        "epoch",
        "granted",
        "last_digest",
        "last_first",
        "last_time",
        "lease",
        "lease_until",
        "life",
        "next_sequence",
        "owner",
        "since",
        "token",
    )

    def __init__(self) -> None:
        self.epoch = 0
        self.token = b""  # empty while nobody owns it
        self.next_sequence = 1
        self.last_time = 0
        self.last_first = 0
        self.last_digest = b""
        self.owner: Owner | None = None
        self.life: Life | None = None
        self.since = 0.0  # by the event loop's clock, and
        self.granted = 0  # µs since 1970 UTC
        self.lease = 0.0
        self.lease_until = 0.0

    def is_held(self, epoch: int, token: bytes) -> bool:
        """Whether this epoch and token are the owner's."""
        return bool(token) and token == self.token and epoch == self.epoch

    def fence(self, epoch: int, token: bytes) -> Verdict:
        """OK for the owner's epoch and token; what is to be said to any other."""
        if self.is_held(epoch, token):
            return Verdict.OK
        return Verdict.LOST if self.epoch < epoch else Verdict.FENCED

    def copy(self) -> Ownership:
        """A copy."""
        copied = Ownership()
        for name in self.__slots__:
            setattr(copied, name, getattr(self, name))
        return copied


class Partition:
    """The data, apart from the objects through which they are reached."""

    def __init__(self) -> None:
        self.ownership = Ownership()
        self.entries = Entries()
        self.entries_of: dict[str, Entries] = {}  # only tenants that have some
        self.floor = 0  # where reading all tenants begins
        self.documents: dict[tuple[str, str], Sorted[str, Document]] = {}
        self.journals: dict[tuple[str, str], list[tuple[int, bytes]]] = {}
        self.indexes: dict[str, Sorted[tuple[int, str, str], IndexMember]] = {}
        self.keys: Sorted[tuple[str, str], bytes] = Sorted()
        self.outbox: Sorted[int, OutboxItem] = Sorted()
        self.checkpoints: dict[str, int] = {}

    def copy(self) -> Partition:
        """A copy that shares what never changes."""
        copied = Partition()
        copied.ownership = self.ownership.copy()
        copied.entries = self.entries.copy()
        copied.entries_of = {tenant: entries.copy() for tenant, entries in self.entries_of.items()}
        copied.floor = self.floor
        copied.documents = {key: documents.copy() for key, documents in self.documents.items()}
        copied.journals = {key: rows.copy() for key, rows in self.journals.items()}
        copied.indexes = {name: index.copy() for name, index in self.indexes.items()}
        copied.keys = self.keys.copy()
        copied.outbox = self.outbox.copy()
        copied.checkpoints = self.checkpoints.copy()
        return copied

    def judge(self, batch: Batch) -> Verdict:
        """What is to be said to a batch; OK means that nothing but its keys stands in the way."""
        ownership = self.ownership
        fence = ownership.fence(batch.epoch, batch.token)
        if fence is not Verdict.OK:
            return fence
        if batch.first == ownership.next_sequence:
            return Verdict.OK
        if batch.first > ownership.next_sequence:
            return Verdict.GAP
        same = batch.count > 0 and batch.first == ownership.last_first and batch.digest == ownership.last_digest
        return Verdict.DUP if same else Verdict.CONFLICT

    def taken(self, batch: Batch) -> KeysTaken | None:
        """The batch's keys that are claimed already."""
        keys = self.keys.values
        taken = {claim[:2]: keys[claim[:2]] for claim in batch.claims if claim[:2] in keys}
        return KeysTaken(taken) if taken else None

    def check(self, batch: Batch) -> None:
        """Raise InternalError for a batch that would overwrite. Nothing that follows this can fail."""
        if len({claim[:2] for claim in batch.claims}) < len(batch.claims):
            raise InternalError(f"the batch at {batch.first} claims a key twice")
        newest: dict[tuple[str, str], int] = {}
        for tenant, execution, position, _ in batch.journal:
            rows = self.journals.get((tenant, execution))
            if position <= newest.get((tenant, execution), rows[-1][0] if rows else -1):
                raise InternalError(f"the batch at {batch.first} repeats the journal position {position}")
            newest[tenant, execution] = position
        positions = {item[0] for item in batch.outbox_adds}
        if len(positions) < len(batch.outbox_adds) or not positions.isdisjoint(self.outbox.values):
            raise InternalError(f"the batch at {batch.first} repeats a position of the outbox")

    def apply(self, batch: Batch) -> None:
        """Apply a batch that was judged and checked."""
        for tenant, first, count, body in batch.entries:
            self.entries.add(first, count, batch.time, body)
            self._entries_of(tenant).add(first, count, batch.time, body)
        for tenant, key, value in batch.claims:
            self.keys.put((tenant, key), value)
        for release in batch.releases:
            self.keys.remove(release)
        self._apply_documents(batch)
        self._apply_journals(batch)
        self._apply_indexes(batch)
        for item in batch.outbox_adds:
            self.outbox.put(item[0], OutboxItem(*item))
        for position in batch.outbox_settles:
            self.outbox.remove(position)
        self.checkpoints.update(batch.checkpoints)
        self._apply_replaces(batch)
        self._apply_trims(batch)
        self._apply_place(batch)

    def _entries_of(self, tenant: str) -> Entries:
        entries = self.entries_of.get(tenant)
        if entries is None:
            entries = self.entries_of[tenant] = Entries()
        return entries

    def _apply_documents(self, batch: Batch) -> None:
        for tenant, collection, key, since, version, body in batch.puts:
            documents = self.documents.get((tenant, collection))
            if documents is None:
                documents = self.documents[tenant, collection] = Sorted()
            documents.put(key, Document(key, body, since, version))
        for tenant, collection, key in batch.deletes:
            if (tenant, collection) in self.documents:
                self.documents[tenant, collection].remove(key)

    def _apply_journals(self, batch: Batch) -> None:
        for tenant, execution, position, body in batch.journal:
            self.journals.setdefault((tenant, execution), []).append((position, body))
        for drop in batch.drops:
            self.journals.pop(drop, None)

    def _apply_indexes(self, batch: Batch) -> None:
        for name, score, tenant, member in batch.index_removes:
            if name in self.indexes:
                self.indexes[name].remove((score, tenant, member))
        for name, score, tenant, member in batch.index_adds:
            index = self.indexes.get(name)
            if index is None:
                index = self.indexes[name] = Sorted()
            index.put((score, tenant, member), IndexMember(score, tenant, member))

    def _apply_replaces(self, batch: Batch) -> None:
        for tenant, first, body in batch.replaces:
            entries = self.entries_of.get(tenant)
            if entries is not None and entries.replace(first, body):
                self.entries.replace(first, body)

    def _apply_trims(self, batch: Batch) -> None:
        removed: set[int] = set()
        for tenant, below in batch.trims:
            if tenant == SYSTEM_TENANT:
                self.floor = max(self.floor, below)
            entries = self.entries_of.get(tenant)
            if entries is not None:
                removed.update(entries.trim(below))
                if not entries.firsts:
                    del self.entries_of[tenant]
        if removed:
            self.entries.remove(removed)

    def _apply_place(self, batch: Batch) -> None:
        if batch.count:
            ownership = self.ownership
            ownership.next_sequence = batch.first + batch.count
            ownership.last_time = batch.time
            ownership.last_first = batch.first
            ownership.last_digest = batch.digest
