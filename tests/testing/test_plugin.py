"""The pytest plugin: what the fixture `runtime` brings, on which loops and stores, and that others do not notice it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]
QUIET = ("-q", "-p", "no:cacheprovider", "-p", "no:schemathesis", "-p", "no:hypothesispytest")

SHOP = """
    import pytest
    from intendant import Context, Realm

    shop = Realm("shop")

    @shop.handler
    async def place(ctx: Context, order: dict[str, str]) -> str:
        await ctx.step("charge", lambda: 1)
        return order["item"]

    @pytest.fixture
    def realm():
        return [shop]
"""


def pages() -> dict[str, str]:
    """The files of docs/testing.md, by the names in their first lines."""
    text = (ROOT / "docs" / "testing.md").read_text()
    found = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", text, re.DOTALL)
    return dict(found)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_what_the_page_shows_passes(pytester: pytest.Pytester, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, program in pages().items():
        (pytester.path / name).write_text(program)
    monkeypatch.syspath_prepend(str(pytester.path))  # pyright: ignore[reportUnknownMemberType]
    result = run(pytester, "--intendant-backends", backend, "--intendant-stores", "memory")
    result.assert_outcomes(passed=7)


def test_a_runtime_of_the_projects_own_hides_ours_but_for_its_long_name(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        SHOP
        + """
    @pytest.fixture
    def runtime():
        return "mine"

    async def test_both(runtime, intendant_runtime):
        assert runtime == "mine"
        assert await intendant_runtime.run(place, {"item": "tea"}) == "tea"
    """
    )
    run(pytester, "--intendant-backends", "asyncio", "--intendant-stores", "memory").assert_outcomes(passed=1)
    pytester.makepyfile(
        SHOP
        + """
    @pytest.fixture
    def runtime():
        return "mine"

    @pytest.mark.intendant(stores=["memory"])
    async def test_it(runtime):
        pass
    """
    )
    run(pytester).stdout.fnmatch_lines(["*fixture `runtime` that is not ours*`intendant_runtime`*"])


def test_each_test_runs_on_both_loops_and_stores_and_others_are_left_alone(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        SHOP
        + """
    async def test_it(runtime):
        assert await runtime.run(place, {"item": "tea"}) == "tea"

    @pytest.mark.intendant(backends=["trio"], stores=["memory", "redis"], realm=shop)
    class TestNarrowed:
        @pytest.mark.intendant(stores=["sqlite"], clock="real")
        async def test_nearer(self, runtime):
            assert await runtime.run(place, {"item": "tea"}) == "tea"

        async def test_redis(self, runtime):
            pass

    @pytest.fixture
    def mine():
        return 1

    def test_other(mine, realm):
        assert mine
    """
    )
    result = run(pytester, "-vv", "-rs")
    result.assert_outcomes(passed=4 + 1 + 1 + 1, skipped=1)
    lines = {line.partition(" ")[0].partition("::")[2]: line for line in result.outlines if "::" in line}
    names = {f"test_it[{store}-{backend}]" for store in ("memory", "sqlite") for backend in ("asyncio", "trio")}
    assert names <= set(lines)
    assert "TestNarrowed::test_nearer[sqlite-trio]" in lines
    assert "SKIPPED" in lines["TestNarrowed::test_redis[redis-trio]"]
    assert any("--intendant-redis URL" in line for line in result.outlines)


def test_a_failure_shows_the_crash_and_the_history(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        SHOP
        + """
    ran = []

    @shop.handler
    async def careless(ctx: Context, order: dict[str, str]) -> None:
        ran.append(1)
        await ctx.step("charge", lambda: 1)

    async def test_twice(runtime):
        async for crash in runtime.every_crash(lost=["reply"]):
            ran.clear()
            await runtime.run(careless, {})
            assert len(ran) == 1

    async def test_kinds(runtime):
        execution = await runtime.start(place, {"item": "tea"})
        await execution.result()
        assert (await runtime.log(execution)).kinds == ["intent_received", "execution_completed"]

    async def test_replay(runtime):
        @shop.handler
        async def turns(ctx: Context, order: dict[str, str]) -> None:
            ran.append(1)
            await ctx.step(f"wrap-{len(ran)}", lambda: 1)

        other = type(runtime)([shop])  # not at work
        with pytest.raises(Exception, match="is no handler"):
            await runtime.run(turns, {})
    """
    )
    pytester.makeini("[pytest]\nintendant_stores = memory\nintendant_backends = asyncio\n")
    result = run(pytester)
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines_random(
        [
            "the process died at record * whose reply was lost",
            "the history of shop.careless *",
            "*the kinds of shop.place * are not what was expected (+ recorded, - expected):",
            "E * +   2 * execution_started*",
            "E * -       execution_completed*",
        ]
    )


def test_what_is_not_deterministic_fails_in_always_replay(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
    import itertools, pytest
    from intendant import Context, Realm

    shop, turn = Realm("shop"), itertools.count()

    @shop.handler
    async def turns(ctx: Context, order: dict[str, str]) -> None:
        await ctx.step(f"wrap-{next(turn)}", lambda: 1)

    pytestmark = pytest.mark.intendant(realms=[shop], stores=["memory"])

    async def test_it(runtime):
        await runtime.run(turns, {})
    """
    )
    run(pytester).assert_outcomes(passed=2)
    result = run(pytester, "--intendant-always-replay")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*NonDeterminism: shop.turns *", "*wrap-*"])


