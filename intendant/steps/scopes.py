"""Scopes: what stands before the names of steps and waits in their paths. Each task has its own."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Final

_prefix: Final[ContextVar[str]] = ContextVar("intendant.scope", default="")


def within(name: str) -> str:
    """The path of what is called `name` where this task is."""
    return _prefix.get() + name


class Scope:
    """In a `with` block this task, and those that it starts meanwhile, are in the scope of this path.

    `claim` gives the path when the block is entered.
    """

    def __init__(self, claim: Callable[[], str]) -> None:
        self._claim = claim
        self._before: Token[str]

    def __enter__(self) -> None:
        self._before = _prefix.set(f"{self._claim()}/")

    def __exit__(self, *_raised: object) -> None:
        _prefix.reset(self._before)
