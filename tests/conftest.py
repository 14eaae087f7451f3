"""Event loops, stores, runtimes and an audit, for every test that needs them."""

import signal
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from hypothesis import HealthCheck, settings

from intendant import Realm, Runtime
from intendant.adapters.memory import MemoryStore
from intendant.adapters.redis import RedisStore
from intendant.adapters.sqlite import SqliteStore
from intendant.domain.ports import LogReader, Store
from intendant.domain.records import LogRecord, decode_entry
from intendant.domain.replay import World, replay
from intendant.domain.state import EXECUTIONS, OPEN, SESSIONS, ExecutionState, SessionState
from tests.infrastructure.tier import STRESS

# how long an example takes is up to the machine and what else it does; `settings.default` is "ci" where CI runs
settings.register_profile("ours", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ours")

# in the background of a shell Ctrl-C is ignored, also by the processes to which tests send it
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["tests.infrastructure.fixtures", "tests.infrastructure.loops"]


LOOP_NAMES = ("asyncio", "trio")
LOOP_PARAMETERS = ("backend", "anyio_backend")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """`in_turn`: of a slow test `make test` tries each case on one of the loops, in turn; `make stress` on all."""
    if STRESS:
        return
    cases: dict[tuple[str, str], dict[str, int]] = {}
    left = {item for item in items if isinstance(item, pytest.Function) and _is_on_another_loop(item, cases)}
    config.hook.pytest_deselected(items=list(left))
    items[:] = [item for item in items if item not in left]


def _is_on_another_loop(item: pytest.Function, cases: dict[tuple[str, str], dict[str, int]]) -> bool:
    spec = getattr(item, "callspec", None)
    loop = next((name for name in LOOP_PARAMETERS if spec is not None and name in spec.params), None)
    if spec is None or loop is None or not _is_in_turn(item):
        return False
    function = (str(item.path), item.originalname)
    case = repr([(name, value) for name, value in spec.params.items() if name != loop])
    known = cases.setdefault(function, {})
    number = known.setdefault(case, len(known))
    chosen = spec.params[loop]  # a name, or a name with options
    return LOOP_NAMES.index(chosen if isinstance(chosen, str) else chosen[0]) != number % 2


def _is_in_turn(item: pytest.Function) -> bool:
    return item.get_closest_marker("in_turn") is not None and item.get_closest_marker("stress") is None


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """asyncio and trio; where uvloop adds something, a test names all three by parametrising this fixture."""
    if request.param == "trio":
        return "trio", {}
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


@pytest.fixture(params=["memory", "sqlite", "redis"])
def hot(request: pytest.FixtureRequest) -> Store:
    """One hot store; a runtime that is left and another that is entered over it are a restart."""
    if request.param == "redis":
        return RedisStore(request.getfixturevalue("redis_url"))
    return MemoryStore() if request.param == "memory" else SqliteStore(_file(request))


@pytest.fixture(params=["memory", "sqlite", "redis"])
def store_url(request: pytest.FixtureRequest) -> str:
    """A hot store by its URL."""
    if request.param == "redis":
        return str(request.getfixturevalue("redis_url"))
    return "memory:" if request.param == "memory" else f"sqlite:{_file(request)}"


def _file(request: pytest.FixtureRequest) -> Path:
    directory: Path = request.getfixturevalue("tmp_path")
    return directory / "work.db"


@pytest.fixture
def runtime(hot: Store) -> Callable[..., Runtime]:
    """Make a runtime over the test's hot store: `runtime(realm, ..., option=...)`."""

    def make(*realms: Realm, **options: Any) -> Runtime:
        options.setdefault("hot", hot)
        return Runtime(realms, **options)

    return make


@pytest.fixture
def rare_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests in which hours of virtual time pass: the hot store's room is looked at once in ten minutes."""
    monkeypatch.setattr("intendant.actors.hot_gauge.PERIOD", 600.0)


@pytest.fixture
def eventually() -> Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]:
    """Wait until something is true that nobody announces; fails after ten seconds."""

    async def wait(condition: Callable[[], Awaitable[bool]]) -> None:
        with anyio.fail_after(10):
            while not await condition():  # noqa: ASYNC110  nobody announces it
                await anyio.sleep(0.001)

    return wait


@pytest.fixture
def audit() -> Callable[[Store], Awaitable[World]]:
    """Fold the whole log and hold everything derived from it against the fold."""

    async def check(store: Store) -> World:
        log = store.log(0)
        world = replay(await read_all(log))
        assert world.violations == []
        for (tenant, id), state in world.executions.items():
            assert await stored(log, tenant, EXECUTIONS, id, ExecutionState) == state
        for (tenant, id), session in world.sessions.items():
            assert await stored(log, tenant, SESSIONS, id, SessionState) == session
        for tenant, key in world.keys:
            assert await log.key(tenant, key) is not None
        assert {(each.tenant, each.member) for each in await log.index(OPEN, limit=1_000_000)} == world.open
        assert [each.position for each in await log.outbox(limit=1_000_000)] == sorted(world.outbox)
        return world

    return check


async def read_all(log: LogReader) -> list[LogRecord]:
    records: list[LogRecord] = []
    first = 0
    while entries := await log.entries(None, first=first, limit=256):
        for entry in entries:
            records += decode_entry(entry)
        first = records[-1].sequence + 1
    return records


async def stored(log: LogReader, tenant: str, collection: str, key: str, type: Any) -> Any:
    document = await log.document(tenant, collection, key)
    return None if document is None else msgspec.msgpack.decode(document.body, type=type)
