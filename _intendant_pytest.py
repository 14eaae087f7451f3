"""The pytest plugin: the fixture `runtime`, on each event loop and over each store. See docs/testing.md.

pytest loads it wherever intendant is installed. So it stands outside of the package, and imports nothing of it before a
test asks for the fixture.
"""

from __future__ import annotations

import importlib.util
import itertools
import shutil
import sys
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from intendant import Realm
    from intendant.domain.ports import Store
    from intendant.testing.runtime import TestRuntime

BACKENDS: Final = ("asyncio", "trio")
STORES: Final = ("memory", "sqlite", "redis")
CLOCKS: Final = ("jump", "hand", "real")
MARKER: Final = (
    "intendant(realm=, realms=, backends=, stores=, clock=, always_replay=, options=): what the fixture `runtime` of "
    "this test has; clock is jump (the default), hand or real, options are those of intendant.Runtime"
)
_ARGUMENTS: Final = ("realm", "realms", "backends", "stores", "clock", "always_replay", "options")


def pytest_addoption(parser: pytest.Parser) -> None:
    """What narrows or widens all tests that use the fixture `runtime`."""
    group = parser.getgroup("intendant")
    group.addoption("--intendant-backends", metavar="NAMES", help="event loops of `runtime`: asyncio,trio")
    group.addoption("--intendant-stores", metavar="NAMES", help="stores of `runtime`: memory,sqlite,redis")
    group.addoption("--intendant-redis", metavar="URL", help="let `runtime` also use this Redis, under prefixes")
    group.addoption("--intendant-always-replay", action="store_true", help="run handlers again after each record")
    parser.addini("intendant_backends", "event loops of the fixture `runtime`", "args")
    parser.addini("intendant_stores", "stores of the fixture `runtime`", "args")
    parser.addini("intendant_redis", "the URL of a Redis for the fixture `runtime`")
    parser.addini("intendant_always_replay", "run handlers again after each record", "bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", MARKER)


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrise what uses our `runtime`, and nothing else: only it brings `intendant_store` with it."""
    if "intendant_store" not in metafunc.fixturenames:
        if "runtime" in metafunc.fixturenames and any(metafunc.definition.iter_markers("intendant")):
            raise pytest.UsageError(
                f"{metafunc.definition.nodeid} is marked with intendant, and has a fixture `runtime` that is not ours: "
                "one of your own stands before it; ask for `intendant_runtime`, which is the same"
            )
        return
    marked = _marked(metafunc.definition)
    clock = marked.get("clock", "jump")
    if clock not in CLOCKS:
        raise pytest.UsageError(f"clock is {', '.join(CLOCKS)}, not {clock!r}")
    stores = _chosen(metafunc.config, marked, "stores", STORES)
    metafunc.parametrize("intendant_store", [_store(metafunc.config, each) for each in stores], indirect=True)
    if not _parametrises_backend(metafunc):
        backends = _backends_of_fixture(metafunc) if "backends" not in marked else None
        chosen = _chosen(metafunc.config, marked, "backends", BACKENDS) if backends is None else backends
        mark = pytest.mark.parametrize("anyio_backend", [_backend(each, clock) for each in chosen])
        metafunc.definition.add_marker(mark)  # pytest lets a mark go before the fixture's own parameters


@pytest.fixture
def realm(request: pytest.FixtureRequest) -> Realm | Sequence[Realm]:
    """The handlers of the fixture `runtime`: override this one, or say `@pytest.mark.intendant(realm=...)`."""
    marked = _marked(request.node)
    if "realm" in marked or "realms" in marked:
        return cast("Realm | Sequence[Realm]", marked.get("realm", marked.get("realms")))
    raise pytest.UsageError(
        "the fixture `runtime` needs handlers: define a fixture `realm` that returns a Realm, or several, or mark the "
        "test with @pytest.mark.intendant(realm=...)"
    )


@pytest.fixture
def intendant_store(request: pytest.FixtureRequest) -> Iterator[Callable[[], Store]]:
    """What makes a new and empty store, for the fixture `runtime`."""
    match request.param:
        case "memory":
            from intendant.adapters.memory import MemoryStore  # noqa: PLC0415  only when it is used

            yield MemoryStore
        case "sqlite":
            yield _sqlite(request.getfixturevalue("tmp_path") / "intendant")
        case _:
            yield from _redis(_redis_url(request.config))


@pytest.fixture
async def intendant_runtime(
    request: pytest.FixtureRequest,
    realm: Realm | Sequence[Realm],
    intendant_store: Callable[[], Store],
    anyio_backend: object,  # noqa: ARG001  anyio's plugin runs this fixture, and the test, on it
) -> AsyncGenerator[TestRuntime]:
    """A runtime at work over an empty store, with the handlers of the fixture `realm`: see docs/testing.md.

    The test runs on asyncio and on trio, over a store in memory and over SQLite, without a marker for anyio. Its clock
    is virtual: sleeps take no time.
    """
    from intendant.testing.runtime import running  # noqa: PLC0415  only when it is used

    marked, config = _marked(request.node), request.config
    replay = config.getoption("intendant_always_replay") or config.getini("intendant_always_replay")
    realms = _realms(marked.get("realm", marked.get("realms", realm)))
    async with running(
        realms,
        intendant_store,
        clock=marked.get("clock", "jump"),
        always_replay=marked.get("always_replay", replay),
        options=marked.get("options"),
    ) as made:
        yield made


@pytest.fixture
def runtime(intendant_runtime: TestRuntime) -> TestRuntime:
    """The same by its short name, which a fixture of the project's own may take away."""
    return intendant_runtime


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Compared kinds of records show the history."""
    if "intendant.testing.history" not in sys.modules or op != "==":
        return None
    from intendant.testing.history import Kinds  # noqa: PLC0415  it is there

    if isinstance(left, Kinds) and isinstance(right, list):
        return left.explain(cast("list[object]", right))
    if isinstance(right, Kinds) and isinstance(left, list):
        return right.explain(cast("list[object]", left))
    return None


@pytest.hookimpl(hookwrapper=True)  # pytest 7 knows no other: what can't be imported would fail every run
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """A test that fails tells what its runtime went through: the crash, and the history of its executions."""
    outcome = yield
    report: pytest.TestReport = outcome.get_result()
    if "intendant.testing.runtime" in sys.modules and report.failed and isinstance(item, pytest.Function):
        from intendant.testing.runtime import TestRuntime  # noqa: PLC0415  it is there

        runtime = item.funcargs.get("intendant_runtime")
        if isinstance(runtime, TestRuntime) and (told := runtime.describe()):
            report.sections.append(("intendant", told))


# --- what is chosen


def _marked(node: Any) -> dict[str, Any]:
    """What the markers of a test say; the nearer one goes before."""
    said: dict[str, Any] = {}
    for mark in reversed(list(node.iter_markers("intendant"))):
        unknown = [name for name in mark.kwargs if name not in _ARGUMENTS]
        if mark.args or unknown:
            what = ", ".join(unknown) or "an argument without a name"
            raise pytest.UsageError(f"@pytest.mark.intendant has no {what}; it has {', '.join(_ARGUMENTS)}")
        said |= mark.kwargs
    return said


def _chosen(config: pytest.Config, marked: dict[str, Any], what: str, known: Sequence[str]) -> list[str]:
    """Names from the marker, narrowed by the command line, which is for one run; else the ini file's, else all."""
    option = str(config.getoption(f"intendant_{what}") or "")
    of_run = [each.strip() for each in option.split(",") if each.strip()]
    ini = [each.strip(",") for each in config.getini(f"intendant_{what}")]
    names = list(marked.get(what) or of_run or ini or _default(config, known))
    for name in [*names, *of_run]:
        if name not in known:
            raise pytest.UsageError(f"{what} of intendant are {', '.join(known)}, not {name!r}")
    return [name for name in names if not of_run or name in of_run]


