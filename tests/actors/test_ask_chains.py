"""Actors that ask others: circles are refused, deadlines shrink; actors that end together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio
import pytest

from intendant import Actor, ActorStopped, ActorSystem, Deadlock, Ref, Reply
from intendant.supervisor import Backoff, Intensity

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Ask:
    reply: Reply[str]


Body = Callable[[], Awaitable[str]]


class Does(Actor[Ask | Exception]):
    """Answers with what its body returns or raises."""

    def __init__(self, body: Body) -> None:
        self.body = body

    async def receive(self, message: Ask | Exception) -> None:
        if isinstance(message, Exception):
            raise message
        try:
            message.reply.set(await self.body())
        except Exception as error:
            message.reply.fail(error)


def asks(refs: dict[str, Ref[Ask | Exception]], name: str, timeout: float = 60.0) -> Body:
    async def body() -> str:
        return await refs[name].ask(Ask, timeout=timeout)

    return body


async def answers() -> str:
    return "done"


async def never() -> str:
    await anyio.sleep_forever()
    return ""


@pytest.mark.parametrize("names", ["a", "ab", "abc"])
async def test_a_circle_of_questions_is_refused_at_once_and_named(names: str) -> None:
    refs: dict[str, Ref[Ask | Exception]] = {}
    async with ActorSystem() as system:
        for name, other in zip(names, names[1:] + names[0], strict=True):
            refs[name] = system.spawn(name, lambda other=other: Does(asks(refs, other)))  # type: ignore[misc]
        began = anyio.current_time()
        with pytest.raises(Deadlock) as caught:
            await refs["a"].ask(Ask, timeout=60)
        assert anyio.current_time() - began < 1
        last = names[-1]
        assert caught.value.cycle == [f"actors/{name}" for name in last + names[:-1]]
        assert f"actors/{last} asks actors/a" in str(caught.value)


async def test_a_chain_is_no_circle_and_an_actor_may_ask_again_when_it_has_the_answer() -> None:
    refs: dict[str, Ref[Ask | Exception]] = {}

    async def twice() -> str:
        return await asks(refs, "b")() + await asks(refs, "b")()

    async with ActorSystem() as system:
        refs["c"] = system.spawn("c", lambda: Does(answers))
        refs["b"] = system.spawn("b", lambda: Does(asks(refs, "c")))
        refs["a"] = system.spawn("a", lambda: Does(twice))
        assert await refs["a"].ask(Ask, timeout=60) == "donedone"
        refs["b"] = system.spawn("z", lambda: Does(asks(refs, "c")))
        assert await refs["b"].ask(Ask, timeout=60) == "done"


async def test_a_question_that_was_given_up_leaves_no_trace() -> None:
    refs: dict[str, Ref[Ask | Exception]] = {}
    once: list[int] = []

    async def first_b_then_answer() -> str:
        if not once:
            once.append(1)
            with pytest.raises(TimeoutError):
                await refs["b"].ask(Ask, timeout=1)
        return "a"

    async with ActorSystem() as system:
        refs["a"] = system.spawn("a", lambda: Does(first_b_then_answer))
        refs["b"] = system.spawn("b", lambda: Does(never))
        assert await refs["a"].ask(Ask, timeout=60) == "a"
        refs["c"] = system.spawn("c", lambda: Does(asks(refs, "a")))
        assert await refs["c"].ask(Ask, timeout=60) == "a"


async def test_deadlines_shrink_along_a_chain() -> None:
    refs: dict[str, Ref[Ask | Exception]] = {}
    waited: list[float] = []

    async def slow() -> str:
        await anyio.sleep(2.0)
        began = anyio.current_time()
        try:
            return await refs["b"].ask(Ask, timeout=60)
        finally:
            waited.append(anyio.current_time() - began)

    async with ActorSystem(shutdown=0.1) as system:
        refs["b"] = system.spawn("b", lambda: Does(never))
        refs["a"] = system.spawn("a", lambda: Does(slow))
        with pytest.raises(TimeoutError):
            await refs["a"].ask(Ask, timeout=5)
        await anyio.sleep(1.0)
        assert waited == pytest.approx([3.0], abs=0.1)


async def test_after_the_deadline_nobody_is_asked_any_more() -> None:
    refs: dict[str, Ref[Ask | Exception]] = {}
    asked: list[str] = []
    caught: list[Exception] = []

    async def count() -> str:
        asked.append("b")
        return "b"

    async def late() -> str:
        await anyio.sleep(1.0)
        try:
            return await refs["b"].ask(Ask, timeout=60)
        except TimeoutError as error:
            caught.append(error)
            raise

    async with ActorSystem() as system:
        refs["b"] = system.spawn("b", lambda: Does(count))
        refs["a"] = system.spawn("a", lambda: Does(late))
        with pytest.raises(TimeoutError):
            await refs["a"].ask(Ask, timeout=0.5)
        await anyio.sleep(2.0)
        assert asked == []
        assert "actors/a was to answer by now, so actors/b was not asked" in str(caught[0])
        assert await refs["a"].ask(Ask, timeout=5) == "b"


async def test_what_is_answered_has_no_deadline_any_more() -> None:
    refs: dict[str, Ref[Ask | Exception]] = {}
    got: list[str] = []

    class AnswersFirst(Actor[Ask | Exception]):
        async def receive(self, message: Ask | Exception) -> None:
            assert isinstance(message, Ask)
            message.reply.set("at once")
            got.append(await refs["b"].ask(Ask, timeout=60))

    async def slow() -> str:
        await anyio.sleep(5.0)
        return "late"

    async with ActorSystem() as system:
        refs["b"] = system.spawn("b", lambda: Does(slow))
        refs["a"] = system.spawn("a", AnswersFirst)
        assert await refs["a"].ask(Ask, timeout=1) == "at once"
        await anyio.sleep(10.0)
        assert got == ["late"]


async def test_linked_actors_end_together_when_one_is_given_up() -> None:
    ends: dict[str, BaseException | None] = {}
    async with ActorSystem(intensity=Intensity(0), backoff=Backoff.none()) as system:
        refs = {name: system.spawn(name, lambda: Does(answers)) for name in "abcd"}
        for name, ref in refs.items():
            ref.watch(lambda cause, name=name: ends.update({name: cause}))  # type: ignore[misc]
        system.link("a", "b")
        system.link("b", "c")
        refs["a"].tell(LookupError("a"))
        await anyio.wait_all_tasks_blocked()
        assert sorted(ends) == ["a", "b", "c"]
        assert isinstance(ends["c"], ActorStopped)
        assert "actors/c is linked with actors/b" in str(ends["c"])
        assert isinstance(ends["a"], LookupError)
        assert refs["d"].alive
        with pytest.raises(KeyError):
            system.link("a", "d")


async def test_a_normal_end_concerns_nobody() -> None:
    async with ActorSystem() as system:
        refs = {name: system.spawn(name, lambda: Does(answers)) for name in "ab"}
        system.link("a", "b")
        system.stop("a")
        await anyio.wait_all_tasks_blocked()
        assert not refs["a"].alive
        assert await refs["b"].ask(Ask, timeout=1) == "done"
