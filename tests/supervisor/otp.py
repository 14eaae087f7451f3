"""A model of OTP's rules for a supervisor, and a way to hold a supervisor against it.

The model is written from OTP's documentation and shares no code with the supervisor. It works in steps: some children
end at the same moment, or one thing is asked of one child; then everything settles. Which of several exits is seen
first is not defined, so a supervisor must agree with one of the possible orders, and go on agreeing with what follows
from it. It is told in strings, so that a word misread in one place is not misread in both.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import anyio

from intendant.supervisor import (
    AutoShutdown,
    ChildCrashed,
    ChildSpec,
    ChildState,
    Escalated,
    Event,
    Intensity,
    Restart,
    Started,
    StartTimedOut,
    Strategy,
    Supervisor,
    SupervisorError,
)

GAP = 40.0  # seconds from step to step


@dataclass(frozen=True)
class Budget:
    restarts: int
    period: float


@dataclass(frozen=True)
class Member:
    """A child as the model sees it."""

    id: str
    kind: str
    significant: bool = False
    alive: bool = True
    lives: int = 1


@dataclass(frozen=True)
class Exits:
    """These children (id, crashed?) end at the same moment; those in `refuse` fail so many of their next starts."""

    ends: tuple[tuple[str, bool], ...]
    refuse: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Stop:
    id: str


@dataclass(frozen=True)
class Again:
    id: str
    refuses: bool = False


@dataclass(frozen=True)
class Delete:
    id: str


@dataclass(frozen=True)
class Add:
    member: Member
    refuses: bool = False


Step = Exits | Stop | Again | Delete | Add


@dataclass(frozen=True)
class Otp:
    """A supervisor between two steps. `end` is "" while it runs, else "escalated" or "shutdown"."""

    strategy: str
    auto: str
    budget: Budget
    members: tuple[Member, ...]
    restarts: tuple[float, ...] = ()
    end: str = ""

    def after(self, now: float, step: Step) -> list[tuple[Otp, str]]:
        """What may follow, each with the error that whoever asked gets, "" for none."""
        if isinstance(step, Exits):
            orders = itertools.permutations(step.ends)
            return [(self._exits(now, order, dict(step.refuse)), "") for order in orders]
        if isinstance(step, Add):
            if self._find(step.member.id) is not None:
                return [(self, "DuplicateChild")]
            if step.refuses:
                return [(self, "StartFailed")]
            return [(replace(self, members=(*self.members, step.member)), "")]
        member = self._find(step.id)
        if member is None:
            return [(self, "UnknownChild")]
        if isinstance(step, Stop):
            return [(self._with(replace(member, alive=False)), "")]
        if member.alive:
            return [(self, "ChildActive")]
        if isinstance(step, Delete):
            return [(replace(self, members=tuple(each for each in self.members if each is not member)), "")]
        started = replace(member, lives=member.lives + 1, alive=not step.refuses)
        return [(self._with(started), "StartFailed" if step.refuses else "")]

    @property
    def seen(self) -> tuple[Any, ...]:
        """What can be seen of it from outside."""
        if self.end:
            return (self.end,)
        return (self.end, *((each.id, each.alive, each.lives) for each in self.members))

    def _exits(self, now: float, order: Sequence[tuple[str, bool]], refuse: dict[str, int]) -> Otp:
        gone = {id: crashed for id, crashed in order if (found := self._find(id)) is not None and found.alive}
        model = replace(
            self, members=tuple(replace(each, alive=each.alive and each.id not in gone) for each in self.members)
        )
        todo: set[str] = set()
        for id, _ in order:
            if id in gone and not model.end:
                model, todo = model._exit(now, id, gone.pop(id), todo, gone)
        while todo and not model.end:
            first = min(todo, key=model._place)
            todo.discard(first)
            member = model._member(first)
            model = model._with(replace(member, lives=member.lives + 1, alive=not refuse.get(first)))
            if refuse.get(first):
                refuse[first] -= 1
                model, todo = model._exit(now, first, True, todo, {})
        return model

    def _exit(self, now: float, id: str, crashed: bool, todo: set[str], gone: dict[str, bool]) -> tuple[Otp, set[str]]:
        member = self._member(id)
        if member.kind == "temporary" or (member.kind == "transient" and not crashed):
            return self._auto_shutdown(member, todo, gone), todo
        restarts = (*(time for time in self.restarts if now - time <= self.budget.period), now)
        if len(restarts) > self.budget.restarts:
            return replace(self, restarts=restarts, end="escalated"), set()
        place = self._place(id)
        group = {
            "one_for_one": self.members[place : place + 1],
            "rest_for_one": self.members[place:],
            "one_for_all": self.members,
        }[self.strategy]
        for each in group:
            gone.pop(each.id, None)  # the exits of those that go down anyway are not looked at
        down = tuple(replace(each, alive=each.alive and each not in group) for each in self.members)
        starts = {each.id for each in group if each.id == id or each.kind != "temporary"}
        return replace(self, restarts=restarts, members=down), todo | starts

    def _auto_shutdown(self, ended: Member, todo: set[str], gone: dict[str, bool]) -> Otp:
        if not ended.significant or self.auto == "never":
            return self
        others = [each for each in self.members if each.significant and each.id != ended.id]
        left = any(each.alive or each.id in todo or each.id in gone for each in others)
        if self.auto == "all_significant" and left:
            return self
        return replace(self, end="shutdown")

    def _find(self, id: str) -> Member | None:
        return next((each for each in self.members if each.id == id), None)

    def _member(self, id: str) -> Member:
        return self.members[self._place(id)]

    def _place(self, id: str) -> int:
        return [each.id for each in self.members].index(id)

    def _with(self, member: Member) -> Otp:
        return replace(self, members=tuple(member if each.id == member.id else each for each in self.members))


class Disagreement(AssertionError):
    """The supervisor did what none of OTP's rules allows."""


