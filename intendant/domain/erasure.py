"""Erasure: what belongs to a tenant or session, and what is left of a record whose content is erased. Pure.

Every record of an erased session keeps its place in the log: it becomes `content_erased`, without content, so that
sequences stay gapless and whoever reads the log sees that something stood there. Of an erased tenant the log is
trimmed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from intendant.domain import state as states
from intendant.domain.digests import named_in
from intendant.domain.payloads import ContentErased, ContentExpired, StateSet
from intendant.domain.records import LogRecord, Record, decode_entry, encode_entry
from intendant.domain.state import decode_execution, decode_file

WHOLE: Final = "*"  # stands for a whole tenant where a session's id may stand; no id is that

_MARKS: Final = frozenset({"erasure_started", "content_erased"})


class Scope(Struct, frozen=True):
    """What is erased: a session of a tenant, or the whole tenant."""

    tenant: str
    session: str = ""

    @property
    def member(self) -> str:
        """Its name among the tenant's erasures."""
        return self.session or WHOLE

    @classmethod
    def of(cls, tenant: str, member: str) -> Scope:
        """The scope that has this name."""
        return cls(tenant, "" if member == WHOLE else member)

    def __str__(self) -> str:
        return f"session {self.session!r} of tenant {self.tenant!r}" if self.session else f"tenant {self.tenant!r}"


class Erased(Struct, frozen=True):
    """What an erasure removed, or would remove: counts. A resumed one counts what was left to do.

    `open` are executions that had not ended; they are among `executions`. `shared` are files that stay, because
    something else of the tenant names them.
    """

    tenant: str
    session: str = ""
    executions: int = 0
    open: int = 0
    records: int = 0
    documents: int = 0
    keys: int = 0
    events: int = 0
    journals: int = 0
    files: int = 0
    shared: int = 0

    @property
    def nothing(self) -> bool:
        """Whether there was nothing to remove."""
        return not (self.records or self.documents or self.keys or self.events or self.journals or self.files)


class Content(Struct):
    """What is known of the content of one scope; filled by looking at the log, oldest record first, and at documents.

    A session's step records and events name it. Its executions' data, file references and what retention told of it
    do not, so it is kept which executions and references are its own, and which keys are not.
    """

    scope: Scope
    executions: set[str] = field(default_factory=set[str])
    files: set[str] = field(default_factory=set[str])  # digests that it names, and
    others: set[str] = field(default_factory=set[str])  # those that the rest of the tenant names
    records: int = 0
    _references: dict[str, bool] = field(default_factory=dict[str, bool])  # whether the newest of each is its own
    _claimed: set[str] = field(default_factory=set[str])  # keys of other sessions' intents

    # --- looking

    def see_record(self, record: LogRecord, digests: Collection[str]) -> None:
        """Take note of a record; `digests` are the files that the tenant has."""
        own = record.session == self.scope.session
        if own and self.scope.session and record.execution:
            self.executions.add(record.execution)  # also of what an earlier attempt has left the place of
        if record.type in _MARKS:
            return
        if not self.scope.session:
            self.records += 1
            return
        if record.type == "intent_received" and not own:
            self._claimed.add(record.payload["key"])
        elif record.type == "state_set":
            self._see_set(record, own=own)
        own = own or record.execution in self.executions
        self.records += own
        self.see_body(bytes(record.raw), digests, own=own)

    def _see_set(self, record: LogRecord, *, own: bool) -> None:
        changed = msgspec.msgpack.decode(record.raw, type=StateSet)
        if changed.collection == states.FILES and (own or changed.key in self._references):
            self._references[changed.key] = own

    def see_body(self, body: bytes, digests: Collection[str], *, own: bool) -> None:
        """Take note of the files that a body names."""
        if digests:
            (self.files if own else self.others).update(named_in([body], digests))

    def see_document(self, collection: str, key: str, body: bytes, digests: Collection[str]) -> bool:
        """Take note of a document; returns whether it is its own. Executions come before what belongs to them."""
        own = self.owns(collection, key, body)
        if own and collection == states.EXECUTIONS and self.scope.session:
            self.executions.add(key)
        if own and collection == states.FILES:
            self._references[key] = True
        self.see_body(body, digests, own=own)
        return own

    # --- deciding

    def owns(self, collection: str, key: str, body: bytes) -> bool:
        """Whether a document is to go. One without a body is known by its key, if anything is known of it."""
        session = self.scope.session
        match collection:
            case _ if not session:
                return True
            case states.SESSIONS | states.SESSION_DATA | states.SESSION_STATE:
                return key == session
            case states.EXECUTIONS if body:
                return decode_execution(body).session == session
            case states.FILES:
                return decode_file(body).session == session if body else self._references.get(key, False)
            case states.DEAD_LETTERS:
                return key.rpartition("-")[0] in self.executions
            case _:
                return key in self.executions

    def rewritten(self, entry: bytes) -> bytes | None:
        """A log entry without the session's content; None when it has none."""
        records = decode_entry(entry)
        left = [self._left_of(record) for record in records]
        if all(each is None for each in left):
            return None
        kept = [new or _as_it_is(old) for old, new in zip(records, left, strict=True)]
        return encode_entry(records[0].epoch, records[0].sequence, records[0].time, records[0].tenant, kept)

    def _left_of(self, record: LogRecord) -> Record | None:
        """What is left of a record; None when all of it is."""
        if record.type in _MARKS:
            return None
        if record.type == "content_expired":
            return self._left_of_expired(record)
        if not self._is_own(record):
            return None
        return Record("content_erased", record.session, record.execution, ContentErased())

    def _is_own(self, record: LogRecord) -> bool:
        if record.session == self.scope.session or record.execution in self.executions:
            return True
        if record.type != "state_set" or not self._references:
            return False
        # an older one of another session, of a reference that is its own now
        changed = msgspec.msgpack.decode(record.raw, type=StateSet)
        return changed.collection == states.FILES and self._references.get(changed.key, False)

    def _left_of_expired(self, record: LogRecord) -> Record | None:
        """What retention told, without the session; and without keys that may have been its own: no other has them."""
        told = msgspec.msgpack.decode(record.raw, type=ContentExpired)
        left = replace(
            told,
            executions=[each for each in told.executions if each not in self.executions],
            sessions=[each for each in told.sessions if each != self.scope.session],
            keys=[each for each in told.keys if each in self._claimed],
        )
        return None if left == told else Record(record.type, record.session, record.execution, left)


def without_old(entries: Sequence[bytes], before: int) -> list[bytes]:
    """The entries that end behind a sequence."""
    return [entry for entry in entries if decode_entry(entry)[-1].sequence >= before]


def _as_it_is(record: LogRecord) -> Record:
    return Record(record.type, record.session, record.execution, record.raw)