def _default(config: pytest.Config, known: Sequence[str]) -> list[str]:
    return [name for name in known if name != "redis" or _redis_url(config)]


def _redis_url(config: pytest.Config) -> str:
    return str(config.getoption("intendant_redis") or config.getini("intendant_redis") or "")


def _store(config: pytest.Config, name: str) -> Any:
    if name == "redis" and not _redis_url(config):
        return pytest.param(name, marks=pytest.mark.skip(reason="no Redis: give --intendant-redis URL"), id=name)
    return pytest.param(name, id=name)


def _backend(name: str, clock: str) -> Any:
    """A value of anyio's fixture, with a clock of its own."""
    if importlib.util.find_spec(name) is None:
        reason = f"{name} is not installed: pip install intendant[{name}]"
        return pytest.param(name, marks=pytest.mark.skip(reason=reason), id=name)
    if clock == "real":
        return pytest.param((name, dict[str, Any]()), id=name)
    from intendant.testing.clock import virtual_backend  # noqa: PLC0415  only when it is used

    return pytest.param(virtual_backend(name), id=name)


def _parametrises_backend(metafunc: pytest.Metafunc) -> bool:
    """Whether the test says itself what it runs on."""
    marks = metafunc.definition.iter_markers("parametrize")
    return any("anyio_backend" in repr(mark.args[:1]) for mark in marks)


