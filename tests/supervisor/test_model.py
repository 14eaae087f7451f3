"""All short histories of small trees, and random long ones, against a model of OTP's rules; and what must hold in any
interleaving.

`make stress` plays all short histories, and 50,000 random ones on each event loop; `make test` one in 97 of the short
ones, spread evenly, and one in 50 of the random ones.
"""

import itertools
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
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
    DynamicSupervisor,
    Escalated,
    Event,
    Intensity,
    Restart,
    StartFailed,
    Strategy,
    Supervisor,
    SupervisorError,
)
from tests.infrastructure.tier import STRESS, scaled
from tests.supervisor.otp import (
    GAP,
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

SHARE = max(1, round(1 / STRESS)) if STRESS else 97  # one in so many of the short histories
MODEL, MOMENTS, REQUESTS, NESTED, DYNAMIC = 6_000, 4_000, 4_000, 4_000, 4_000
"""Random histories on each loop, the first three of each strategy: 50,000 in all."""


def seeds(count: int) -> range:
    """The random histories of one case; their number is told."""
    number = scaled(count, count // 50)
    print(f"{number:,} random histories")
    return range(number)


def few(rng: Random, least: int, most: int) -> range:
    """So many steps."""
    return range(rng.randint(least, most))


# ---------------------------------------------------------------------- all short histories

KINDS = [("permanent", False), ("transient", False), ("temporary", False), ("transient", True), ("temporary", True)]
EXTRA = Member("9", "permanent")
BUDGET = Budget(1, 60.0)
SHORT = [(1, 3), (2, 2), (3, 1)]  # so many children, so many steps


def trees(size: int) -> Iterator[Otp]:
    """Every supervisor with so many children. Significance needs a kind of auto-shutdown, and the other way round."""
    for strategy, auto in itertools.product(
        ["one_for_one", "one_for_all", "rest_for_one"], ["never", "any_significant", "all_significant"]
    ):
        for kinds in itertools.product(KINDS, repeat=size):
            if any(significant for _, significant in kinds) == (auto != "never"):
                members = tuple(Member(str(i), kind, significant) for i, (kind, significant) in enumerate(kinds))
                yield Otp(strategy, auto, BUDGET, members)


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


def histories(tree: Otp, length: int) -> Iterator[tuple[Step, ...]]:
    """Every history of so many steps that differs from the others by what the model makes of it.

    A step that changes nothing, because it is refused or nobody is there to end, is followed by others only once: all
    those that follow another one do the same.
    """
    yield from _longer((), {tree}, alphabet(len(tree.members)), length)


def _longer(begun: tuple[Step, ...], models: set[Otp], steps: list[Step], left: int) -> Iterator[tuple[Step, ...]]:
    if left == 1:
        yield from ((*begun, step) for step in steps)
        return
    now, waited = len(begun) * GAP, False
    for step in steps:
        follow = {after for model in models for after in _follow(model, now, step)}
        idle = follow == models
        if all(model.end for model in follow) or (idle and waited):
            yield (*begun, step)
        else:
            waited = waited or idle
            yield from _longer((*begun, step), follow, steps, left - 1)


def _follow(model: Otp, now: float, step: Step) -> list[Otp]:
    return [model] if model.end else [after for after, _ in model.after(now, possible(step, model))]


@pytest.mark.scaled
@pytest.mark.parametrize(("size", "length"), SHORT)
async def test_short_histories_of_small_trees_agree_with_the_model(
    puppet: MakePuppet, log: list[str], size: int, length: int
) -> None:
    every = ((tree, steps) for tree in trees(size) for steps in histories(tree, length))
    number = 0
    for tree, steps in itertools.islice(every, 0, None, SHARE):
        await play(tree, steps, puppet, log)
        number += 1
    print(f"{number:,} short histories of trees with {size} children")


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
    for seed in seeds(MODEL):
        rng = Random(seed)
        tree, left = random_tree(rng, strategy.value), iter(few(rng, 3, 10))

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
    for seed in seeds(MOMENTS):
        rng = Random(seed)
        run = new_history(rng, puppet, spec, strategy, Intensity.unlimited())
        async with running(run.supervisor):
            for _ in few(rng, 5, 20):
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
    for seed in seeds(REQUESTS):
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
                    for _ in few(rng, 5, 20):
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
    await anyio.sleep(0.001)  # what was asked last has begun: its child is among the puppets
    for each in run.puppets:
        each.start_seconds = each.refusals = 0
    await anyio.sleep(300.0)
    for info in run.supervisor.children():
        assert info.state in (ChildState.RUNNING, ChildState.STOPPED), f"seed {seed}: {info}"
        if info.state is ChildState.STOPPED:
            await run.supervisor.restart_child(info.id)
    counts = run.supervisor.count_children()
    assert counts.active == counts.specs, f"seed {seed}"


# ---------------------------------------------------------------------- trees of two levels


@pytest.mark.scaled
async def test_trees_of_two_levels_come_back_and_leave_nothing(puppet: MakePuppet, spec: MakeSpec) -> None:
    for seed in seeds(NESTED):
        rng = Random(seed)
        events: list[Event] = []
        puppets = [puppet(f"{a}{b}") for a in range(rng.randint(1, 3)) for b in range(rng.randint(1, 3))]
        families = [list(family) for _, family in itertools.groupby(puppets, lambda each: each.name[0])]

        def grow(rng: Random = rng, events: list[Event] = events, families: list[Any] = families) -> Supervisor:
            """Inner supervisors soon give up, the outer one never does."""
            inner = [
                Supervisor(
                    family[0].name[0],
                    [spec(each) for each in family],
                    strategy=rng.choice(list(Strategy)),
                    intensity=Intensity(rng.randint(0, 2), 10.0),
                    on_event=events.append,
                    path="s",
                )
                for family in families
            ]
            children = [each.as_child(restart=rng.choice([Restart.PERMANENT, Restart.TRANSIENT])) for each in inner]
            strategy = rng.choice(list(Strategy))
            return Supervisor("s", children, strategy=strategy, intensity=Intensity.unlimited(), on_event=events.append)

        supervisor = grow()
        async with anyio.create_task_group() as group:
            await group.start(supervisor.run)
            for _ in few(rng, 5, 20):
                disturb(rng, rng.choice(puppets))
                await anyio.sleep(rng.choice([0.0, 0.0, 0.01, 0.5, 3.0]))
            if seed % 2:
                for each in puppets:
                    each.start_seconds = each.refusals = 0
                await anyio.sleep(300.0)
                assert all(info.state is ChildState.RUNNING for info in supervisor.children()), f"seed {seed}"
                assert all(each.living for each in puppets), f"seed {seed}"
                supervisor.stop()
            else:
                group.cancel_scope.cancel()
        assert not any(each.living for each in puppets), f"seed {seed}"
        levels = (Escalated, StartFailed)  # what an inner one ends with tells of a crash that was told
        nothing_is_lost(puppets, [each for each in events if not isinstance(getattr(each, "cause", None), levels)])


# ---------------------------------------------------------------------- children that come and go


@pytest.mark.scaled
async def test_a_dynamic_supervisor_is_as_many_supervisors_of_one_child(puppet: MakePuppet, spec: MakeSpec) -> None:
    for seed in seeds(DYNAMIC):
        rng = Random(seed)
        given_up: list[str] = []
        models: dict[str, Otp] = {}
        puppets: dict[str, Any] = {}
        dynamic = DynamicSupervisor("d", intensity=Intensity(2, 100.0), on_give_up=partial(note, given_up))
        async with anyio.create_task_group() as group:
            await group.start(dynamic.run)
            expected: list[str] = []
            for _ in few(rng, 3, 10):
                for id in rng.sample("0123", 2):
                    refusals = rng.choice([0, 0, 0, 1, 3])
                    if id in models:
                        disturb_dynamic(rng, dynamic, id, puppets[id], refusals, models)
                    else:
                        add_dynamic(rng, dynamic, id, puppets, puppet, spec, refusals, models)
                expected += [id for id, model in models.items() if model.end]
                for id in [id for id, model in models.items() if model.end or not model.members[0].alive]:
                    del models[id]
                await anyio.sleep(GAP)
                assert {info.id: info.state for info in dynamic.children()} == dict.fromkeys(
                    models, ChildState.RUNNING
                ), f"seed {seed}"
                lives = {id: model.members[0].lives for id, model in models.items()}
                assert {id: puppets[id].lives for id in models} == lives, f"seed {seed}"
                assert sorted(given_up) == sorted(expected), f"seed {seed}"
            dynamic.stop()
        assert not any(each.living for each in puppets.values()), f"seed {seed}"


def note(told: list[str], child: str, _cause: BaseException) -> None:
    told.append(child)


def add_dynamic(
    rng: Random,
    dynamic: DynamicSupervisor,
    id: str,
    puppets: dict[str, Any],
    puppet: MakePuppet,
    spec: MakeSpec,
    refusals: int,
    models: dict[str, Otp],
) -> None:
    """A start that fails is a crash of the child, and counts."""
    kind = rng.choice(list(Restart))
    child = puppets[id] = puppet(id)
    child.refusals = refusals
    dynamic.start_child(spec(child, kind))
    model = Otp("one_for_one", "never", Budget(2, 100.0), (Member(id, kind.value),))
    end = Exits(((id, True),), ((id, refusals - 1),))
    models[id] = model.after(anyio.current_time(), end)[0][0] if refusals else model


def disturb_dynamic(
    rng: Random, dynamic: DynamicSupervisor, id: str, child: Any, refusals: int, models: dict[str, Otp]
) -> None:
    """One that is stopped is forgotten at once."""
    if rng.random() < 0.3:
        child.deaf = rng.random() < 0.5
        rng.choice([dynamic.stop_child, dynamic.cancel_child])(id)
        step: Step = Stop(id)
    else:
        crashed = rng.random() < 0.7
        child.refusals = refusals
        child.crash() if crashed else child.finish()
        step = Exits(((id, crashed),), ((id, refusals),))
    models[id] = models[id].after(anyio.current_time(), step)[0][0]
