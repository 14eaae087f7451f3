"""The store on Redis keeps every promise of the ports; and the suite finds what is wrong with a store on Redis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from intendant.adapters.redis import RedisStore, calls, connection, reads, store
from intendant.adapters.redis.function_library import LIBRARY, Library
from intendant.adapters.redis.keys import pack_event
from intendant.adapters.redis.log import RedisLog
from intendant.domain.commit import Batch, KeysTaken, Verdict
from intendant.testing.conformance import LOG_CHECKS, BrokenPromise, LogCheck, check_log
from intendant.testing.conformance.commits import COMMIT_CHECKS
from intendant.testing.conformance.reads import READ_CHECKS
from tests.adapters.conftest import opener

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("check", LOG_CHECKS, ids=lambda check: check.__name__)
async def test_promises(check: LogCheck, redis_url: str) -> None:
    await check(opener(lambda: RedisStore(redis_url)))


# One fault each, planted in the function: the check that finds it, what stands there, and what stands there instead.
FENCE = "    if verdict then\n        return verdict\n    end\n    local first, expected"
GAP = "return 'GAP'\n    end\n    if"
ONE_KEY = "taken[#taken + 1] = value\n"
FAULTS = [
    ("a_fenced_batch_changes_nothing", FENCE, "    local first, expected"),
    ("a_fenced_batch_changes_nothing", "or token == '' or token ~= asked_token", "or token == ''"),
    ("a_fenced_batch_changes_nothing", "epoch ~= asked_epoch or", ""),
    ("a_store_that_knows_only_lower_epochs_says_so", "return 'LOST'", "return 'FENCED'"),
    ("a_batch_out_of_place_changes_nothing", " or args[6] ~= meta[5]", ""),
    ("a_random_life_follows_the_model", GAP, "expected = first\n    end\n    if"),
    ("taken_keys_stop_the_whole_batch", "if #taken > 0 then", "if false then"),
    ("taken_keys_stop_the_whole_batch", ONE_KEY, f"{ONE_KEY}                do return taken, at end\n"),
    ("a_batch_no_writer_sends_is_refused_whole", "if args[8] ~= '' then", "if false then"),
    ("a_live_owner_is_not_robbed", "tonumber(owner[8]) > tonumber(owner[9])", "false"),
    ("documents_are_read_in_the_order_of_keys", "last)) > 0 then", "last)) > 1000 then"),
    ("entries_are_found_by_sequence", "if begins <= last then", "if begins > last then"),
    ("times_are_found_by_halving", ">= time then", "> time then"),
    ("a_trim_removes_what_ends_below", "stream, 'MINID', below", "stream, 'MINID', whole(below + 1)"),
    ("everything_may_be_trimmed", "redis.call('ZREM', base .. 'tenants', name)", ""),
    ("reading_all_begins_where_the_partition_was_trimmed", "'HSET', meta, 'floor_time'", "'HSET', meta, 'ground_time'"),
    ("an_entry_is_rewritten_in_its_place", "redis.call('XDEL', stream, id)", ""),
    ("an_epoch_above_is_granted", "math.max(epoch, above)", "epoch"),
    ("a_renewal_compares_the_logs_end", "and 'GAP' or 'OK'", "and 'OK' or 'OK'"),
]


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Have stores use a library of another name, in which one thing is wrong."""

    def change(number: int) -> None:
        _, right, wrong = FAULTS[number]
        assert LIBRARY.code.count(right) == 1
        name = f"intendant_fault_{number}"
        faulty = Library(name, LIBRARY.code.replace(right, wrong).replace(LIBRARY.name, name))
        monkeypatch.setattr(connection, "LIBRARY", faulty)
        monkeypatch.setattr(store, "LIBRARY", faulty)

    return change


def _nothing(_: str) -> str:
    return ""


def _before_colon(name: str) -> str:
    return name.partition(":")[0]


class TestPlantedFaults:
    """On one loop: what is wrong is in the server."""

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.mark.parametrize("number", range(len(FAULTS)))
    async def test_in_the_function(self, number: int, plant: Callable[[int], None], redis_url: str) -> None:
        [check] = [check for check in LOG_CHECKS if getattr(check, "__name__", "") == FAULTS[number][0]]
        plant(number)
        with pytest.raises(BrokenPromise):
            await check(opener(lambda: RedisStore(redis_url)))

    @pytest.mark.parametrize("lossy", [_nothing, str.lower, _before_colon])
    async def test_in_the_names_of_keys(
        self,
        lossy: Callable[[str], str],
        monkeypatch: pytest.MonkeyPatch,
        test_redis: str,
        fresh_prefix: Callable[[], str],
    ) -> None:
        monkeypatch.setattr(calls, "encoded", lossy)
        monkeypatch.setattr(reads, "encoded", lossy)
        with pytest.raises(BrokenPromise, match="no read crosses"):
            await check_log(_places(test_redis, fresh_prefix), [*READ_CHECKS[-2:], *READ_CHECKS])

    async def test_events_beside_the_commit(
        self, monkeypatch: pytest.MonkeyPatch, test_redis: str, fresh_prefix: Callable[[], str]
    ) -> None:
        monkeypatch.setattr(store, "RedisLog", EventsBeside)
        with pytest.raises(BrokenPromise):
            await check_log(_places(test_redis, fresh_prefix), COMMIT_CHECKS)


class EventsBeside(RedisLog):
    """Writes events by calls of their own, before it knows whether the batch will be applied."""

    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        for position, tenant, session, time, body in batch.outbox_adds:
            event = pack_event(tenant, session, time, body)
            await self._command("HSET", f"{self._base}outbox", position, event)
            await self._command("ZADD", f"{self._base}waiting", position, position)
        return await super().commit(replace(batch, outbox_adds=[]))


def _places(url: str, fresh_prefix: Callable[[], str]) -> Callable[[], Any]:
    def place() -> Any:
        own = f"{url}{'&' if '?' in url else '?'}prefix={fresh_prefix()}"
        return opener(lambda: RedisStore(own))

    return place
