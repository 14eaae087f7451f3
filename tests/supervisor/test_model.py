"""All short histories of small trees, and random long ones, against a model of OTP's rules; and what must hold in any
interleaving.

In `make test` a share of the short histories is played, spread evenly; `make stress` plays them all.
"""

import itertools
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from random import Random
from typing import Any

import anyio
import pytest

from intendant.supervisor import (
    ChildCrashed,
    ChildExited,
    ChildSpec,
    ChildStarted,
    ChildStarting,
    ChildState,
    ChildStopped,
    ChildStopping,
    Event,
    Intensity,
    Restart,
    Strategy,
    Supervisor,
    SupervisorError,
)
from tests.supervisor.otp import (
    Add,
    Again,
    Budget,
    Delete,
    Disagreement,
    Exits,
    Member,
    Otp,
    Play,
    Step,
    Stop,
    nothing_is_lost,
)

pytestmark = pytest.mark.anyio

Running = Callable[[Supervisor], AbstractAsyncContextManager[None]]
MakePuppet = Callable[[str], Any]
MakeSpec = Callable[..., ChildSpec]

STRESS = float(os.environ.get("STRESS", "0"))
HISTORIES = round(2_800 * STRESS) or 20  # of each of the tests with random histories, strategy and backend
SHARE = max(1, round(1 / STRESS)) if STRESS else 97  # one in so many of the short histories


# ---------------------------------------------------------------------- all short histories

KINDS = [("permanent", False), ("transient", False), ("temporary", False), ("transient", True), ("temporary", True)]
EXTRA = Member("9", "permanent")


def trees(size: int) -> Iterator[Otp]:
    """Every supervisor with so many children. Significance needs a kind of auto-shutdown, and the other way round."""
    for strategy, auto in itertools.product(
        ["one_for_one", "one_for_all", "rest_for_one"], ["never", "any_significant", "all_significant"]
    ):
        for kinds in itertools.product(KINDS, repeat=size):
            if any(significant for _, significant in kinds) == (auto != "never"):
                members = tuple(Member(str(i), kind, significant) for i, (kind, significant) in enumerate(kinds))
                yield Otp(strategy, auto, Budget(1, 60.0), members)


def alphabet(size: int) -> list[Step]:
    """Everything that can happen in one step."""
    ids = [str(i) for i in range(size)]
    single: list[Step] = [
        step
        for id in ids
        for step in (
            Exits(((id, True),)),
            Exits(((id, False),)),
            Exits(((id, True),), ((id, 1),)),
            Stop(id),
            Again(id),
            Again(id, refuses=True),
            Delete(id),
        )
    ]
    pairs: list[Step] = [
        Exits(((first, one), (second, other)))
        for first, second in itertools.combinations(ids, 2)
        for one, other in itertools.product((True, False), repeat=2)
    ]
    return [*single, *pairs, Add(EXTRA), Add(EXTRA, refuses=True), Stop("9"), Delete("9"), Exits((("9", True),))]


SHORT = [(size, length) for size, length in [(1, 3), (2, 2), (3, 1)]]


@pytest.mark.scaled
@pytest.mark.parametrize(("size", "length"), SHORT)
async def test_short_histories_of_small_trees_agree_with_the_model(
    puppet: MakePuppet, log: list[str], size: int, length: int
) -> None:
    histories = itertools.product(trees(size), itertools.product(alphabet(size), repeat=length))
    for tree, steps in itertools.islice(histories, 0, None, SHARE):
        await play(tree, steps, puppet, log)


async def play(
    tree: Otp, steps: tuple[Step, ...], puppet: MakePuppet, log: list[str], make: Callable[..., Supervisor] = Supervisor
) -> None:
    rest = iter(steps)

    def next_step(model: Otp) -> Step | None:
        return next((possible(step, model) for step in rest), None)

    try:
        await Play(tree, puppet, log, make).run(next_step)
    except* Disagreement as found:
        raise Disagreement(f"{tree} {steps}: {found.exceptions}") from None


def possible(step: Step, model: Otp) -> Step:
    """Nobody can end who is down."""
    if not isinstance(step, Exits):
        return step
    alive = {member.id for member in model.members if member.alive}
    return Exits(tuple(end for end in step.ends if end[0] in alive), step.refuse)