WRONG = {
    "@pytest.mark.intendant(store=['memory'])": "has no store; it has realm, realms, backends",
    "@pytest.mark.intendant(stores=['mysql'])": "are memory, sqlite, redis, not 'mysql'",
    "@pytest.mark.intendant(clock='slow')": "clock is jump, hand, real, not 'slow'",
    "@pytest.mark.intendant()": "needs handlers: define a fixture `realm`",
    "@pytest.mark.intendant(realm=3)": "gives a Realm, or several",
}


def test_what_is_wrong_is_told(pytester: pytest.Pytester) -> None:
    files = {
        f"test_{number}": f"import pytest\n{mark}\nasync def test_it(runtime): pass"
        for number, mark in enumerate(WRONG)
    }
    pytester.makepyfile(**files)
    narrow = ("--intendant-stores", "memory", "--intendant-backends", "asyncio", "--continue-on-collection-errors")
    result = run(pytester, "--tb=line", *narrow)
    result.assert_outcomes(errors=len(WRONG))
    for told in WRONG.values():
        assert told in result.stdout.str()


def test_a_backend_fixture_of_ones_own_says_the_loops(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        SHOP
        + """
    @pytest.fixture
    def anyio_backend():
        return "trio"

    async def test_it(runtime):
        import trio
        assert trio.lowlevel.in_trio_task()

    @pytest.mark.parametrize("anyio_backend", ["asyncio"])
    @pytest.mark.intendant(clock="real")
    async def test_marked(runtime):
        assert await runtime.run(place, {"item": "tea"}) == "tea"
    """
    )
    run(pytester, "--intendant-stores", "memory").assert_outcomes(passed=2)


def test_redis_is_used_where_there_is_one(pytester: pytest.Pytester, test_redis: str) -> None:
    pytester.makepyfile(
        SHOP
        + """
    async def test_it(runtime):
        runtime.crash_after(step="charge", lost="reply")
        assert await runtime.run(place, {"item": "tea"}) == "tea"
        assert runtime.crashes == 1
    """
    )
    result = run(pytester, "--intendant-redis", test_redis, "--intendant-stores", "redis")
    result.assert_outcomes(passed=2)
    assert not keys_of(test_redis, "*{pytest-*")


def keys_of(url: str, pattern: str) -> list[bytes]:
    import redis

    driver: Any = redis  # not typed throughout
    client = driver.Redis.from_url(url)
    return list(client.scan_iter(match=pattern, count=1000))


@pytest.mark.stress  # starts three processes
def test_it_is_safe_with_xdist(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        SHOP
        + """
    @pytest.mark.parametrize("number", range(4))
    async def test_it(runtime, number):
        assert await runtime.run(place, {"item": "tea"}) == "tea"
    """
    )
    result = run(pytester, "-n", "2", "--intendant-stores", "sqlite", "--intendant-backends", "asyncio")
    result.assert_outcomes(passed=4)


def test_a_run_that_does_not_use_it_imports_nothing_of_ours() -> None:
    code = "import sys, _intendant_pytest; print(*[name for name in sys.modules if name.startswith('intendant')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.strip() == ""


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return pytester.runpytest_inprocess(*QUIET, *arguments)
