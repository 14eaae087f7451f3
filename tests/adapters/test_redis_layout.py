"""How the store on Redis names and packs what it keeps."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from redis.crc import key_slot

from intendant.adapters.redis import RedisStore, connection
from intendant.adapters.redis import store as redis_store
from intendant.adapters.redis.function_library import LIBRARY, Library
from intendant.adapters.redis.keys import (
    day_of,
    encoded,
    pack_document,
    pack_event,
    pack_member,
    unpack_document,
    unpack_event,
    unpack_member,
)
from intendant.domain.commit import (
    PLACES,
    AddToOutbox,
    AppendJournal,
    ClaimKey,
    Commit,
    MoveCheckpoint,
    PutDocument,
    ReplaceEntry,
    Verdict,
)
from intendant.domain.errors import InternalError
from intendant.domain.ports import Document, IndexMember, OutboxItem
from intendant.testing.conformance.commits import one_of_everything
from intendant.testing.conformance.pen import HOSTILE_IDS, Pen, commit
from tests.adapters.conftest import opener

DAY = 86_400_000_000  # µs
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
members = st.builds(IndexMember, st.integers(-(2**63), 2**63 - 1), texts, texts)


@given(st.lists(members))
def test_packed_members_have_the_order_of_members(several: list[IndexMember]) -> None:
    packed = [pack_member(m.score, m.tenant, m.member) for m in several]
    assert [unpack_member(each) for each in packed] == several
    in_order = sorted(several, key=lambda m: (m.score, m.tenant, m.member))
    assert [unpack_member(each) for each in sorted(packed)] == in_order


@given(texts, texts)
def test_names_are_encoded_so_that_no_two_are_one(one: str, other: str) -> None:
    assert (encoded(one) == encoded(other)) == (one == other)
    assert not set(encoded(one)) & set("{}: \n")


@given(st.integers(0, 2**53), st.integers(0, 2**53), st.binary())
def test_documents_are_read_as_they_were_packed(since: int, version: int, body: bytes) -> None:
    assert unpack_document("k", pack_document(since, version, body)) == Document("k", body, since, version)


@given(texts, texts, st.integers(0, 2**53), st.binary())
def test_events_are_read_as_they_were_packed(tenant: str, session: str, time: int, body: bytes) -> None:
    packed = pack_event(tenant, session, time, body)
    assert unpack_event(b"7", packed) == OutboxItem(7, tenant, session, time, body)


def test_days_are_of_utc() -> None:
    assert [day_of(0), day_of(DAY - 1), day_of(DAY), day_of(1_700_000_000_000_000)] == [
        "19700101",
        "19700101",
        "19700102",
        "20231114",
    ]


class Raw:
    """A look at the keys themselves."""

    def __init__(self, url: str) -> None:
        driver: Any = redis  # not typed throughout
        self.client = driver.Redis.from_url(url.partition("?")[0])
        self.prefix = url.partition("prefix=")[2]

    def names(self) -> list[str]:
        return sorted(key.decode() for key in self.client.scan_iter(match=f"{{{self.prefix}:*", count=1000))

    def streams(self) -> dict[str, int]:
        return {key.partition(":log:")[2]: self.client.xlen(key) for key in self.names() if ":log:" in key}

    def dirty(self) -> int:
        return int(self.client.info("persistence")["rdb_changes_since_last_save"])


@pytest.fixture
def raw(redis_url: str) -> Any:
    look = Raw(redis_url)
    yield look
    look.client.close()


@pytest.mark.anyio
class TestKeys:
    async def test_all_of_a_partition_lie_in_one_slot(self, redis_url: str, raw: Raw) -> None:
        async with opener(lambda: RedisStore(redis_url + "&partitions=3"))() as store:
            pen = await Pen.take(store.log(2))
            for id in HOSTILE_IDS:
                await pen.write(one_of_everything(id, id), commit(id, PutDocument(id, id, b""), AppendJournal(id, b"")))
        of_partition = [key for key in raw.names() if key.startswith(f"{{{raw.prefix}:2}}:")]
        assert len(of_partition) > 5 * len(HOSTILE_IDS)
        assert len({key_slot(key.encode()) for key in of_partition}) == 1
        assert set(raw.names()) - set(of_partition) == {f"{{{raw.prefix}:0}}:store"}
        assert [key for key in raw.names() if raw.client.ttl(key) != -1] == []

    async def test_arguments_are_never_code_nor_protocol(self, redis_url: str, raw: Raw) -> None:
        evil = "x') redis.call('FLUSHALL') --\r\n*1\r\n$8\r\nFLUSHALL\r\n]]"
        async with opener(lambda: RedisStore(redis_url))() as store:
            log = store.log(0)
            pen = await Pen.take(log)
            body = evil.encode() + bytes(range(256))
            put = (
                PutDocument(evil, evil, body),
                ClaimKey(evil, body),
                AddToOutbox(evil, body),
                AppendJournal(evil, body),
            )
            await pen.write(commit("t"), commit(evil, *put, MoveCheckpoint(evil, 9)))
            assert await log.document(evil, evil, evil) == Document(evil, body, 2, 2)
            assert await log.keys(evil) == [(evil, body)]
            assert await log.journal(evil, evil) == [body]
            assert [(item.session, item.body) for item in await log.outbox(tenant=evil)] == [(evil, body)]
            assert await log.checkpoint(evil) == 9
            assert await log.tenants() == ["t", evil]

    async def test_a_repeated_batch_writes_so_that_it_is_synced(self, redis_url: str, raw: Raw) -> None:
        async with opener(lambda: RedisStore(redis_url))() as store:
            pen = await Pen.take(store.log(0))
            batch = await pen.write(commit("t"))
            before = raw.dirty()
            assert await pen.send(batch) is Verdict.DUP
            assert raw.dirty() > before

    async def test_and_one_that_wrote_nothing_would_be_seen(
        self, monkeypatch: pytest.MonkeyPatch, redis_url: str, raw: Raw
    ) -> None:
        touch = "redis.call('HSET', keys[1], 'until', lease_end(meta[6]))\n        return 'DUP'"
        assert LIBRARY.code.count(touch) == 1
        code = LIBRARY.code.replace(touch, "return 'DUP'").replace(LIBRARY.name, "intendant_idle")
        for module in (connection, redis_store):
            monkeypatch.setattr(module, "LIBRARY", Library("intendant_idle", code))
        async with opener(lambda: RedisStore(redis_url))() as store:
            pen = await Pen.take(store.log(0))
            batch = await pen.write(commit("t"))
            before = raw.dirty()
            assert await pen.send(batch) is Verdict.DUP
            assert raw.dirty() == before

    async def test_many_operations_of_one_kind(self, redis_url: str) -> None:
        # More than the words of one command, and more than Lua can unpack.
        async with opener(lambda: RedisStore(redis_url))() as store:
            log = store.log(0)
            pen = await Pen.take(log)
            names = [f"{number:05}" for number in range(9000)]
            await pen.write(
                commit("t", *(ClaimKey(name, b"v") for name in names)),
                commit("t", *(PutDocument("c", name, b"") for name in names)),
                commit("t", *(AppendJournal("x", name.encode()) for name in names[:1000])),
            )
            assert [name for name, _ in await log.keys("t", limit=10**6)] == names
            assert [document.key for document in await log.documents("t", "c", limit=10**6)] == names
            assert await log.journal("t", "x") == [name.encode() for name in names[:1000]]
            taken = await pen.send(pen.seal(commit("t", ClaimKey("free", b""), *(ClaimKey(n, b"w") for n in names))))
            assert getattr(taken, "taken", None) == {("t", name): b"v" for name in names}

    async def test_a_page_of_the_log_is_bounded_and_the_read_is_not(self, redis_url: str) -> None:
        async with opener(lambda: RedisStore(redis_url))() as store:
            log = store.log(0)
            pen = await Pen.take(log)
            batches = [await pen.write(commit("t"), commit("u")) for _ in range(600)]
            expected = [entry[3] for batch in batches for entry in batch.entries]
            assert await log.entries(None, limit=10**6) == expected
            assert await log.entries(None, limit=1100, newest_first=True) == expected[::-1][:1100]
            assert await log.entries("t", limit=10**6, last=1150) == expected[:1150:2]
            assert await log.entries("t", limit=10**6, first=3, newest_first=True) == expected[2::2][::-1]

    async def test_the_partition_may_be_trimmed_within_a_batch(self, redis_url: str) -> None:
        async with opener(lambda: RedisStore(redis_url))() as store:
            log = store.log(0)
            pen = await Pen.take(log)
            batch = await pen.write(commit("t", records=2), commit("u", records=2))
            await _trim(pen, "", 3)
            for newest_first in (False, True):
                assert len(await log.entries(None, last=4, newest_first=newest_first)) == 1
            assert await log.entries("t") == [batch.entries[0][3]]

    async def test_other_keys_in_our_place_are_told(self, redis_url: str, raw: Raw) -> None:
        raw.client.set(f"{{{raw.prefix}:0}}:doc:t:c", "somebody else's")
        async with opener(lambda: RedisStore(redis_url))() as store:
            with pytest.raises(InternalError, match="prefix"):
                await store.log(0).document("t", "c", "k")

    async def test_a_gap_in_the_sequences_may_be_filled_without_entries(self, redis_url: str) -> None:
        async with opener(lambda: RedisStore(redis_url))() as store:
            log = store.log(0)
            pen = await Pen.take(log)
            assert await log.commit(replace(pen.seal(Commit("", [], [])), count=100)) is Verdict.OK
            pen.next = 101
            batch = await pen.write(commit("t", AppendJournal("x", b"row")))
            assert batch.journal[0][2] == 101 * PLACES
            assert await log.entries(None) == [batch.entries[0][3]]


@pytest.mark.anyio
class TestDays:
    async def test_a_day_is_a_stream_that_goes_as_a_whole(self, redis_url: str, raw: Raw) -> None:
        async with opener(lambda: RedisStore(redis_url))() as store:
            log = store.log(0)
            pen = await Pen.take(log)
            entries: list[tuple[str, int, int, bytes]] = []
            for number in range(12):  # three batches a day, from 1970-01-01
                entries += (await pen.write(commit("t", records=2), time=number * DAY // 3)).entries
            days = {"t:19700101": 3, "t:19700102": 3, "t:19700103": 3, "t:19700104": 3}
            assert raw.streams() == days
            for below, left in ((1, [3, 3, 3, 3]), (8, [0, 3, 3, 3]), (16, [0, 0, 2, 3]), (25, [0, 0, 0, 0])):
                await _trim(pen, "t", below)
                streams = {day: count for day, count in raw.streams().items() if day in days}
                assert streams == {day: count for day, count in zip(days, left, strict=True) if count}
                expected = [body for _, first, count, body in entries if first + count > below]
                assert await log.entries("t") == expected
            assert await log.tenants() == ["u"]

    async def test_reading_touches_the_days_of_the_range(self, redis_url: str) -> None:
        async with opener(lambda: RedisStore(redis_url))() as store:
            log = store.log(0)
            pen = await Pen.take(log)
            written: list[tuple[str, int, int, bytes]] = []
            for number in range(40):
                tenants = ("t",) if number % 3 else ("t", "u")
                batch = await pen.write(*(commit(t, records=1 + number % 4) for t in tenants), time=number * DAY // 4)
                written += batch.entries
            for first in range(0, pen.next + 2, 3):
                for last in (None, first, first + 7, first + 40):
                    for newest_first in (False, True):
                        expected = [
                            body
                            for tenant, begin, count, body in written
                            if tenant == "t" and begin + count > first and (last is None or begin <= last)
                        ]
                        found = await log.entries("t", first=first, last=last, newest_first=newest_first)
                        assert found == (expected[::-1] if newest_first else expected), (first, last)

    async def test_rewritten_entries_stand_where_they_stood(self, redis_url: str, raw: Raw) -> None:
        async with opener(lambda: RedisStore(redis_url))() as store:
            log = store.log(0)
            pen = await Pen.take(log)
            entries: list[tuple[str, int, int, bytes]] = []
            for number in range(10):
                entries += (await pen.write(commit("t", records=3), commit("u"), time=number * DAY // 3)).entries[:1]
            for place in (0, 3, 4, 9, 4):
                _, first, count, _ = entries[place]
                body = b"rewritten %d" % first
                entries[place] = "t", first, count, body
                await pen.write(commit("v", ReplaceEntry(first, b"of nobody")), time=10 * DAY)
                entries += (await pen.write(commit("t", ReplaceEntry(first, body)), time=10 * DAY)).entries
            for newest_first in (False, True):
                for limit in (1, 2, 3, 7, 100):
                    for first in range(0, 46, 2):
                        last = None if limit == 7 else first + limit
                        found = await log.entries("t", first=first, last=last, limit=limit, newest_first=newest_first)
                        own = [e[3] for e in entries if e[1] + e[2] > first and (last is None or e[1] <= last)]
                        assert found == (own[::-1] if newest_first else own)[:limit], (first, last, limit)
            everything = await log.entries(None, limit=1000)
            assert [body for body in everything if body in {e[3] for e in entries}] == [e[3] for e in entries]
            assert b"of nobody" not in everything
            await _trim(pen, "t", entries[4][1] + 3)
            assert await log.entries("t") == [e[3] for e in entries[5:]]
            await _trim(pen, "t", 10**6)
            assert [
                name for name in raw.names() if ":replaced:t" in name or ":log:t" in name or ":days:t" in name
            ] == []
            assert await log.tenants() == ["u", "v"]


async def _trim(pen: Pen, tenant: str, below: int) -> None:
    """Trim a tenant in a batch that holds nothing of it."""
    batch = replace(pen.seal(commit("u"), time=20 * DAY), trims=[(tenant, below)])
    assert await pen.send(batch) is Verdict.OK
