"""A store that went back in time is not read before its owner has put back what it lacks."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from intendant.adapters.process import current_owner
from intendant.adapters.redis import RedisStore
from intendant.domain.commit import Batch, Commit, PutDocument, Verdict, seal
from intendant.domain.errors import StoreUnavailable
from intendant.domain.payloads import StateSet
from intendant.domain.ports import Tenure
from intendant.domain.records import Record
from tests.infrastructure.redis_server import RedisServer

pytestmark = pytest.mark.anyio


def put(tenure: Tenure, first: int, body: bytes) -> Batch:
    record = Record("state_set", "s", "", StateSet("notes", "k", msgspec.Raw(body)))
    commits = [Commit("acme", [record], [PutDocument("notes", "k", body)])]
    return seal(commits, partition=0, epoch=tenure.epoch, token=tenure.token, first=first, time=first)[0]


async def test_what_was_acknowledged_is_read_or_nothing(servers: Callable[..., RedisServer]) -> None:
    server = servers(appendfsync="always")  # else a write may wait for the sync of the one before
    store = RedisStore(server.url)
    await store.open()
    log = store.log(0)
    tenure = await log.acquire(current_owner(), timeout=1, lease=10)
    old, new = put(tenure, 1, b"\x01"), put(tenure, 2, b"\x02")
    assert await log.commit(old) is Verdict.OK
    written = server.written
    assert await log.commit(new) is Verdict.OK
    server.kill()
    server.lose(written)
    server.restart()
    for read in (log.document("acme", "notes", "k"), log.fetch([("acme", "notes", "k")]), log.entries("acme")):
        with pytest.raises(StoreUnavailable, match="lacks what was acknowledged"):
            await read
    with pytest.raises(StoreUnavailable, match="nothing was told"):
        await log.commit(new)  # on the old connection
    assert await log.commit(new) is Verdict.OK
    document = await log.document("acme", "notes", "k")
    assert document is not None
    assert document.body == b"\x02"
    server.cli("FLUSHALL")
    with pytest.raises(StoreUnavailable, match="lacks what was acknowledged"):
        await log.index("open")
    await store.close()
    await store.open()  # whoever opens it anew takes it as it is
    assert await log.document("acme", "notes", "k") is None
    await store.close()