# ---------------------------------------------------------------------- random histories


def random_tree(rng: Random, strategy: str) -> Otp:
    auto = rng.choice(["never", "never", "any_significant", "all_significant"])
    kinds = rng.choices(KINDS if auto != "never" else KINDS[:3], k=rng.randint(1, 5))
    members = tuple(Member(str(i), kind, significant) for i, (kind, significant) in enumerate(kinds))
    return Otp(strategy, auto, Budget(6, 100.0), members)


def random_step(rng: Random, model: Otp) -> Step:
    ids = [member.id for member in model.members]
    id = rng.choice([*ids, "4"])
    match rng.randrange(9):
        case 0:
            return Stop(id)
        case 1 | 2:
            return Again(id, refuses=rng.random() < 0.2)
        case 3:
            return Delete(id)
        case 4:
            kind, significant = rng.choice(KINDS if model.auto != "never" else KINDS[:3])
            return Add(Member(rng.choice("56789"), kind, significant), refuses=rng.random() < 0.2)
        case _:
            alive = [member.id for member in model.members if member.alive]
            ends = [(each, rng.random() < 0.7) for each in rng.sample(alive, min(len(alive), rng.randint(0, 3)))]
            return Exits(tuple(ends), tuple((each, rng.randint(1, 2)) for each in ids if rng.random() < 0.1))


@pytest.mark.scaled
@pytest.mark.parametrize("strategy", Strategy)
async def test_random_histories_agree_with_the_model(puppet: MakePuppet, strategy: Strategy, log: list[str]) -> None:
    for seed in range(HISTORIES):
        rng = Random(seed)
        tree, left = random_tree(rng, strategy.value), iter(range(12))

        def next_step(model: Otp, rng: Random = rng, left: Iterator[int] = left) -> Step | None:
            return None if next(left, None) is None else random_step(rng, model)

        try:
            await Play(tree, puppet, log, random=rng.random).run(next_step)
        except* Disagreement as found:
            pytest.fail(f"seed {seed}: {found.exceptions}")


@dataclass
class History:
    """One run: the puppets, the supervisor, what it told."""

    specs: list[ChildSpec]
    puppets: list[Any]
    supervisor: Supervisor
    events: list[Event]


def new_history(rng: Random, puppet: MakePuppet, spec: MakeSpec, strategy: Strategy, intensity: Intensity) -> History:
    puppets = [puppet(str(i)) for i in range(rng.randint(1, 5))]
    specs = [spec(each, rng.choices(list(Restart), [4, 2, 1])[0]) for each in puppets]
    events: list[Event] = []
    supervisor = Supervisor(
        "s", specs, strategy=strategy, intensity=intensity, on_event=events.append, random=rng.random
    )
    return History(specs, puppets, supervisor, events)


# ---------------------------------------------------------------------- any interleaving


@pytest.mark.scaled
@pytest.mark.parametrize("strategy", Strategy)
async def test_invariants_hold_in_any_interleaving(
    puppet: MakePuppet, spec: MakeSpec, running: Running, strategy: Strategy
) -> None:
    for seed in range(HISTORIES):
        rng = Random(seed)
        run = new_history(rng, puppet, spec, strategy, Intensity.unlimited())
        async with running(run.supervisor):
            for _ in range(60):
                disturb(rng, rng.choice(run.puppets))
                await anyio.sleep(rng.choice([0.0, 0.0, 0.01, 0.5, 3.0, 9.0]))
            for each in run.puppets:
                each.start_seconds = each.refusals = 0
            await anyio.sleep(200.0)
            for info, child in zip(run.supervisor.children(), run.specs, strict=True):
                ended = child.restart is not Restart.PERMANENT and info.state is ChildState.STOPPED
                assert ended or info.state is ChildState.RUNNING, f"seed {seed}: {info}"
        assert all(info.state is ChildState.STOPPED for info in run.supervisor.children())
        nothing_is_lost(run.puppets, run.events)
        replay(run.events, ordered=strategy is not Strategy.ONE_FOR_ONE)


def disturb(rng: Random, child: Any) -> None:
    match rng.randrange(6):
        case 0 | 1:
            child.crash()
        case 2:
            child.finish()
        case 3:
            child.start_seconds = rng.choice([0.0, 0.02, 4.0, 40.0])
        case 4:
            child.refusals = rng.randint(0, 2)
        case _:
            child.deaf = rng.random() < 0.3


