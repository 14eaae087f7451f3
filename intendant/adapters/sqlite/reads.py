"""What is read: one short query each, so that no reader keeps SQLite's own log from being folded back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from typing import Final, TypeVar

from intendant.adapters.sqlite.database import Database
from intendant.adapters.sqlite.driver import Connection, Value
from intendant.adapters.sqlite.thread import StoreThread
from intendant.domain.errors import StoreUnavailable
from intendant.domain.ports import Document, IndexMember, OutboxItem
from intendant.parking import current_seam

T = TypeVar("T")

FLOOR: Final = ""  # no reader's name: the checkpoint that says where reading all tenants begins

_SEQUENCE_MAX = 2**63 - 1
_TOGETHER: Final = 64  # keys in one statement
_ENTRIES = (  # an entry that begins before `first` may reach into the range, and only the newest of them can
    "SELECT body FROM entries WHERE sequence <= :last AND sequence + count > :first "
    "AND sequence >= ifnull((SELECT max(sequence) FROM entries WHERE sequence <= :first), :first)"
)
_OF_TENANT = " AND tenant = :tenant"
_TENANTS = (
    "WITH RECURSIVE found(tenant) AS (SELECT min(tenant) FROM entries WHERE tenant {} ? UNION ALL "
    "SELECT (SELECT min(tenant) FROM entries WHERE tenant > found.tenant) FROM found WHERE tenant IS NOT NULL) "
    "SELECT tenant FROM found WHERE tenant IS NOT NULL LIMIT ?"
)


class SqliteReads:
    """The reading half of a log, over a connection that lives in its own thread."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread: StoreThread | None = None
        self._database: Database | None = None

    async def document(self, tenant: str, collection: str, key: str) -> Document | None:
        """See `LogReader.document`."""
        return await self._read(partial(_document, tenant, collection, key))

    async def fetch(self, wanted: Sequence[tuple[str, str, str]]) -> list[Document | None]:
        """See `LogReader.fetch`."""
        return await self._read(partial(_fetch, wanted))

    async def documents(
        self, tenant: str, collection: str, *, after: str = "", limit: int = 100, newest_first: bool = False
    ) -> list[Document]:
        """See `LogReader.documents`."""
        return await self._read(partial(_documents, tenant, collection, after, limit, newest_first))

    async def journal(self, tenant: str, execution: str) -> list[bytes]:
        """See `LogReader.journal`."""
        return await self._read(partial(_journal, tenant, execution))

    async def journals(self, wanted: Sequence[tuple[str, str]]) -> list[list[bytes]]:
        """See `LogReader.journals`."""
        return await self._read(partial(_journals, wanted))

    async def index(self, name: str, *, after: IndexMember | None = None, limit: int = 1000) -> list[IndexMember]:
        """See `LogReader.index`."""
        return await self._read(partial(_index, name, after, limit))

    async def key(self, tenant: str, key: str) -> bytes | None:
        """See `LogReader.key`."""
        return await self._read(partial(_key, tenant, key))

    async def keys(self, tenant: str, *, after: str = "", limit: int = 1000) -> list[tuple[str, bytes]]:
        """See `LogReader.keys`. Looks at the keys of all tenants behind `after`: for tools, not for every day."""
        return await self._read(partial(_keys, tenant, after, limit))

    async def tenants(self, *, after: str = "", limit: int = 1000) -> list[str]:
        """See `LogReader.tenants`. Costs one look-up a tenant."""
        return await self._read(partial(_tenants, after, limit))

    async def outbox(self, *, after: int = 0, limit: int = 256, tenant: str | None = None) -> list[OutboxItem]:
        """See `LogReader.outbox`."""
        return await self._read(partial(_outbox, after, limit, tenant))

    async def checkpoint(self, name: str) -> int:
        """See `LogReader.checkpoint`."""
        return await self._read(partial(_checkpoint, name))

    async def entries(
        self,
        tenant: str | None,
        *,
        first: int = 0,
        last: int | None = None,
        limit: int = 100,
        newest_first: bool = False,
    ) -> list[bytes]:
        """See `LogReader.entries`."""
        return await self._read(partial(_entries, tenant, first, last, limit, newest_first))

    async def position_at(self, time: int) -> int:
        """See `LogReader.position_at`."""
        return await self._read(partial(_position_at, time))

    async def _open(self, opening: Callable[[], Database]) -> Database:
        """Start the thread and open the file in it; if that fails or is cancelled, nothing of it is left."""
        thread = StoreThread(self._name, current_seam())
        opened: list[Database] = []
        try:
            await thread.run(lambda: opened.append(opening()))
        except BaseException:
            await thread.stop(lambda: _close_all(opened))
            raise
        self._thread, self._database = thread, opened[0]
        return opened[0]

    async def _close(
        self, first: Callable[[Connection], None] | None = None, last: Callable[[], None] | None = None
    ) -> None:
        """Let what was submitted end, do `first` if the file still serves, close it, do `last`, end the thread."""
        thread, database = self._thread, self._database
        self._thread = self._database = None
        if thread is None or database is None:
            return

        def end() -> None:
            try:
                if first is not None:
                    with suppress(StoreUnavailable):
                        database.run(first)
                database.close()
            finally:
                if last is not None:
                    last()

        await thread.stop(end)

    async def _read(self, query: Callable[[Connection], T]) -> T:
        thread, database = self._opened()
        return await thread.run(partial(database.run, query))

    def _opened(self) -> tuple[StoreThread, Database]:
        if self._thread is None or self._database is None:
            raise StoreUnavailable(f"{self._name} is not open; nothing was read or written")
        return self._thread, self._database


