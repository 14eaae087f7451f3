"""Who owns the file: one row with the fence, the lease, and where the log stands; and the lock file as a witness."""

from __future__ import annotations

import os
import time
from typing import Final

import apsw
from msgspec import Struct

from intendant.adapters.process import is_provably_dead
from intendant.adapters.sqlite.driver import Connection
from intendant.adapters.sqlite.lock import LockFile
from intendant.domain.commit import Verdict
from intendant.domain.errors import PartitionOwned
from intendant.domain.ports import Holding, Owner, Tenure

BUSY_WAIT_MS: Final = 50  # for whoever wants to own the file; it asks again

_SELECT = (
    "SELECT epoch, token, next_sequence, last_time, last_first, last_digest, host, boot_id, pid, started, locked, "
    "owned_since, lease, lease_until FROM ownership"
)
_TAKE = (
    "UPDATE ownership SET epoch = ?, token = ?, host = ?, boot_id = ?, pid = ?, started = ?, locked = ?, "
    "owned_since = ?, lease = ?, lease_until = ?, released = 0"
)
_RENEW = (
    "UPDATE ownership SET lease_until = ? + lease WHERE epoch = ? AND token = ? AND token <> x'' AND next_sequence >= ?"
)
_LOCKED = "UPDATE ownership SET locked = 1 WHERE token = ?"
_RELEASE = "UPDATE ownership SET token = x'', released = 1, locked = 0, lease_until = 0 WHERE token = ?"


class Ownership(Struct, frozen=True):
    """The row. `token` is empty while nobody owns the file; times are µs since 1970 UTC, `lease` is in µs."""

    epoch: int
    token: bytes
    next_sequence: int
    last_time: int
    last_first: int
    last_digest: bytes
    host: str
    boot_id: str
    pid: int
    started: str
    locked: int  # whether the owner held the lock file when it wrote this
    owned_since: int
    lease: int
    lease_until: int

    @property
    def owner(self) -> Owner:
        """The process that owns the file, or owned it last."""
        return Owner(self.host, self.boot_id, self.pid, self.started)

    def fence(self, epoch: int, token: bytes) -> Verdict:
        """OK for the owner's epoch and token; what is to be said to any other."""
        if self.token and (epoch, token) == (self.epoch, self.token):
            return Verdict.OK
        return Verdict.LOST if self.epoch < epoch else Verdict.FENCED

    def refusal(self, waited: float) -> PartitionOwned:
        """The error for a process that waited in vain."""
        return PartitionOwned(0, self.host, self.pid, (wall_clock() - self.owned_since) / 1e6, waited)


def wall_clock() -> int:
    """µs since 1970 UTC: the clock of leases."""
    return time.time_ns() // 1000


def read(connection: Connection) -> Ownership:
    """The row as it stands."""
    return Ownership(*connection.execute(_SELECT).fetchall()[0])


def holding(connection: Connection) -> Holding | None:
    """Who owns the file by a lease that is not over."""
    row = read(connection)
    if not row.token or wall_clock() >= row.lease_until:
        return None
    return Holding(row.owner, row.epoch, row.owned_since)


def _begin(connection: Connection) -> bool:
    """Begin to write; False while another process does, which may have been stopped in the middle of it."""
    wait_ms = connection.pragma("busy_timeout")
    connection.pragma("busy_timeout", BUSY_WAIT_MS)
    try:
        connection.execute("BEGIN IMMEDIATE")
    except apsw.BusyError:
        return False
    finally:
        connection.pragma("busy_timeout", wait_ms)
    return True


class Holder:
    """One store object's side of the ownership: what it holds and has locked. Belongs to the store's thread."""

    def __init__(self, lock: LockFile) -> None:
        self._lock = lock
        self._token = b""

    def attempt(self, owner: Owner, lease: float, above: int, connection: Connection) -> Tenure | Ownership:
        """Take the file if it may be taken; otherwise return the row that says who has it."""
        had_lock = self._lock.held
        has_lock = self._lock.take()
        try:
            taken = self._take(owner, round(lease * 1e6), above, has_lock, connection)
        except BaseException:
            if not had_lock:
                self._lock.drop()
            raise
        if isinstance(taken, Tenure):
            self._token = taken.token
            if has_lock:
                self._lock.note(owner)
        elif not had_lock:
            self._lock.drop()
        return taken

    def renew(self, tenure: Tenure, next_sequence: int, connection: Connection) -> Verdict:
        """Push the lease's end, and take the lock if it was not free before; see `Log.renew`."""
        connection.execute(_RENEW, (wall_clock(), tenure.epoch, tenure.token, next_sequence))
        if not connection.changes():
            fence = read(connection).fence(tenure.epoch, tenure.token)
            if fence is Verdict.OK:
                return Verdict.GAP
            self._lost(tenure.token)
            return fence
        if not self._lock.held and self._lock.take():
            connection.execute(_LOCKED, (tenure.token,))
            self._lock.note(read(connection).owner)
        return Verdict.OK

    def release(self, tenure: Tenure, connection: Connection) -> None:
        """Give the file back; nothing for a tenure that is over."""
        connection.execute(_RELEASE, (tenure.token,))
        self._lost(tenure.token)

    def give_back(self, connection: Connection) -> None:
        """Give back what this store still owns."""
        if self._token:
            connection.execute(_RELEASE, (self._token,))

    def let_go(self) -> None:
        """Let go of the lock, and so of the file, whatever became of the database."""
        self._lost(self._token)

    def _lost(self, token: bytes) -> None:
        """A tenure has ended: if it was the newest of this store, let go of the lock."""
        if token == self._token:
            self._token = b""
            self._lock.drop()

    def _take(self, owner: Owner, lease: int, above: int, has_lock: bool, connection: Connection) -> Tenure | Ownership:
        row = read(connection)
        if not self._may_take(row, has_lock) or not _begin(connection):
            return row
        row = read(connection)
        if not self._may_take(row, has_lock):  # somebody was faster
            connection.execute("ROLLBACK")
            return row
        place = (row.next_sequence, row.last_time, row.last_first, row.last_digest)
        tenure = Tenure(0, max(row.epoch, above) + 1, os.urandom(16), *place)
        now = wall_clock()
        who = (owner.host, owner.boot_id, owner.pid, owner.started)
        connection.execute(_TAKE, (tenure.epoch, tenure.token, *who, has_lock, now, lease, now + lease))
        connection.execute("COMMIT")
        return tenure

    def _may_take(self, row: Ownership, has_lock: bool) -> bool:
        return (
            not row.token
            or row.token == self._token
            or (has_lock and bool(row.locked))  # the owner had the lock, and it is ours now: the owner is gone
            or wall_clock() >= row.lease_until
            or is_provably_dead(row.owner)
        )
