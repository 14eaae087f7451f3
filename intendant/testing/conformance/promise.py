"""How a conformance suite says that an adapter does not keep a promise."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar

from intendant.domain.ports import ColdStore, FileStore, Store

OpenStore = Callable[[], AbstractAsyncContextManager[Store]]
"""Opens a store on entering and closes it on leaving. Each call is a new object over the same data, as another process
would have it; several may be open at once."""


class Past(Protocol):
    """A place that can be taken back in time, as by a failover, or by a start from an older copy."""

    @property
    def open_store(self) -> OpenStore:
        """Opens a store there."""
        ...

    async def keep(self) -> None:
        """Remember what the place holds. No store is open there."""
        ...

    async def go_back(self) -> None:
        """Have the place hold again what was remembered last. No store is open there."""
        ...


PastCheck = Callable[[Past], Awaitable[None]]

OpenCold = Callable[[], AbstractAsyncContextManager[ColdStore]]
OpenFiles = Callable[[], AbstractAsyncContextManager[FileStore]]

LogCheck = Callable[[OpenStore], Awaitable[None]]

E = TypeVar("E", bound=BaseException)


class BrokenPromise(AssertionError):
    """An adapter does not keep a promise of its port."""


def promise(kept: bool, what: str) -> None:
    """Raise BrokenPromise with `what` unless it is kept."""
    if not kept:
        raise BrokenPromise(what)


def same(found: Any, expected: Any, what: str) -> None:
    """Raise BrokenPromise unless the two are equal."""
    if found != expected:
        raise BrokenPromise(f"{what}: found {_shown(found)}, expected {_shown(expected)}")


async def refuses(call: Awaitable[Any], error: type[E], what: str) -> E:
    """Raise BrokenPromise unless the call raises `error`; return what it raised."""
    try:
        returned = await call
    except error as raised:
        return raised
    raise BrokenPromise(f"{what}: expected {error.__name__}, but it returned {_shown(returned)}")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 600 else f"{text[:600]}... ({len(text)} characters)"
