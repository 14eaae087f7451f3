"""Faults planted in what shows a running runtime: the tests of the tree, the socket and the watchdog must find each.

A fault stands beside the test that has to fail with it.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Awaitable, Callable
from pathlib import Path, PosixPath
from types import FrameType
from typing import Any

import anyio
import msgspec
import pytest

from intendant import Runtime, TreeNode
from intendant.actors.execution import ExecutionActor
from intendant.runtime import control_place, watchdog
from intendant.runtime.observer import Observer, View
from intendant.runtime.watchdog import Watchdog
from intendant.supervisor.intensity import Window
from intendant.testing.clock import virtual_backend
from tests.runtime import test_control, test_tree, test_watchdog
from tests.runtime.test_watchdog import Tells

pytestmark = pytest.mark.anyio

Patch = Callable[[object, str, object], None]
Value = Callable[[str], Any]
Check = Callable[[Value], Awaitable[object]]


# ---------------------------------------------------------------------- the tree


def omit_the_last(patch: Patch) -> None:
    _change_children(patch, lambda children: children[:-1])


def show_below_the_one_before(patch: Patch) -> None:
    """A supervisor's children are shown below its neighbour."""

    def shift(children: tuple[TreeNode, ...]) -> tuple[TreeNode, ...]:
        below = [each.children for each in children]
        return tuple(
            msgspec.structs.replace(each, children=found)
            for each, found in zip(children, [*below[1:], *below[:1]], strict=True)
        )

    _change_children(patch, shift)


def _change_children(patch: Patch, change: Callable[[tuple[TreeNode, ...]], tuple[TreeNode, ...]]) -> None:
    right: Any = vars(Observer)["_children"]

    def children(self: Observer, *arguments: Any) -> tuple[TreeNode, ...]:
        return change(right(self, *arguments))

    patch(Observer, "_children", children)


def fold_all_tenants(patch: Patch) -> None:
    _forget_the_tenant(patch, "_executions", lambda view: bool(view.fold))


def show_sessions_of_all_tenants(patch: Patch) -> None:
    _forget_the_tenant(patch, "_sessions", lambda view: bool(view.fold))


def _forget_the_tenant(patch: Patch, name: str, forgets: Callable[[View], bool]) -> None:
    right: Any = vars(Observer)[name]

    async def look(self: Observer, path: str, found: Any, view: View, *others: Any) -> TreeNode:
        view = msgspec.structs.replace(view, tenant="") if forgets(view) else view
        node: TreeNode = await right(self, path, found, view, *others)
        return node

    patch(Observer, name, look)


def never_forget_a_restart(patch: Patch) -> None:
    def forget(self: Window, now: float) -> None:
        """What lies behind the window counts for ever."""

    patch(Window, "_forget", forget)


# ---------------------------------------------------------------------- the control socket


def open_to_all(patch: Patch) -> None:
    listen: Any = anyio.create_unix_listener

    async def create(path: Path, **options: Any) -> Any:
        return await listen(path, **{**options, "mode": 0o666})

    patch(anyio, "create_unix_listener", create)


def in_any_directory(patch: Patch) -> None:
    def prepare(directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)

    patch(control_place, "prepare", prepare)


class Stays(PosixPath):
    def unlink(self, missing_ok: bool = False) -> None:
        """Not at all."""


def left_behind(patch: Patch) -> None:
    right = control_place.free_path

    def free(directory: Path, runtime: str) -> Path:
        return Stays(right(directory, runtime))

    patch(control_place, "free_path", free)


def leave_what_the_killed_left(patch: Patch) -> None:
    def remove(directory: Path) -> None:
        """Nothing."""

    patch(control_place, "remove_stale", remove)


def refuse_where_something_was_left(patch: Patch) -> None:
    def remove(directory: Path) -> None:
        if any(directory.iterdir()):
            raise FileExistsError(directory)

    patch(control_place, "remove_stale", remove)


def collide_with_what_the_same_pid_left(patch: Patch) -> None:
    """The process of a container has the same pid in each of its lives."""

    def free(directory: Path, runtime: str) -> Path:
        path = directory / f"{runtime}-{os.getpid()}.sock"
        if path.exists():
            raise FileExistsError(path)
        return path

    patch(control_place, "free_path", free)


# ---------------------------------------------------------------------- the watchdog


