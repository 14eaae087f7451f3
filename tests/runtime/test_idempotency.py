"""Keys: claimed before anything runs, and held across sessions, callers and restarts."""

from collections.abc import Awaitable, Callable
from itertools import chain
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intendant import Context, IdempotencyConflict, Realm, Runtime
from intendant.adapters.memory import MemoryStore
from intendant.domain.ports import Store
from intendant.domain.replay import World

pytestmark = pytest.mark.anyio

Audit = Callable[[Store], Awaitable[World]]


class Bodies:
    """Counts the runs of a handler's body."""

    def __init__(self) -> None:
        self.ran: list[Any] = []
        self.realm = Realm("shop")
        self.realm.handler(name="order")(self._order)
        self.realm.handler(name="other")(self._order)

    async def _order(self, ctx: Context, order: dict[str, Any]) -> int:
        self.ran.append(order)
        return len(self.ran)


@pytest.fixture
def bodies() -> Bodies:
    return Bodies()


async def test_a_thousand_callers_with_one_key_run_one_body_and_get_one_answer(
    runtime: Callable[..., Runtime], bodies: Bodies, hot: Store, audit: Audit
) -> None:
    async with runtime(bodies.realm) as running:
        sessions = [await running.open_session("acme", f"desk-{place}") for place in range(4)]
        answers: list[tuple[str, int]] = []

        async def call(place: int) -> None:
            session = sessions[place % len(sessions)]
            execution = await session.submit("shop.order", {"item": "tea"}, idempotency_key="k")
            answers.append((execution.id, await execution.result(timeout=60)))

        async with anyio.create_task_group() as group:
            for place in range(1_000):
                group.start_soon(call, place)
        assert len(answers) == 1_000
        assert len(set(answers)) == 1
        assert bodies.ran == [{"item": "tea"}]
        assert len((await audit(hot)).executions) == 1


async def test_another_type_or_other_parameters_conflict_and_both_are_shown(
    runtime: Callable[..., Runtime], bodies: Bodies
) -> None:
    async with runtime(bodies.realm) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit("shop.order", {"item": "tea"}, idempotency_key="k")
        for type, parameters in (("shop.order", {"item": "rum"}), ("shop.other", {"item": "tea"})):
            with pytest.raises(IdempotencyConflict) as raised:
                await session.submit(type, parameters, idempotency_key="k")
            error = raised.value
            assert (error.key, error.execution_id) == ("k", execution.id)
            assert "shop.order" in error.existing
            assert type in error.submitted
            assert error.existing != error.submitted
            assert all(part in str(error) for part in ("'k'", execution.id, error.existing, error.submitted))


async def test_key_holds_after_a_restart_while_open_and_when_ended(
    runtime: Callable[..., Runtime], bodies: Bodies
) -> None:
    ids: list[str] = []
    for _ in range(3):
        async with runtime(bodies.realm) as running:
            session = await running.open_session("acme", "desk-1")
            execution = await session.submit("shop.order", {"item": "tea"}, idempotency_key="k")
            ids.append(execution.id)
            assert await execution.result(timeout=10) == 1
            with pytest.raises(IdempotencyConflict):
                await session.submit("shop.order", {"item": "rum"}, idempotency_key="k")
    assert len(set(ids)) == 1
    assert len(bodies.ran) == 1


async def test_tenants_have_keys_of_their_own(runtime: Callable[..., Runtime], bodies: Bodies) -> None:
    async with runtime(bodies.realm) as running:
        ids = set[str]()
        for tenant in ("acme", "bolt"):
            session = await running.open_session(tenant, "desk-1")
            execution = await session.submit("shop.order", {"of": tenant}, idempotency_key="k")
            await execution.result(timeout=10)
            ids.add(execution.id)
        assert len(ids) == 2


async def test_without_a_key_the_intents_id_is_its_key(runtime: Callable[..., Runtime], bodies: Bodies) -> None:
    async with runtime(bodies.realm) as running:
        session = await running.open_session("acme", "desk-1")
        first = await session.submit("shop.order", {"item": "tea"})
        second = await session.submit("shop.order", {"item": "tea"})
        assert first.id != second.id
        assert first.intent_id is not None
        assert (await first.view()).key == first.intent_id
        again = await session.submit("shop.order", {"item": "tea"}, idempotency_key=first.intent_id)
        assert again.id == first.id


async def test_failed_executions_hold_their_key_too(runtime: Callable[..., Runtime]) -> None:
    realm = Realm("shop")
    runs: list[int] = []

    @realm.handler
    async def fail(ctx: Context, nothing: dict[str, Any]) -> None:
        runs.append(1)
        raise ValueError("no")

    async with runtime(realm) as running:
        session = await running.open_session("acme", "desk-1")
        for _ in range(3):
            execution = await session.submit("shop.fail", {}, idempotency_key="k")
            assert not (await execution.outcome(timeout=10)).success
        assert len(runs) == 1


Call = tuple[str, str, int, str]  # key, type, parameter, session
calls = st.tuples(
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from(["shop.order", "shop.other"]),
    st.integers(0, 1),
    st.sampled_from(["desk-1", "desk-2"]),
)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@given(rounds=st.lists(st.lists(calls, max_size=6), max_size=4), restarts=st.booleans())
@settings(max_examples=40)
def test_each_key_means_one_execution_whatever_comes_at_once(
    backend: str, rounds: list[list[Call]], restarts: bool
) -> None:
    bodies = Bodies()
    won: dict[str, tuple[str, tuple[str, int]]] = {}
    lost: list[tuple[Call, IdempotencyConflict]] = []

    async def submit(running: Runtime, call: Call) -> None:
        key, type, parameter, session = call
        try:
            execution = await running.session("acme", session).submit(type, {"p": parameter}, idempotency_key=key)
        except IdempotencyConflict as conflict:
            lost.append((call, conflict))
        else:
            assert won.setdefault(key, (execution.id, (type, parameter))) == (execution.id, (type, parameter))
            await execution.result(timeout=10)

    async def play() -> None:
        store = MemoryStore()
        for group_of_calls in rounds if restarts else [list(chain(*rounds))]:
            async with Runtime([bodies.realm], hot=store) as running:
                for session in ("desk-1", "desk-2"):
                    await running.open_session("acme", session)
                async with anyio.create_task_group() as group:
                    for call in group_of_calls:
                        group.start_soon(submit, running, call)

    anyio.run(play, backend=backend)
    assert len(bodies.ran) == len(won)
    for (key, type, parameter, _session), conflict in lost:
        assert won[key][1] != (type, parameter)
        assert conflict.execution_id == won[key][0]