def _close_all(databases: list[Database]) -> None:
    for database in databases:
        database.close()


def _document(tenant: str, collection: str, key: str, connection: Connection) -> Document | None:
    query = "SELECT key, body, since, version FROM documents WHERE tenant = ? AND collection = ? AND key = ?"
    for row in connection.execute(query, (tenant, collection, key)):
        return Document(*row)
    return None


def _documents(
    tenant: str, collection: str, after: str, limit: int, newest_first: bool, connection: Connection
) -> list[Document]:
    select = "SELECT key, body, since, version FROM documents WHERE tenant = ? AND collection = ?"
    bounds = "" if newest_first and not after else " AND key < ?" if newest_first else " AND key > ?"
    order = " ORDER BY key DESC LIMIT ?" if newest_first else " ORDER BY key LIMIT ?"
    values = (tenant, collection, after, limit) if bounds else (tenant, collection, limit)
    return [Document(*row) for row in connection.execute(select + bounds + order, values)]


def _journal(tenant: str, execution: str, connection: Connection) -> list[bytes]:
    query = "SELECT body FROM journal WHERE tenant = ? AND execution = ? ORDER BY position"
    return [body for (body,) in connection.execute(query, (tenant, execution))]


def _fetch(wanted: Sequence[tuple[str, str, str]], connection: Connection) -> list[Document | None]:
    """One statement for many keys: a third of what as many statements take."""
    select = "SELECT key, body, since, version FROM documents WHERE tenant = ? AND collection = ? AND key IN "
    keys: dict[tuple[str, str], list[str]] = {}
    for tenant, collection, key in wanted:
        keys.setdefault((tenant, collection), []).append(key)
    found = {
        (*place, str(row[0])): Document(*row)
        for place, several in keys.items()
        for some in _in_parts(several)
        for row in connection.execute(f"{select}{_marks(len(some))}", (*place, *some))
    }
    return [found.get(each) for each in wanted]


def _journals(wanted: Sequence[tuple[str, str]], connection: Connection) -> list[list[bytes]]:
    """See `_fetch`."""
    select = "SELECT execution, body FROM journal WHERE tenant = ? AND execution IN "
    rows: dict[tuple[str, str], list[bytes]] = {each: [] for each in wanted}
    executions: dict[str, list[str]] = {}
    for tenant, execution in rows:
        executions.setdefault(tenant, []).append(execution)
    for tenant, several in executions.items():
        for some in _in_parts(several):
            query = f"{select}{_marks(len(some))} ORDER BY execution, position"
            for execution, body in connection.execute(query, (tenant, *some)):
                rows[tenant, execution].append(body)
    return [rows[each] for each in wanted]