def replay(events: list[Event], *, ordered: bool) -> None:
    """Check the order of what was told: one life at a time, stops one by one, no start before all stops are done."""
    alive, ready, stopping = set[str](), set[str](), set[str]()
    for event in events:
        match event:
            case ChildStarting(path):
                assert path not in alive
                assert not (ordered and (stopping or any(each < path for each in alive - ready))), event
                alive.add(path)
            case ChildStarted(path):
                assert path in alive
                ready.add(path)
            case ChildStopping(path):
                assert not stopping, event
                assert not any(each > path for each in alive), event
                stopping.add(path)
            case ChildStopped(path) | ChildExited(path):
                for each in (alive, ready, stopping):
                    each.discard(path)
            case ChildCrashed(path) if path not in stopping:
                alive.discard(path)
                ready.discard(path)
            case _:
                pass
    assert not alive


# ---------------------------------------------------------------------- requests and cancellation at any moment


@pytest.mark.scaled
@pytest.mark.parametrize("strategy", Strategy)
async def test_whatever_is_asked_at_any_moment_is_answered_and_nothing_is_left(
    puppet: MakePuppet, spec: MakeSpec, strategy: Strategy
) -> None:
    for seed in range(HISTORIES):
        rng = Random(seed)
        run = new_history(rng, puppet, spec, strategy, Intensity.unlimited())
        asked: list[str] = []
        answered: list[str] = []

        async def ask(
            call: Callable[[], Awaitable[None]], asked: list[str] = asked, answered: list[str] = answered
        ) -> None:
            asked.append("")
            with anyio.fail_after(3_600):
                try:
                    await call()
                except SupervisorError as error:
                    answered.append(type(error).__name__)
                else:
                    answered.append("done")

        async with anyio.create_task_group() as group:
            with anyio.CancelScope() as host:
                async with anyio.create_task_group() as inner:
                    await inner.start(run.supervisor.run)
                    for _ in range(60):
                        if rng.random() < 0.5:
                            disturb(rng, rng.choice(run.puppets))
                        else:
                            group.start_soon(ask, random_request(rng, run, puppet, spec))
                        await anyio.sleep(rng.choice([0.0, 0.0, 0.01, 0.5, 3.0]))
                    if seed % 2:
                        await settles(run, seed)
                        run.supervisor.stop()
                    else:
                        host.cancel()
        assert len(asked) == len(answered), f"seed {seed}"
        assert set(answered) <= {"done", "ChildActive", "DuplicateChild", "UnknownChild", "StartFailed", "Stopping"}
        assert all(info.state is ChildState.STOPPED for info in run.supervisor.children()), f"seed {seed}"
        assert not any(each.living for each in run.puppets), f"seed {seed}"
        nothing_is_lost(run.puppets, run.events)


def random_request(rng: Random, run: History, puppet: MakePuppet, spec: MakeSpec) -> Callable[[], Awaitable[None]]:
    id = str(rng.randrange(7))

    async def add() -> None:
        child = puppet(id)
        child.start_seconds = rng.choice([0.0, 0.02, 4.0, 40.0])
        child.refusals = rng.randint(0, 1)
        run.puppets.append(child)
        await run.supervisor.start_child(spec(child, rng.choice(list(Restart))))

    async def delete() -> None:
        run.supervisor.delete_child(id)

    async def restart() -> None:
        await run.supervisor.restart_child(id)

    async def stop() -> None:
        with anyio.move_on_after(rng.choice([0.01, 100.0])):
            await run.supervisor.stop_child(id)

    return rng.choice([add, delete, restart, stop])


async def settles(run: History, seed: int) -> None:
    """When nobody disturbs it any more, each child runs or is stopped, and what is stopped can be started."""
    for each in run.puppets:
        each.start_seconds = each.refusals = 0
    await anyio.sleep(300.0)
    for info in run.supervisor.children():
        assert info.state in (ChildState.RUNNING, ChildState.STOPPED), f"seed {seed}: {info}"
        if info.state is ChildState.STOPPED:
            await run.supervisor.restart_child(info.id)
    counts = run.supervisor.count_children()
    assert counts.active == counts.specs, f"seed {seed}"
