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
WORDS_MAX: Final = 4000  # of one command; even, so that pairs stay together. Lua's `unpack` ends at about 8,000

_VERDICTS: Final = {verdict.value.upper().encode(): verdict for verdict in Verdict}


class CommitCall:
    """One batch on its way. `arguments` is what the function gets behind its key."""

    __slots__ = ("_batch", "_claims", "_problem", "arguments")

    def __init__(self, base: str, batch: Batch) -> None:
        self._batch = batch
        self._problem = _problem_of(batch)
        self._claims: list[tuple[str, str]] = []  # in the order in which the server looks at them
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
            return KeysTaken({self._claims[pairs[at]]: pairs[at + 1] for at in range(0, len(pairs), 2)})
        raise InternalError(self._problem or f"the store answered {reply!r} to a batch")

    def _write(self, base: str) -> None:
        batch, arguments = self._batch, self.arguments
        if batch.claims:
            self._look_up_claims(base)
        arguments[9] = len(batch.entries)
        for tenant, first, count, body in batch.entries:
            arguments += (encoded(tenant), tenant, first, entry_id(first, count), body)
        if batch.count:
            self._write_tail(base)
        if batch.claims or batch.releases:
            self._write_keys(base)
        self._write_documents(base)
        self._write_journals(base)
        self._write_indexes(base)
        self._write_outbox(base)
        if batch.checkpoints:
            self._command("HSET", f"{base}checkpoints", [each for item in batch.checkpoints.items() for each in item])
        for tenant, first, body in batch.replaces:
            arguments += (4, "REPLACE", encoded(tenant), first, body)
        for tenant, below in batch.trims:
            arguments += (4, "TRIM", encoded(tenant), tenant, below)

    def _look_up_claims(self, base: str) -> None:
        claims = _grouped((tenant, (key,)) for tenant, key, _ in self._batch.claims)
        commands = 0
        for tenant, keys in claims.items():
            commands += self._command("HMGET", f"{base}keys:{encoded(tenant)}", keys)
            self._claims += [(tenant, key) for key in keys]
        self.arguments[8] = commands

    def _write_tail(self, base: str) -> None:
        batch = self._batch
        words: Arguments = [entry_id(batch.first, batch.count), "t", batch.time, "d", day_of(batch.time)]
        for tenant, first, count, _ in batch.entries:
            words += (encoded(tenant), entry_id(first, count))
        self.arguments += (len(words) + 2, "XADD", f"{base}tail", *words)

    def _write_keys(self, base: str) -> None:
        claims = _grouped((tenant, (key, value)) for tenant, key, value in self._batch.claims)
        for tenant, words in claims.items():
            self._put(f"{base}keys:{encoded(tenant)}", f"{base}claimed:{encoded(tenant)}", words)
        for tenant, keys in _grouped((tenant, (key,)) for tenant, key in self._batch.releases).items():
            self._remove(f"{base}keys:{encoded(tenant)}", f"{base}claimed:{encoded(tenant)}", keys)

    def _write_documents(self, base: str) -> None:
        puts: dict[tuple[str, str], Arguments] = {}
        deletes: dict[tuple[str, str], Arguments] = {}
        for write in self._batch.documents:
            place = write.tenant, write.collection
            if write.body is None:
                deletes.setdefault(place, []).append(write.key)
            else:
                value = pack_document(write.since, write.version, write.body)
                puts.setdefault(place, []).extend((write.key, value))
        for place, words in puts.items():
            self._put(*_places(base, *place), words)
        for place, keys in deletes.items():
            self._remove(*_places(base, *place), keys)

    def _write_journals(self, base: str) -> None:
        batch = self._batch
        rows: dict[str, Arguments] = {}
        for tenant, execution, _, body in batch.journal:
            rows.setdefault(f"{base}journal:{encoded(tenant)}:{encoded(execution)}", []).append(body)
        for key, bodies in rows.items():
            self._command("RPUSH", key, bodies)
        if batch.drops:
            keys = [f"{base}journal:{encoded(tenant)}:{encoded(execution)}" for tenant, execution in batch.drops]
            self._command("UNLINK", keys[0], keys[1:])

    def _write_indexes(self, base: str) -> None:
        batch = self._batch
        removed = _grouped((each[0], (pack_member(*each[1:]),)) for each in batch.index_removes)
        for name, members in removed.items():
            self._command("ZREM", f"{base}index:{encoded(name)}", members)
        added = _grouped((each[0], (0, pack_member(*each[1:]))) for each in batch.index_adds)
        for name, words in added.items():
            self._command("ZADD", f"{base}index:{encoded(name)}", words)

    def _write_outbox(self, base: str) -> None:
        batch = self._batch
        if batch.outbox_adds:
            bodies: Arguments = []
            positions: Arguments = []
            for position, tenant, session, moment, body in batch.outbox_adds:
                bodies += (position, pack_event(tenant, session, moment, body))
                positions += (position, position)
            self._command("HSET", f"{base}outbox", bodies)
            self._command("ZADD", f"{base}waiting", positions)
        if batch.outbox_settles:
            self._command("HDEL", f"{base}outbox", batch.outbox_settles)
            self._command("ZREM", f"{base}waiting", batch.outbox_settles)

    def _put(self, hash: str, order: str, words: Arguments) -> None:
        """Set fields of a hash, and note those that are new in the order of their names."""
        for start in range(0, len(words), WORDS_MAX):
            part = words[start : start + WORDS_MAX]
            self._command("HSET", hash, part)
            self._command("NEW", order, [word for key in part[::2] for word in (0, key)])

    def _remove(self, hash: str, order: str, keys: Arguments) -> None:
        self._command("HDEL", hash, keys)
        self._command("ZREM", order, keys)

    def _command(self, name: str, key: str, words: Sequence[Any]) -> int:
        """Add a command, or several if it is too long for one; return how many."""
        arguments = self.arguments
        if len(words) <= WORDS_MAX:
            arguments += (len(words) + 2, name, key, *words)
            return 1
        starts = range(0, len(words), WORDS_MAX)
        for start in starts:
            self._command(name, key, words[start : start + WORDS_MAX])
        return len(starts)


def _problem_of(batch: Batch) -> str:
    """What no correct writer sends, or ''. Positions that were used before are lower than any of this batch."""
    if len({claim[:2] for claim in batch.claims}) < len(batch.claims):
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


def _grouped(rows: Iterable[tuple[str, tuple[Any, ...]]]) -> dict[str, Arguments]:
    """Words by what they belong to, each in the order they came."""
    groups: dict[str, Arguments] = {}
    for name, words in rows:
        groups.setdefault(name, []).extend(words)
    return groups


def _places(base: str, tenant: str, collection: str) -> tuple[str, str]:
    """The keys of a collection's documents, and of their order."""
    place = f"{encoded(tenant)}:{encoded(collection)}"
    return f"{base}doc:{place}", f"{base}order:{place}"