def check(holds: bool, what: object) -> None:
    if not holds:
        raise Disagreement(str(what))


@dataclass
class Play:
    """One supervisor, its puppets, and what the model allows at present."""

    start: Otp
    puppet: Callable[[str], Any]
    log: list[str]
    make: Callable[..., Supervisor] = Supervisor
    random: Callable[[], float] = lambda: 0.5
    puppets: dict[str, Any] = field(default_factory=dict[str, Any])
    everyone: list[Any] = field(default_factory=list[Any])
    events: list[Event] = field(default_factory=list[Event])
    allowed: set[Otp] = field(default_factory=set[Otp])
    end: str = ""
    leaving: bool = False

    def __post_init__(self) -> None:
        self.allowed = {self.start}
        budget = self.start.budget
        self.supervisor = self.make(
            "s",
            [self.spec(each) for each in self.start.members],
            strategy=Strategy(self.start.strategy),
            auto_shutdown=AutoShutdown(self.start.auto),
            intensity=Intensity(budget.restarts, budget.period),
            on_event=self.events.append,
            random=self.random,
        )

    def spec(self, member: Member) -> ChildSpec:
        child = self.puppets[member.id] = self.puppet(member.id)
        self.everyone.append(child)
        return ChildSpec(
            member.id, child.start, Restart(member.kind), child.ask, significant=member.significant, shutdown=5.0
        )

    async def run(self, steps: Callable[[Otp], Step | None]) -> None:
        """Play the steps until there is none or the supervisor has ended; `steps` is asked with an allowed state."""
        async with anyio.create_task_group() as group:
            await group.start(self._host)
            while not self.end and (step := steps(self._first_allowed())) is not None:
                await self.step(step)
            self.leaving = not self.end
            self.supervisor.stop()
        check((self.end == "left") == self.leaving, f"{self.end} when it was to stop")
        nothing_is_lost(self.everyone, self.events)
        check(all(info.state is ChildState.STOPPED for info in self.supervisor.children()), "not all are stopped")
        check(not any(each.living for each in self.everyone), "a child is left behind")

    def _first_allowed(self) -> Otp:
        first, *others = self.allowed
        return min(self.allowed, key=repr) if others else first

    async def _host(self, *, task_status: Started) -> None:
        try:
            await self.supervisor.run(task_status)
            self.end = "left" if self.leaving else "shutdown"
        except Escalated:
            self.end = "escalated"

    async def step(self, step: Step) -> None:
        now = anyio.current_time()
        follow = [pair for model in self.allowed for pair in model.after(now, step)]
        self.allowed = {model for model, _ in follow}
        self.log.clear()
        for each in self.puppets.values():
            each.refusals = 0
        error = await self._do(step)
        await anyio.sleep(GAP)
        seen = self._seen()
        self.allowed = {model for model, told in follow if (model.seen, told) == (seen, error)}
        check(bool(self.allowed), f"{step}: {seen} {error!r} is none of {[(each.seen, told) for each, told in follow]}")
        if not self.end and isinstance(step, Exits) and not step.refuse and self.start.strategy != "one_for_one":
            self._order_is_kept()

    def _seen(self) -> tuple[Any, ...]:
        if self.end:
            return (self.end,)
        return (
            "",
            *(
                (info.id, info.state is ChildState.RUNNING, self.puppets[info.id].lives)
                for info in self.supervisor.children()
            ),
        )

    async def _do(self, step: Step) -> str:
        try:
            match step:
                case Exits(ends, refuse):
                    for id, count in refuse:
                        self.puppets[id].refusals = count
                    for id, crashed in ends:
                        if crashed:
                            self.puppets[id].crash()
                        else:
                            self.puppets[id].finish()
                case Stop(id):
                    await self.supervisor.stop_child(id)
                case Again(id, refuses):
                    if id in self.puppets:
                        self.puppets[id].refusals = int(refuses)
                    await self.supervisor.restart_child(id)
                case Delete(id):
                    self.supervisor.delete_child(id)
                case Add(member, refuses):
                    await self._add(member, refuses)
        except SupervisorError as error:
            return type(error).__name__
        return ""

    async def _add(self, member: Member, refuses: bool) -> None:
        before = self.puppets.get(member.id)
        spec = self.spec(member)
        self.puppets[member.id].refusals = int(refuses)
        try:
            await self.supervisor.start_child(spec)
        except SupervisorError:
            if before is not None:
                self.puppets[member.id] = before
            raise

    def _order_is_kept(self) -> None:
        order = [member.id for member in min(self.allowed, key=repr).members]
        asks = [line.split()[1] for line in self.log if line.startswith("ask")]
        starts = [line for line in self.log if line.startswith(("start", "ready"))]
        check(asks == [id for id in reversed(order) if id in asks], self.log)
        started = {line.split()[1] for line in starts}
        check(starts == [f"{what} {id}" for id in order if id in started for what in ("start", "ready")], self.log)
        check(self.log == [*(f"ask {id}" for id in asks), *starts], self.log)


def nothing_is_lost(puppets: Sequence[Any], events: Sequence[Event]) -> None:
    """Whatever a child raised was told once; time-outs come on top."""
    told = [event.cause for event in events if isinstance(event, ChildCrashed)]
    raised = [exc for each in puppets for exc in each.raised]
    check({id(exc) for exc in raised} <= {id(exc) for exc in told}, "a crash was not told")
    check(len(told) == len({id(exc) for exc in told}), "a crash was told twice")
    check({type(exc) for exc in told if exc not in raised} <= {StartTimedOut}, told)