def _backends_of_fixture(metafunc: pytest.Metafunc) -> list[str] | None:
    """The names that a fixture `anyio_backend` of the tests' own gives; None where anyio's own holds."""
    definitions: Any = getattr(metafunc, "_arg2fixturedefs", {}).get("anyio_backend", ())
    if not definitions or definitions[-1].func.__module__.startswith("anyio."):
        return None
    fixture = definitions[-1]
    values: list[Any] = list(fixture.params or ([] if fixture.argnames else [fixture.func()]))
    names: list[str] = [str(value) if isinstance(value, str) else str(value[0]) for value in values]
    return [name for name in names if name in BACKENDS] or None


def _realms(given: object) -> list[Realm]:
    from intendant import Realm  # noqa: PLC0415  only when it is used

    realms: list[Any] = list(cast("Sequence[Any]", given)) if isinstance(given, list | tuple) else [given]
    if not all(isinstance(each, Realm) for each in realms):
        raise pytest.UsageError(f"the fixture `realm` gives a Realm, or several, not {given!r:.100}")
    return realms


# --- stores


def _sqlite(folder: Path) -> Callable[[], Store]:
    from intendant.adapters.sqlite import SqliteStore  # noqa: PLC0415  only when it is used

    def new() -> Store:
        shutil.rmtree(folder, ignore_errors=True)  # the store before is closed
        folder.mkdir(parents=True)
        return SqliteStore(folder / "work.db", synchronous="normal")  # no test cuts the power

    return new


def _redis(url: str) -> Iterator[Callable[[], Store]]:
    """Stores under prefixes that nobody else uses, also other processes of pytest-xdist; removed afterwards."""
    import secrets  # noqa: PLC0415  only when it is used

    import anyio  # noqa: PLC0415  only when it is used

    from intendant.adapters.redis import RedisStore  # noqa: PLC0415  only when it is used
    from intendant.adapters.redis.scratch import TESTS_PREFIX, remove  # noqa: PLC0415  only when it is used

    base, numbers = f"{TESTS_PREFIX}{secrets.token_hex(8)}", itertools.count(1)
    with_prefix = f"{url}{'&' if '?' in url else '?'}prefix="
    made: list[str] = []

    def new() -> Store:
        made.append(f"{with_prefix}{base}-{next(numbers)}")
        return RedisStore(made[-1])

    yield new
    for each in made:
        anyio.run(remove, each)
