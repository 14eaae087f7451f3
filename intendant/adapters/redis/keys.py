"""What is stored where, and how it is written: format 1. commit.lua is the other half of this page.

Every key of partition N begins with `{prefix:N}:`, so that all of a partition lie in one hash slot and runtimes with
other prefixes share a server. TENANT and other names in keys are percent-encoded: no id can end a part or leave the
braces. Names inside of values are as they are.

    {prefix:0}:store             hash: format and partitions; the only key that is not of a partition
    …:none                       never there: see `none_key`
    …:meta                       hash: format; epoch, token, owner (host, boot, pid, started, since), lease, until, in
                                 µs of the server's clock; where the log stands (next, time, first, digest);
                                 floor and floor_time, below which the tail was trimmed
    …:log:TENANT:DAY             stream of the tenant's entries of one day (UTC, of the batch's time): field b is the
                                 entry; the id is <last sequence>-<number of sequences>, so that a range of ids is a
                                 range of sequences, and what ends below one is trimmed by id
    …:days:TENANT                sorted set: the tenant's days by the first sequence of each
    …:replaced:TENANT            sorted set: rewritten entries, "ID ENTRY" by last sequence. A stream's entries can't be
                                 changed: they are deleted there and put among the others when they are read
    …:tail                       stream: each batch by the same kind of id: t time, d day, TENANT ID of each entry
    …:tenants                    sorted set by name: tenants that have entries
    …:doc:TENANT:COLLECTION      hash: documents, "since:version:body"
    …:order:TENANT:COLLECTION    sorted set by name: the keys of these documents
    …:keys:TENANT                hash: claimed keys;  …:claimed:TENANT  sorted set by name: the same keys
    …:journal:TENANT:EXECUTION   list of rows
    …:index:NAME                 sorted set by packed member: score, tenant, member
    …:outbox                     hash: "time:TENANT:SESSION:body" by position;  …:waiting  sorted set: the positions
    …:checkpoints                hash

Sequences and times are compared as Lua numbers and kept as scores, which are exact below 2^53; a position of the outbox
is 1,024 times a sequence, so that a partition's log may hold 2^43 records. No key expires and nothing is ever trimmed
by length.
"""

from __future__ import annotations

import binascii
import re
import time
from functools import lru_cache
from typing import Final
from urllib.parse import quote, unquote

from intendant.domain.errors import InternalError
from intendant.domain.ports import Document, IndexMember, OutboxItem

FORMAT: Final = 1
SLOTS: Final = 16_384  # of a cluster
PREFIX: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")

_PLAIN: Final = re.compile(r"[A-Za-z0-9_.~-]*\Z")  # what `quote` leaves as it is
_SCORE_OFFSET: Final = 1 << 63
_SEPARATOR: Final = b"\0\0"  # behind a tenant in a packed member: lower than anything that a longer tenant has there
_NUL: Final = b"\0\xff"


def store_key(prefix: str) -> str:
    """The key of what is known of the whole store."""
    return f"{{{prefix}:0}}:store"


def base_of(prefix: str, partition: int) -> str:
    """What every key of a partition begins with."""
    return f"{{{prefix}:{partition}}}:"


def none_key(base: str) -> str:
    """A key that is never there. Whoever names it beside `meta` is refused whole while a cluster moves the slot.

    Without it a function would begin, find that a key has moved, and end in the middle of its writes.
    """
    return f"{base}none"


def slot_of(prefix: str, partition: int) -> int:
    """The slot of a cluster in which all keys of a partition lie: CRC16 (XMODEM) of what stands in the braces."""
    return binascii.crc_hqx(f"{prefix}:{partition}".encode(), 0) % SLOTS


@lru_cache(maxsize=8192)
def encoded(name: str) -> str:
    """A name as a part of a key: injective, and free of `:`, `{` and `}`."""
    return name if _PLAIN.match(name) else quote(name, safe="")


@lru_cache(maxsize=4)
def day_of(moment: int) -> str:
    """The UTC day of a time in µs since 1970, as YYYYMMDD."""
    return time.strftime("%Y%m%d", time.gmtime(moment // 1_000_000))


def entry_id(first: int, count: int) -> str:
    """The id of an entry, or of a batch in the tail."""
    return f"{first + count - 1}-{count}"


def pack_document(since: int, version: int, body: bytes) -> bytes:
    """A document's value."""
    return b"%d:%d:%b" % (since, version, body)


def unpack_document(key: str, value: bytes) -> Document:
    """The document of a key and its value."""
    since, version, body = value.split(b":", 2)
    return Document(key, body, int(since), int(version))


def pack_member(score: int, tenant: str, member: str) -> bytes:
    """A member of an index, so packed that the order of bytes is that of score, tenant, member."""
    return (score + _SCORE_OFFSET).to_bytes(8, "big") + _packed_tenant(tenant) + member.encode()


@lru_cache(maxsize=8192)
def _packed_tenant(tenant: str) -> bytes:
    return tenant.encode().replace(b"\0", _NUL) + _SEPARATOR


def unpack_member(packed: bytes) -> IndexMember:
    """What `pack_member` packed."""
    end = packed.find(_SEPARATOR, 8)
    if end < 0:
        raise InternalError(f"{packed!r} is no member of an index")
    tenant = packed[8:end].replace(_NUL, b"\0").decode()
    return IndexMember(int.from_bytes(packed[:8], "big") - _SCORE_OFFSET, tenant, packed[end + 2 :].decode())


def pack_event(tenant: str, session: str, moment: int, body: bytes) -> bytes:
    """An event's value in the outbox."""
    return b"%d:%b:%b:%b" % (moment, encoded(tenant).encode(), encoded(session).encode(), body)


def unpack_event(position: bytes, value: bytes) -> OutboxItem:
    """The event of a position and its value."""
    moment, tenant, session, body = value.split(b":", 3)
    return OutboxItem(int(position), unquote(tenant.decode()), unquote(session.decode()), int(moment), body)
