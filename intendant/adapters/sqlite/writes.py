"""How a batch becomes one transaction."""

from __future__ import annotations

from collections.abc import Sequence

import apsw

from intendant.adapters.sqlite.driver import Connection, Row
from intendant.adapters.sqlite.ownership import read, wall_clock
from intendant.adapters.sqlite.reads import FLOOR
from intendant.domain.commit import Batch, KeysTaken, Verdict
from intendant.domain.errors import InternalError
from intendant.domain.records import SYSTEM_TENANT

# The fence and the place in one statement: it changes the row only for the owner's next batch.
_ADVANCE = (
    "UPDATE ownership SET next_sequence = ?, last_time = ?, last_first = ?, last_count = ?, last_digest = ?, "
    "lease_until = ? + lease WHERE epoch = ? AND token = ? AND next_sequence = ? AND token <> x''"
)
_TOUCH = "UPDATE ownership SET lease_until = ? + lease WHERE epoch = ? AND token = ? AND token <> x''"
_ADD_ENTRY = "INSERT INTO entries(tenant, sequence, count, body, time) VALUES(?, ?, ?, ?, ?)"
_CLAIM = "INSERT INTO keys(tenant, key, value) VALUES(?, ?, ?)"
_RELEASE = "DELETE FROM keys WHERE tenant = ? AND key = ?"
_PUT = (
    "INSERT INTO documents(tenant, collection, key, since, version, body) VALUES(?, ?, ?, ?, ?, ?) "
    "ON CONFLICT DO UPDATE SET since = excluded.since, version = excluded.version, body = excluded.body"
)
_DELETE = "DELETE FROM documents WHERE tenant = ? AND collection = ? AND key = ?"
_APPEND = "INSERT INTO journal(tenant, execution, position, body) VALUES(?, ?, ?, ?)"
_DROP = "DELETE FROM journal WHERE tenant = ? AND execution = ?"
_ADD_MEMBER = "INSERT OR IGNORE INTO indexes(name, score, tenant, member) VALUES(?, ?, ?, ?)"
_REMOVE_MEMBER = "DELETE FROM indexes WHERE name = ? AND score = ? AND tenant = ? AND member = ?"
_ADD_EVENT = "INSERT INTO outbox(position, tenant, session, time, body) VALUES(?, ?, ?, ?, ?)"
_SETTLE = "DELETE FROM outbox WHERE position = ?"
_MOVE = "INSERT OR REPLACE INTO checkpoints(name, position) VALUES(?, ?)"
_REPLACE = "UPDATE entries SET body = ? WHERE sequence = ? AND tenant = ?"
_TRIM = "DELETE FROM entries WHERE tenant = ? AND sequence < ? AND sequence + count <= ?"
_LIFT_FLOOR = (
    "INSERT INTO checkpoints VALUES(?, ?) ON CONFLICT DO UPDATE SET position = max(position, excluded.position)"
)


def commit(batch: Batch, connection: Connection) -> Verdict | KeysTaken:
    """Apply a batch whole or not at all. An exception may leave the transaction open, for the caller to roll back."""
    connection.execute("BEGIN IMMEDIATE")
    if not _advance(batch, connection):
        return _refuse(batch, connection)
    if batch.claims:
        try:
            connection.executemany(_CLAIM, batch.claims)
        except apsw.ConstraintError as error:
            connection.execute("ROLLBACK")
            return _keys_taken(batch, error, connection)
    _apply(batch, connection)
    connection.execute("COMMIT")
    return Verdict.OK


def _advance(batch: Batch, connection: Connection) -> bool:
    """Move the log's end if the batch is the owner's and follows the last one."""
    if batch.count:
        last = (batch.first, batch.count, batch.digest)
        values = (batch.first + batch.count, batch.time, *last, wall_clock(), batch.epoch, batch.token, batch.first)
        connection.execute(_ADVANCE, values)
    else:
        connection.execute(_TOUCH + " AND next_sequence = ?", (wall_clock(), batch.epoch, batch.token, batch.first))
    return connection.changes() == 1


def _refuse(batch: Batch, connection: Connection) -> Verdict:
    row = read(connection)
    verdict = row.fence(batch.epoch, batch.token)
    if verdict is not Verdict.OK:
        pass
    elif batch.first > row.next_sequence:
        verdict = Verdict.GAP
    elif batch.count and batch.first == row.last_first and batch.digest == row.last_digest:
        verdict = Verdict.DUP
    else:
        verdict = Verdict.CONFLICT
    if verdict is Verdict.DUP:
        # What was written before is only as durable as the fsync that followed it; this write has one follow now.
        connection.execute(_TOUCH, (wall_clock(), batch.epoch, batch.token))
        connection.execute("COMMIT")
    else:
        connection.execute("ROLLBACK")
    return verdict


def _keys_taken(batch: Batch, error: apsw.ConstraintError, connection: Connection) -> KeysTaken:
    taken: dict[tuple[str, str], bytes] = {}
    for tenant, key, _ in batch.claims:
        for (value,) in connection.execute("SELECT value FROM keys WHERE tenant = ? AND key = ?", (tenant, key)):
            taken[tenant, key] = value
    if not taken:
        raise InternalError(f"the batch at {batch.first} claims a key twice") from error
    return KeysTaken(taken)


def _apply(batch: Batch, connection: Connection) -> None:
    time = batch.time
    _each(connection, _ADD_ENTRY, [(*entry, time) for entry in batch.entries])
    _each(connection, _RELEASE, batch.releases)
    _each(connection, _PUT, batch.puts)
    _each(connection, _DELETE, batch.deletes)
    _each(connection, _APPEND, batch.journal)
    _each(connection, _DROP, batch.drops)
    _each(connection, _REMOVE_MEMBER, batch.index_removes)
    _each(connection, _ADD_MEMBER, batch.index_adds)
    _each(connection, _ADD_EVENT, batch.outbox_adds)
    _each(connection, _SETTLE, [(position,) for position in batch.outbox_settles])
    _each(connection, _MOVE, list(batch.checkpoints.items()))
    _each(connection, _REPLACE, [(body, first, tenant) for tenant, first, body in batch.replaces])
    _each(connection, _TRIM, [(tenant, below, below) for tenant, below in batch.trims])
    _each(connection, _LIFT_FLOOR, [(FLOOR, below) for tenant, below in batch.trims if tenant == SYSTEM_TENANT])


def _each(connection: Connection, statement: str, rows: Sequence[Row]) -> None:
    if rows:
        connection.executemany(statement, rows)