def say_nothing(patch: Patch) -> None:
    def tell(self: Watchdog, seconds: float) -> None:
        """The loop is held, and nobody hears of it."""

    patch(Watchdog, "_tell", tell)


def name_the_one_that_began_first(patch: Patch) -> None:
    def holder(_frame: FrameType) -> tuple[str, str, tuple[str, ...]]:
        running = [each for each in gc.get_objects() if isinstance(each, ExecutionActor)]
        first = min((each.history.state for each in running), key=lambda state: state.id)
        return first.tenant, first.id, ()

    patch(watchdog, "holder", holder)


def tell_before_the_limit(patch: Patch) -> None:
    right = Watchdog.__init__

    def make(self: Watchdog, limit: float, *arguments: Any, **options: Any) -> None:
        right(self, limit / 2, *arguments, **options)

    patch(Watchdog, "__init__", make)


async def names_the_holder(value: Value) -> None:
    step = test_watchdog.in_a_step, ("hold",)
    await test_watchdog.test_it_names_the_handler_that_holds_the_loop(value("tells"), *step)


async def warns_in_time(value: Value) -> None:
    test_watchdog.test_it_warns_once_of_each_block_and_not_before_its_limit(value("tells"))


async def of_one_tenant(started: Callable[..., Runtime]) -> None:
    async with test_tree.crowded(started) as crowd:
        await test_tree.test_of_one_tenant_nothing_else_is_shown(crowd)


def one(test: Any, *fixtures: str) -> Check:
    async def run(value: Value) -> None:
        await test(*(value(each) for each in fixtures))

    return run


place, started, tells = test_control.place, test_tree.started, test_watchdog.tells


@pytest.fixture
def value(place: Path, started: Callable[..., Runtime], tells: Tells) -> Value:
    found = {"place": place, "started": started, "tells": tells}
    return found.__getitem__


FOUND = (AssertionError, FileExistsError, pytest.fail.Exception)  # as the test says, or the runtime did not start
FAULTS: dict[str, tuple[Callable[[Patch], None], Check]] = {
    "an actor is left out": (omit_the_last, one(test_tree.test_every_actor_is_shown_below_its_own, "started")),
    "a wrong parent": (show_below_the_one_before, one(test_tree.test_every_actor_is_shown_below_its_own, "started")),
    "a fold shows all tenants": (fold_all_tenants, one(of_one_tenant, "started")),
    "sessions of all tenants": (
        show_sessions_of_all_tenants,
        one(of_one_tenant, "started"),
    ),
    "the socket is open to all": (open_to_all, one(test_control.test_it_is_ours_alone_and_gone_afterwards, "place")),
    "any directory will do": (
        in_any_directory,
        one(test_control.test_a_directory_that_others_write_to_is_refused, "place"),
    ),
    "the socket stays": (left_behind, one(test_control.test_it_is_ours_alone_and_gone_afterwards, "place")),
    "what the killed left stays": (
        leave_what_the_killed_left,
        one(test_control.test_what_a_killed_runtime_left_is_removed, "place"),
    ),
    "what the killed left stops the next": (
        refuse_where_something_was_left,
        one(test_control.test_what_a_killed_runtime_left_is_removed, "place"),
    ),
    "what the same pid left stops the next": (
        collide_with_what_the_same_pid_left,
        one(test_control.test_what_an_earlier_process_of_the_same_pid_left_stops_nobody, "place"),
    ),
    "the watchdog is silent": (say_nothing, warns_in_time),
    "the watchdog names another": (name_the_one_that_began_first, names_the_holder),
    "the watchdog tells too early": (tell_before_the_limit, warns_in_time),
}


@pytest.fixture(params=FAULTS)
def fault(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.in_turn
async def test_each_fault_is_found(fault: str, value: Value, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, check = FAULTS[fault]
    plant(monkeypatch.setattr)
    with anyio.fail_after(20), pytest.raises(FOUND):
        await check(value)


class TestVirtualTime:
    @pytest.fixture(params=["asyncio", "trio"])
    def anyio_backend(self, request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
        return virtual_backend(str(request.param))

    async def test_restarts_that_count_for_ever_are_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        never_forget_a_restart(monkeypatch.setattr)
        with pytest.raises(AssertionError):
            await test_tree.restarts_are_forgotten()
