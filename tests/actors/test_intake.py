"""Commits that wait and commits that have landed: tenants in turn, each tenant's in order."""

from __future__ import annotations

from collections import defaultdict
from typing import cast

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intendant.actors.intake import Append, Intake
from intendant.actors.landing import AT_ONCE, MANY, OF_EACH, Landing, is_worth_halving
from intendant.domain.commit import Commit, Receipt
from intendant.domain.errors import Overloaded
from intendant.domain.records import SYSTEM_TENANT
from intendant.parking import Reply, current_seam

TENANTS = ("acme", "beta", "gamma")


def append_of(tenant: str, *, new: bool = False) -> Append:
    return Append(Commit(tenant, (), ()), Reply[Receipt](), 1, new=new)


def reply_of(append: Append) -> Reply[Receipt]:
    return cast("Reply[Receipt]", append.told)


@given(st.lists(st.tuples(st.sampled_from(TENANTS), st.booleans()), max_size=60))
def test_each_tenant_gets_its_turn_and_what_accepted_work_needs_goes_first(given: list[tuple[str, bool]]) -> None:
    intake = Intake("writer", 1_000)
    waiting: dict[str, list[list[Append]]] = defaultdict(lambda: [[], []])
    for tenant, new in given:
        append = append_of(tenant, new=new)
        intake.put(append)
        waiting[tenant][new].append(append)
    served: dict[str, int] = defaultdict(int)
    while intake:
        assert len(intake) == sum(len(each) for lanes in waiting.values() for each in lanes)
        taken = next(intake.take())
        tenant = taken.commit.tenant
        assert taken is (waiting[tenant][0] or waiting[tenant][1]).pop(0)
        served[tenant] += 1
        others = [other for other, lanes in waiting.items() if other != tenant and (lanes[0] or lanes[1])]
        assert all(served[tenant] - served[other] <= 1 for other in others)


def test_only_new_work_is_bounded() -> None:
    intake = Intake("writer", 2)
    for _ in range(5):
        intake.put(append_of("acme"))
    intake.put(append_of("acme", new=True))
    intake.put(append_of("beta", new=True))
    with pytest.raises(Overloaded, match="the mailbox of writer"):
        intake.put(append_of("beta", new=True))
    first = next(intake.take())
    intake.put_back(first)
    assert first in list(intake.take())
    intake.put(append_of("beta", new=True))
    assert len(intake) == 1


async def land(landing: Landing, *counts: tuple[str, int]) -> list[str]:
    """Commits of these tenants land in one batch; returns whose were told, in order, with a mark for each turn."""
    order: list[str] = []  # and those that were told when they landed
    appends = [append_of(tenant) for tenant, count in counts for _ in range(count)]
    for append in appends:
        landing.note(append.commit.tenant)
        reply_of(append).on_settled(lambda _reply, tenant=append.commit.tenant: order.append(tenant))  # type: ignore[misc]
    landing.tell(appends, [Receipt(0, 0)] * len(appends))
    while len([each for each in order if each != "|"]) < len(appends):
        order.append("|")
        await anyio.lowlevel.checkpoint()
    return order


@pytest.mark.anyio
async def test_one_tenants_are_told_at_once() -> None:
    assert await land(Landing(current_seam()), ("acme", 3 * AT_ONCE), (SYSTEM_TENANT, 1)) == [
        *["acme"] * 3 * AT_ONCE,
        SYSTEM_TENANT,
    ]


@pytest.mark.anyio
async def test_half_of_one_tenants_are_told_a_turn_later_when_that_is_asked_for() -> None:
    async def told_at_once(count: int) -> list[bool]:
        landing = Landing(current_seam())
        appends = [append_of("acme") for _ in range(count)]
        landing.tell(appends, [Receipt(0, 0)] * count, halved=True)
        at_once = [reply_of(append).settled for append in appends]
        async with anyio.create_task_group() as group:
            group.start_soon(landing.run)
            await anyio.wait_all_tasks_blocked()
            assert all(reply_of(append).settled for append in appends)
            group.cancel_scope.cancel()
        return at_once

    assert await told_at_once(MANY) == [True] * (MANY // 2) + [False] * (MANY // 2)


def test_two_rows_are_worth_it_where_there_is_one_and_a_flight_is_not_long() -> None:
    """Seconds of a store's flight, beside those that 64 callers work between two of them."""
    work = 0.0064
    assert is_worth_halving(64, 0, 0.001, work)
    assert is_worth_halving(63, 1, 0.001, work), "one that went ahead"
    assert not is_worth_halving(32, 32, 0.001, work), "they are two already"
    assert not is_worth_halving(64, 0, 0.008, work), "a slow disk"
    assert not is_worth_halving(64, 0, 0.0, 0.0), "a clock that stands still"


@pytest.mark.anyio
async def test_of_several_tenants_some_are_told_in_each_turn_of_the_loop() -> None:
    landing = Landing(current_seam())
    order = list[str]()
    async with anyio.create_task_group() as group:
        group.start_soon(landing.run)
        order += await land(landing, ("acme", OF_EACH + 3 * AT_ONCE), ("beta", OF_EACH + 2))
        group.cancel_scope.cancel()
    told = "".join(each[0] for each in order)
    before_all, _, later = told.partition("|")
    assert before_all == "a" * OF_EACH + "b" * OF_EACH  # some of whoever has nobody waiting
    turns = [len(turn) for turn in later.split("|") if turn]
    assert sum(turns) == 3 * AT_ONCE + 2
    assert max(turns) <= 2 * AT_ONCE  # trio may let this task have its turn after two of theirs
    assert later.replace("|", "")[:2] in {"ab", "ba"}


@pytest.mark.anyio
async def test_when_it_ends_all_are_told() -> None:
    landing = Landing(current_seam())
    appends = [append_of(tenant) for tenant in TENANTS for _ in range(OF_EACH + AT_ONCE)]
    async with anyio.create_task_group() as group:
        group.start_soon(landing.run)
        await anyio.lowlevel.checkpoint()
        for append in appends:
            landing.note(append.commit.tenant)
        landing.tell(appends, [Receipt(0, 0)] * len(appends))
        assert sum(reply_of(append).settled for append in appends) == OF_EACH * len(TENANTS)  # the first of each
        group.cancel_scope.cancel()
    assert all(reply_of(append).settled for append in appends)
