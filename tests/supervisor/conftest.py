"""Virtual time on both backends, and children that do as they are told."""

import asyncio
import selectors
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import anyio
import pytest
import trio.testing

from intendant.supervisor import ChildSpec, Event, Restart, Started


class JumpingSelector(selectors.SelectSelector):
    """Does not wait for time to pass: moves the clock. Nobody outside has anything to say, so none is asked."""

    loop: "AutojumpLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("deadlock: nothing is scheduled and nothing can happen")
        self.loop.now += max(timeout, 0.0)
        return []


class AutojumpLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.now = 0.0
        selector = JumpingSelector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    if request.param == "trio":
        return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}
    return "asyncio", {"loop_factory": AutojumpLoop}


class Boom(Exception):
    """What children crash with."""


class Puppet:
    """A child moved from outside. `log` gets what happens to it, in one list with its siblings."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name = name
        self.log = log
        self.lives = 0
        self.living = 0
        self.start_seconds = 0.0
        self.start_error: BaseException | None = None
        self.stop_seconds = 0.0
        self.stop_error: BaseException | None = None
        self.deaf = False
        self.refusals = 0
        self.raised: list[BaseException] = []
        self._orders: list[BaseException | None] = []
        self._moved = anyio.Event()

    async def start(self, status: Started) -> None:
        self.lives += 1
        self.living += 1
        self._orders.clear()
        self._moved = anyio.Event()
        self.log.append(f"start {self.name}")
        try:
            if self.start_seconds:
                await anyio.sleep(self.start_seconds)
            if self.refusals:
                self.refusals -= 1
                raise Boom(f"{self.name} refuses")
            if self.start_error is not None:
                raise self.start_error
            status.started()
            self.log.append(f"ready {self.name}")
            await self._moved.wait()
            if self._orders[0] is not None:
                raise self._orders[0]
        except anyio.get_cancelled_exc_class():
            self.log.append(f"cancelled {self.name}")
            raise
        except Exception as exc:
            self.raised.append(exc)
            raise
        finally:
            self.living -= 1

    def crash(self, cause: BaseException | None = None) -> None:
        self._order(Boom(self.name) if cause is None else cause)

    def finish(self) -> None:
        self._order(None)

    def ask(self) -> None:
        self.log.append(f"ask {self.name}")
        if not self.deaf:
            self._order(self.stop_error)

    def _order(self, order: BaseException | None) -> None:
        self._orders.append(order)
        self._moved.set()


class MakePuppet(Protocol):
    def __call__(self, name: str) -> Puppet: ...


class MakeSpec(Protocol):
    def __call__(self, puppet: Puppet, restart: Restart = ..., **options: Any) -> ChildSpec: ...


@pytest.fixture
def boom() -> type[Exception]:
    return Boom


@pytest.fixture
def log() -> list[str]:
    return []


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def puppet(anyio_backend: object, log: list[str]) -> MakePuppet:
    return lambda name: Puppet(name, log)


@pytest.fixture
def spec() -> MakeSpec:
    def make(puppet: Puppet, restart: Restart = Restart.PERMANENT, **options: Any) -> ChildSpec:
        return ChildSpec(puppet.name, puppet.start, restart, puppet.ask, **options)

    return make


class Flag:
    """A status that sets an event."""

    def __init__(self, event: anyio.Event) -> None:
        self._event = event

    def started(self, value: Any = None) -> None:
        self._event.set()


class Runnable(Protocol):
    async def run(self, task_status: Started) -> None: ...

    def stop(self) -> None: ...


Running = Callable[[Runnable], AbstractAsyncContextManager[None]]


@pytest.fixture
def running() -> Running:
    """Run a supervisor around a block, in a task of its own; what it raises comes out bare."""

    @asynccontextmanager
    async def run(supervisor: Runnable) -> AsyncGenerator[None]:
        raised: list[BaseException] = []
        ready = anyio.Event()

        async def guard() -> None:
            try:
                await supervisor.run(Flag(ready))
            except (Exception, KeyboardInterrupt, SystemExit) as exc:
                raised.append(exc)
                group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(guard)
            await ready.wait()
            yield
            supervisor.stop()
        if raised:
            raise raised[0]

    return run


@pytest.fixture
def settle() -> Callable[[], Awaitable[None]]:
    """Let everything happen that can happen now. Virtual time moves only when nothing else can."""

    async def until_idle() -> None:
        await anyio.sleep(1e-6)

    return until_idle