def _in_parts(keys: Sequence[str]) -> list[Sequence[str]]:
    return [keys[start : start + _TOGETHER] for start in range(0, len(keys), _TOGETHER)]


@lru_cache(_TOGETHER)
def _marks(count: int) -> str:
    return f"({','.join('?' * count)})"


def _index(name: str, after: IndexMember | None, limit: int, connection: Connection) -> list[IndexMember]:
    select = "SELECT score, tenant, member FROM indexes WHERE name = ?"
    order = " ORDER BY score, tenant, member LIMIT ?"
    if after is None:
        rows = connection.execute(select + order, (name, limit))
    else:
        behind = " AND (score, tenant, member) > (?, ?, ?)"
        rows = connection.execute(select + behind + order, (name, after.score, after.tenant, after.member, limit))
    return [IndexMember(*row) for row in rows]


def _key(tenant: str, key: str, connection: Connection) -> bytes | None:
    for (value,) in connection.execute("SELECT value FROM keys WHERE tenant = ? AND key = ?", (tenant, key)):
        return bytes(value)
    return None


def _keys(tenant: str, after: str, limit: int, connection: Connection) -> list[tuple[str, bytes]]:
    query = "SELECT key, value FROM keys WHERE key > ? AND tenant = ? ORDER BY key LIMIT ?"
    return [(key, value) for key, value in connection.execute(query, (after, tenant, limit))]


def _tenants(after: str, limit: int, connection: Connection) -> list[str]:
    """Leap from tenant to tenant in the index, over all their entries."""
    compare = ">" if after else ">="
    found = connection.execute(_TENANTS.format(compare), (after, limit))
    return [tenant for (tenant,) in found]


def _outbox(after: int, limit: int, tenant: str | None, connection: Connection) -> list[OutboxItem]:
    select = "SELECT position, tenant, session, time, body FROM outbox WHERE position > ?"
    order = " ORDER BY position LIMIT ?"
    if tenant is None:
        rows = connection.execute(select + order, (after, limit))
    else:
        rows = connection.execute(select + " AND tenant = ?" + order, (after, tenant, limit))
    return [OutboxItem(*row) for row in rows]


def _checkpoint(name: str, connection: Connection) -> int:
    for (position,) in connection.execute("SELECT position FROM checkpoints WHERE name = ?", (name,)):
        return int(position)
    return 0


def _entries(
    tenant: str | None, first: int, last: int | None, limit: int, newest_first: bool, connection: Connection
) -> list[bytes]:
    select = _ENTRIES if tenant is None else _ENTRIES + _OF_TENANT
    order = "DESC" if newest_first else "ASC"
    values: dict[str, Value] = {
        "tenant": tenant,
        "first": max(first, _checkpoint(FLOOR, connection)) if tenant is None else first,
        "last": _SEQUENCE_MAX if last is None else last,
        "limit": limit,
    }
    return [body for (body,) in connection.execute(f"{select} ORDER BY sequence {order} LIMIT :limit", values)]


def _position_at(time: int, connection: Connection) -> int:
    """Search by halving the range of sequences: times never decrease along them, so that they need no index."""
    [(first, end)] = connection.execute("SELECT (SELECT min(sequence) FROM entries), next_sequence FROM ownership")
    low, high = (end if first is None else first), end
    probe = "SELECT sequence, count, time FROM entries WHERE sequence <= ? ORDER BY sequence DESC LIMIT 1"
    while low < high:
        [(sequence, count, entry_time)] = connection.execute(probe, ((low + high) // 2,))
        if entry_time >= time:
            high = sequence
        else:
            low = max(sequence + count, (low + high) // 2 + 1)  # also over a gap, that damage left
    return int(low)
