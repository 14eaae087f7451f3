"""Stubs of steps: what a step gives in a test instead of running its function, and how often it was asked."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import Struct

from intendant.context import Context, Facts
from intendant.steps.attempt import call_here
from intendant.steps.function import StepFunction, inspect_function
from intendant.steps.recording import Recording


class StepCall(Struct, frozen=True):
    """One attempt at a stubbed step. `attempt` counts those of its step from 1, also over crashes and resumes."""

    path: str
    attempt: int
    arguments: tuple[Any, ...]
    execution: str


class StepStub:
    """Stands for the function of each step of its name, and notes every attempt in `calls`."""

    def __init__(
        self,
        name: str,
        *,
        returns: object,
        raises: BaseException | type[BaseException] | None,
        calls: Callable[..., Any] | None,
        times: int | None,
    ) -> None:
        self.name = name
        self.calls: list[StepCall] = []
        self._returns = returns
        self._raises = raises
        self._calls = calls
        self._times = times

    @property
    def attempts(self) -> int:
        """How often the step was attempted, of all executions together."""
        return len(self.calls)

    @property
    def executions(self) -> list[str]:
        """The executions that have come to it, in the order of their first attempts."""
        return list(dict.fromkeys(call.execution for call in self.calls))

    def stands_for(self, path: str) -> bool:
        """Whether the step at this path is one of its: by its path, or its name without scopes and key."""
        return self.name in (path, _name_of(path))

    async def run(
        self, execution: str, path: str, kind: StepFunction, arguments: tuple[Any, ...], real: Callable[[], Any]
    ) -> Any:
        """One attempt."""
        given = arguments[1:] if kind.takes_step else arguments
        before = sum(call.path == path and call.execution == execution for call in self.calls)
        self.calls.append(StepCall(path, before + 1, given, execution))
        if self._raises is not None and (self._times is None or before < self._times):
            raise self._raises
        if self._calls is not None:
            return await self._call(self._calls, arguments, given)
        return await real() if self._returns is UNSET else self._returns

    async def _call(self, function: Callable[..., Any], arguments: tuple[Any, ...], given: tuple[Any, ...]) -> Any:
        wanted = arguments if inspect_function(function).takes_step else given
        value = function(*wanted)
        return await value if inspect.isawaitable(value) else value

    def __repr__(self) -> str:
        lines = [f"  {call.path} attempt {call.attempt}: {call.arguments!r:.100}" for call in self.calls]
        return "\n".join([f"<StepStub {self.name!r}, {self.attempts} attempts>", *lines])


UNSET: Any = object()


class Stubs:
    """Those of one test; of several for a step the newest holds."""

    def __init__(self) -> None:
        self._stubs: list[StepStub] = []

    def add(self, stub: StepStub) -> StepStub:
        """Let it stand from here on."""
        self._stubs.insert(0, stub)
        return stub

    def find(self, path: str) -> StepStub | None:
        """The one that stands for the step at this path, if any."""
        return next((stub for stub in self._stubs if stub.stands_for(path)), None)


def stubbed_context(stubs: Stubs, recording: Recording, facts: Facts) -> Context:
    """A context whose steps are looked for among stubs first."""

    async def call(path: str, kind: StepFunction, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        def real() -> Awaitable[Any]:
            return call_here(facts.limiter, path, kind, function, arguments)

        stub = stubs.find(path)
        return await (real() if stub is None else stub.run(facts.execution_id, path, kind, arguments, real))

    return Context(recording, facts, call)


def _name_of(path: str) -> str:
    """The name that the step was called by: without scopes and key; of an undo `undo(name)`."""
    if path.startswith("undo(") and path.endswith(")"):
        return f"undo({_name_of(path[5:-1])})"
    return path.rpartition("/")[2].partition("[")[0]
