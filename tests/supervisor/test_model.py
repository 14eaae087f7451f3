"""Random histories against a small model of OTP's rules, and against what must hold in any interleaving.

The model is written from the rules in OTP's documentation and shares no code with the supervisor. It works in rounds:
some children end at the same moment, then everything settles. Which of them is seen first is not defined, so the
supervisor must agree with one of the possible orders, and go on agreeing with what follows from it.
"""

import itertools
import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
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
    Escalated,
    Event,
    Intensity,
    Restart,
    StartTimedOut,
    Strategy,
    Supervisor,
)

pytestmark = pytest.mark.anyio

Running = Callable[[Supervisor], AbstractAsyncContextManager[None]]
MakePuppet = Callable[[str], Any]
MakeSpec = Callable[..., ChildSpec]

BUDGET, PERIOD = 6, 100.0
GAP = 40.0  # seconds from round to round
HISTORIES = 40 if "STRESS" not in os.environ else round(2_000 * float(os.environ["STRESS"]))


@dataclass(frozen=True)
class Model:
    """OTP's supervisor, as far as one round can tell."""

    strategy: str
    kinds: tuple[str, ...]
    alive: tuple[bool, ...]
    lives: tuple[int, ...]
    restarts: tuple[float, ...] = ()
    shut_down: bool = False

    def round(self, now: float, exits: list[tuple[int, bool]], refuse: dict[int, int]) -> "Model":
        """Each of `exits` (index, crashed?) ends; each of `refuse` fails so many of its next starts."""
        refuse = dict(refuse)
        model: Model = replace(self, alive=tuple(a and i not in dict(exits) for i, a in enumerate(self.alive)))
        gone = {i: crashed for i, crashed in exits if self.alive[i]}
        todo: set[int] = set()
        for i, _ in exits:
            if i in gone and not model.shut_down:
                model, todo = model._exit(now, i, gone.pop(i), todo, gone)
        while todo and not model.shut_down:
            first = min(todo)
            todo.discard(first)
            model = replace(model, lives=_with(model.lives, first, model.lives[first] + 1))
            if refuse.get(first, 0):
                refuse[first] -= 1
                model, todo = model._exit(now, first, True, todo, {})
            else:
                model = replace(model, alive=_with(model.alive, first, True))
        if model.shut_down:
            return replace(model, alive=(False,) * len(self.kinds))
        return model

    def _exit(
        self, now: float, i: int, crashed: bool, todo: set[int], gone: dict[int, bool]
    ) -> tuple["Model", set[int]]:
        if self.kinds[i] == "temporary" or (self.kinds[i] == "transient" and not crashed):
            return self, todo
        restarts = (*(t for t in self.restarts if now - t <= PERIOD), now)
        if len(restarts) > BUDGET:
            return replace(self, restarts=restarts, shut_down=True), set()
        first, last = {
            "one_for_one": (i, i),
            "rest_for_one": (i, len(self.kinds) - 1),
            "one_for_all": (0, len(self.kinds) - 1),
        }[self.strategy]
        group = range(first, last + 1)
        alive = tuple(a and (j not in group) for j, a in enumerate(self.alive))
        for j in group:
            gone.pop(j, None)  # the exits of those that go down anyway are not looked at
        starts = {j for j in group if j == i or self.kinds[j] != "temporary"}
        return replace(self, restarts=restarts, alive=alive), todo | starts


def _with(values: tuple[Any, ...], index: int, value: object) -> tuple[Any, ...]:
    return (*values[:index], value, *values[index + 1 :])


@dataclass
class History:
    """One run: the puppets, the supervisor, what it told, and what the model allows at present."""

    specs: list[ChildSpec]
    puppets: list[Any]
    supervisor: Supervisor
    events: list[Event]
    possible: list[Model] = field(default_factory=list[Model])


def new_history(rng: Random, puppet: MakePuppet, spec: MakeSpec, strategy: Strategy, intensity: Intensity) -> History:
    puppets = [puppet(str(i)) for i in range(rng.randint(1, 5))]
    specs = [spec(each, rng.choices(list(Restart), [4, 2, 1])[0]) for each in puppets]
    events: list[Event] = []
    supervisor = Supervisor(
        "s", specs, strategy=strategy, intensity=intensity, on_event=events.append, random=rng.random
    )
    return History(specs, puppets, supervisor, events)


# ---------------------------------------------------------------------- against the model


@pytest.mark.scaled
@pytest.mark.parametrize("strategy", Strategy)
async def test_rounds_agree_with_the_model(
    puppet: MakePuppet, spec: MakeSpec, running: Running, strategy: Strategy, log: list[str]
) -> None:
    for seed in range(HISTORIES):
        rng = Random(seed)
        run = new_history(rng, puppet, spec, strategy, Intensity(BUDGET, PERIOD))
        count = len(run.puppets)
        kinds = tuple(each.restart.value for each in run.specs)
        models = [Model(strategy.value, kinds, (True,) * count, (1,) * count)]
        try:
            async with running(run.supervisor):
                for _ in range(12):
                    models = await one_round(rng, run, models, log, f"seed {seed}")
        except Escalated:
            assert any(outcome.shut_down for outcome in run.possible), f"seed {seed}: gave up too early"
        assert_nothing_lost(run)


async def one_round(rng: Random, run: History, models: list[Model], log: list[str], where: str) -> list[Model]:
    living = [i for i, alive in enumerate(models[0].alive) if alive]
    exits = [(i, rng.random() < 0.7) for i in rng.sample(living, min(len(living), rng.randint(0, 3)))]
    refuse = {i: rng.randint(1, 2) for i in range(len(run.puppets)) if rng.random() < 0.1}
    now, orders = anyio.current_time(), list(itertools.permutations(exits))
    run.possible = list({model.round(now, list(order), refuse) for model in models for order in orders})
    log.clear()
    for i, each in enumerate(run.puppets):
        each.refusals = refuse.get(i, 0)
    for i, crashed in exits:
        if crashed:
            run.puppets[i].crash()
        else:
            run.puppets[i].finish()
    await anyio.sleep(GAP)  # ends early, with the whole block, if the supervisor gives up
    seen = tuple(info.state is ChildState.RUNNING for info in run.supervisor.children())
    lives = tuple(each.lives for each in run.puppets)
    matching = [each for each in run.possible if (each.alive, each.lives, each.shut_down) == (seen, lives, False)]
    assert matching, f"{where}: {exits} {refuse}: {seen} {lives} is none of {run.possible}"
    if not refuse and models[0].strategy != "one_for_one":
        assert_order(log)
    return matching


def assert_order(log: list[str]) -> None:
    asks = [line for line in log if line.startswith("ask")]
    starts = [line for line in log if line.startswith(("start", "ready"))]
    assert asks == sorted(asks, reverse=True)
    names = sorted({line.split()[1] for line in starts})
    assert starts == [f"{what} {name}" for name in names for what in ("start", "ready")]
    assert log == asks + starts


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
        assert_nothing_lost(run)
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


def assert_nothing_lost(run: History) -> None:
    """Whatever a child raised was told once; time-outs come on top."""
    told = [event.cause for event in run.events if isinstance(event, ChildCrashed)]
    raised = [exc for each in run.puppets for exc in each.raised]
    assert {id(exc) for exc in raised} <= {id(exc) for exc in told}
    assert len(told) == len({id(exc) for exc in told})
    assert {type(exc) for exc in told if exc not in raised} <= {StartTimedOut}
