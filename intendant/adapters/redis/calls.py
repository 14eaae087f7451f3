"""A batch as one call: the flat list of arguments that commit.lua takes.

Everything is grouped here, so that inside the server one command writes all documents of a tenant and collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from intendant.adapters.redis.keys import day_of, encoded, entry_id, pack_document, pack_event, pack_member
from intendant.domain.commit import PLACES, Batch, KeysTaken, Verdict
from intendant.domain.errors import InternalError

Arguments = list[Any]  # text, bytes and whole numbers, mixed
WORDS_MAX: Final = 2000  # of one command; even, so that pairs stay together. Lua's `unpack` ends at about 8,000

_VERDICTS: Final = {verdict.value.upper().encode(): verdict for verdict in Verdict}


class CommitCall:
    """One batch on its way. `arguments` is what the function gets behind its key."""

    __slots__ = ("_batch", "_claims", "_problem", "arguments")

    def __init__(self, base: str, batch: Batch) -> None:
        self._batch = batch
        self._claims: dict[str, dict[str, bytes]] = {}  # by tenant, in the order in which the server looks at them
        for tenant, key, value in batch.claims:
            self._claims.setdefault(tenant, {})[key] = value
        self._problem = _problem_of(batch, sum(map(len, self._claims.values())))
        self.arguments: Arguments = [
            batch.epoch,
            batch.token,
            batch.first,
            batch.first + batch.count,
            batch.time,
            batch.digest,
            day_of(batch.time),
            self._problem,
            0,
            0,
        ]
        if not self._problem:
            self._write(base)

    def verdict(self, reply: object) -> Verdict | KeysTaken:
        """What the store says, of the function's reply. Raises InternalError for a batch that no writer sends."""
        if isinstance(reply, bytes) and reply in _VERDICTS:
            return _VERDICTS[reply]
        if isinstance(reply, list):
            pairs: list[Any] = reply  # pyright: ignore[reportUnknownVariableType]
            claims = [(tenant, key) for tenant, keys in self._claims.items() for key in keys]
            return KeysTaken({claims[pairs[at]]: pairs[at + 1] for at in range(0, len(pairs), 2)})
        raise InternalError(self._problem or f"the store answered {reply!r} to a batch")

    def _write(self, base: str) -> None:
        batch, arguments = self._batch, self.arguments
        for tenant, keys in self._claims.items():
            words = [word for item in keys.items() for word in item]
            arguments[8] += self._command("PUT", _keys_of(base, tenant), words)
        arguments[9] = len(batch.entries)
        for tenant, first, count, body in batch.entries:
            arguments += (encoded(tenant), tenant, first, entry_id(first, count), body)
        if batch.count:
            self._write_tail(base)
        for tenant, freed in _grouped(batch.releases).items():
            self._command("REMOVE", _keys_of(base, tenant), freed)
        self._write_documents(base)
        self._write_journals(base)
        self._write_indexes(base)
        self._write_outbox(base)
        if batch.checkpoints:
            moves = [each for item in batch.checkpoints.items() for each in item]
            self._command("HSET", (f"{base}checkpoints",), moves)
        for tenant, first, body in batch.replaces:
            self._command("REPLACE", (encoded(tenant),), (first, body))
        for tenant, below in batch.trims:
            self._command("TRIM", (encoded(tenant),), (tenant, below))

    def _write_tail(self, base: str) -> None:
        batch = self._batch
        words: Arguments = [entry_id(batch.first, batch.count), "t", batch.time, "d", day_of(batch.time)]
        for tenant, first, count, _ in batch.entries:
            words += (encoded(tenant), entry_id(first, count))
        self.arguments += (len(words) + 2, "XADD", f"{base}tail", *words)

    def _write_documents(self, base: str) -> None:
        puts: dict[tuple[str, str], Arguments] = {}
        for tenant, collection, key, since, version, body in self._batch.puts:
            words = puts.setdefault((tenant, collection), [])
            words += (key, pack_document(since, version, body))
        for place, words in puts.items():
            self._command("PUT", _documents_of(base, *place), words)
        deletes: dict[tuple[str, str], Arguments] = {}
        for tenant, collection, key in self._batch.deletes:
            deletes.setdefault((tenant, collection), []).append(key)
        for place, keys in deletes.items():
            self._command("REMOVE", _documents_of(base, *place), keys)

    def _write_journals(self, base: str) -> None:
        batch = self._batch
        rows: dict[str, Arguments] = {}
        for tenant, execution, _, body in batch.journal:
            rows.setdefault(f"{base}journal:{encoded(tenant)}:{encoded(execution)}", []).append(body)
        for key, bodies in rows.items():
            self._command("RPUSH", (key,), bodies)
        if batch.drops:
            keys = [f"{base}journal:{encoded(tenant)}:{encoded(execution)}" for tenant, execution in batch.drops]
            self._command("UNLINK", (), keys)

    def _write_indexes(self, base: str) -> None:
        for name, members in _members(self._batch.index_removes).items():
            self._command("ZREM", (f"{base}index:{encoded(name)}",), members)
        for name, members in _members(self._batch.index_adds).items():
            self._command("ADD", (f"{base}index:{encoded(name)}",), members)

    def _write_outbox(self, base: str) -> None:
        batch = self._batch
        if batch.outbox_adds:
            bodies: Arguments = []
            positions: Arguments = []
            for position, tenant, session, moment, body in batch.outbox_adds:
                bodies += (position, pack_event(tenant, session, moment, body))
                positions += (position, position)
            self._command("HSET", (f"{base}outbox",), bodies)
            self._command("ZADD", (f"{base}waiting",), positions)
        if batch.outbox_settles:
            self._command("REMOVE", (f"{base}outbox", f"{base}waiting"), batch.outbox_settles)

    def _command(self, name: str, keys: tuple[str, ...], words: Sequence[Any]) -> int:
        """Add a command, or several if it is too long for one; return how many."""
        arguments = self.arguments
        for start in range(0, len(words), WORDS_MAX):
            part = words[start : start + WORDS_MAX]
            arguments += (len(keys) + len(part) + 1, name, *keys)
            arguments += part
        return -(-len(words) // WORDS_MAX)


def _problem_of(batch: Batch, claimed: int) -> str:
    """What no correct writer sends, or ''. Positions that were used before are lower than any of this batch."""
    if claimed < len(batch.claims):
        return f"the batch at {batch.first} claims a key twice"
    lowest = batch.first * PLACES
    newest: dict[tuple[str, str], int] = {}
    for tenant, execution, position, _ in batch.journal:
        if position <= newest.get((tenant, execution), lowest - 1):
            return f"the batch at {batch.first} repeats the journal position {position}"
        newest[tenant, execution] = position
    positions = {item[0] for item in batch.outbox_adds}
    if positions and (len(positions) < len(batch.outbox_adds) or min(positions) < lowest):
        return f"the batch at {batch.first} repeats a position of the outbox"
    return ""


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """The second of each by the first, in the order they came."""
    groups: dict[str, list[str]] = {}
    for name, word in pairs:
        groups.setdefault(name, []).append(word)
    return groups


def _members(rows: Iterable[tuple[str, int, str, str]]) -> dict[str, list[bytes]]:
    """Packed members by their index."""
    members: dict[str, list[bytes]] = {}
    for name, score, tenant, member in rows:
        members.setdefault(name, []).append(pack_member(score, tenant, member))
    return members


def _keys_of(base: str, tenant: str) -> tuple[str, str]:
    """The keys of a tenant's claimed keys, and of their order."""
    place = encoded(tenant)
    return f"{base}keys:{place}", f"{base}claimed:{place}"


def _documents_of(base: str, tenant: str, collection: str) -> tuple[str, str]:
    """The keys of a collection's documents, and of their order."""
    place = f"{encoded(tenant)}:{encoded(collection)}"
    return f"{base}doc:{place}", f"{base}order:{place}"
