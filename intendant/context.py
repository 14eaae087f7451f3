"""What a handler sees: durable calls, and facts that are the same at every resume.

A call whose result is in the journal returns it: replay is nothing but this. What a call means is decided here and in
`steps`; the `Recording` behind (an execution's actor, or a unit test's memory) keeps what was decided.
"""

from __future__ import annotations

import functools
import inspect
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Literal, TypeVar, TypeVarTuple, Unpack, overload

import anyio
from msgspec import Raw, Struct

from intendant.domain.codec import encode_value
from intendant.domain.errors import InvalidValue
from intendant.domain.errors import StepFailed as StepFailedError
from intendant.domain.ids import check_id
from intendant.domain.logs import about
from intendant.domain.payloads import Emitted
from intendant.domain.ports import FileStore
from intendant.domain.retry import Policy, Retry
from intendant.steps.attempt import call_here
from intendant.steps.children import Child, Children
from intendant.steps.files import Files
from intendant.steps.function import inspect_function
from intendant.steps.policy import StepPolicy, policy_of
from intendant.steps.recording import Recording
from intendant.steps.saga import UNDO_RETRY, UNDO_TIMEOUT, Saga, undo_policy
from intendant.steps.scopes import Scope
from intendant.steps.session import HandlerSession, SharedState
from intendant.steps.step import Step
from intendant.steps.steps import Call, Steps
from intendant.steps.undoing import Undoing
from intendant.steps.waiting import Waiting

T = TypeVar("T")
P = TypeVar("P")
R = TypeVar("R")
I = TypeVar("I")  # noqa: E741  an item
Ts = TypeVarTuple("Ts")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Facts(Struct, frozen=True):
    """What a run of a handler is told of its execution, and what its context needs to serve it."""

    tenant_id: str
    session: str
    solution: str
    execution_id: str
    started_at: int
    type: str = ""
    exclusive: bool = False
    files: FileStore | None = None
    limiter: anyio.CapacityLimiter | None = None
    attempt: int = 1


class Context:
    """One run of a handler. It is valid only while the handler runs, and only in its event loop.

    Names and keys, of steps, scopes, sagas, signals, queries, events and artifacts, are 1 to 128 letters, digits and
    any of `_.@:-`, the first one a letter or digit; others raise InvalidIntent.

    When the process dies, the handler is called anew: steps that were recorded return their result at once, and
    everything outside of steps runs again. `attempt` counts the attempts of the handler, from 1.

    When the execution is cancelled, the handler is cancelled natively, at its next await. Durable calls that it makes
    while it handles that (in `except`, `finally`, `__aexit__`) run, for as long as `cleanup=` of the handler allows;
    other awaits raise again unless it shields itself. While it is suspended, they raise Suspended.
    """

    def __init__(self, recording: Recording, facts: Facts, call: Call | None = None) -> None:
        """`call` calls steps' functions; without it they are called here."""
        self.tenant_id = facts.tenant_id
        self.solution = facts.solution
        self.execution_id = facts.execution_id
        self.attempt = facts.attempt
        self.artifacts: dict[str, Raw] = {}
        self.queries: dict[str, Callable[[], Any]] = {}
        self._facts = facts
        self._state: SharedState | None = None  # once the handler has asked for its session
        self._call = call
        self._recording = recording
        self._made_steps: Steps | None = None  # once the handler has called something durable: many never do
        self._made_waiting: Waiting | None = None

    @property
    def _steps(self) -> Steps:
        if self._made_steps is None:  # no cached property: before Python 3.12 that takes a lock, 1 % of a resume
            self._made_steps = self._make_steps()
        return self._made_steps

    def _make_steps(self) -> Steps:
        return Steps(
            self._recording,
            tenant=self.tenant_id,
            execution=self.execution_id,
            now=self._facts.started_at,
            files=self._facts.files,
            call=self._call or partial(call_here, self._facts.limiter),  # no method of this: that would make a circle
        )

    @property
    def replaying(self) -> bool:
        """Whether what runs now ran before: some recorded step has not been reached yet."""
        return self._steps.replaying

    @property
    def in_progress(self) -> list[str]:
        """The steps whose functions run."""
        return self._steps.in_progress

    @functools.cached_property
    def session(self) -> HandlerSession:
        """The session that the execution belongs to: its `id`, and in `state` what its handlers share."""
        facts = self._facts
        self._state = SharedState(self._recording, self._steps, facts.type, exclusive=facts.exclusive)
        return HandlerSession(facts.session, self._state)

    @functools.cached_property
    def random(self) -> random.Random:
        """Random numbers that are the same at every resume."""
        return random.Random(self.execution_id)

    @functools.cached_property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """Writes to `intendant.handler`, and is silent for what ran before a resume.

        Each line has `tenant`, `session`, `execution`, `attempt` (of the handler) and, while one step runs, `step`.
        """
        return _Logger(self, self._facts.session)

    @functools.cached_property
    def files(self) -> Files:
        """Content too large for a value, kept by tenant and digest."""
        facts = self._facts
        return Files(self.tenant_id, facts.session, facts.files, self._steps, self._recording)

    @property
    def _waiting(self) -> Waiting:
        if self._made_waiting is None:
            self._made_waiting = Waiting(self._recording, self._steps)
        return self._made_waiting

    @functools.cached_property
    def _children(self) -> Children:
        return Children(self._recording, self._steps, self.tenant_id, self.execution_id)

    def now(self) -> datetime:
        """The time of the newest thing recorded, in UTC: the same at every resume, unless steps run side by side."""
        return _EPOCH + timedelta(microseconds=self._steps.now)

    # --- steps

    def scope(self, name: str, *, key: str | None = None) -> Scope:
        """Put a name before those of the steps, waits and scopes in a `with` block, so that they may be used again.

            with ctx.scope("invoice", key=order.id):
                await send(ctx, order)  # its step "render" is recorded as invoice[A-17]/render

        The scope is of the task that enters it and of tasks that are started in it; each of several tasks may be in
        one of its own. Raises as `step` does: DuplicateStep for a name that is used twice in one scope without `key`.
        """
        return self._steps.scope(name, key)

    @overload
    async def step(
        self,
        name: str,
        function: Callable[[Step, *Ts], Awaitable[T]],
        *arguments: *Ts,
        key: str | None = None,
        **policy: Unpack[StepPolicy],
    ) -> T: ...
    @overload
    async def step(
        self,
        name: str,
        function: Callable[[Step, *Ts], T],
        *arguments: *Ts,
        key: str | None = None,
        **policy: Unpack[StepPolicy],
    ) -> T: ...
    @overload
    async def step(
        self,
        name: str,
        function: Callable[[*Ts], Awaitable[T]],
        *arguments: *Ts,
        key: str | None = None,
        **policy: Unpack[StepPolicy],
    ) -> T: ...
    @overload
    async def step(
        self,
        name: str,
        function: Callable[[*Ts], T],
        *arguments: *Ts,
        key: str | None = None,
        **policy: Unpack[StepPolicy],
    ) -> T: ...
    async def step(
        self,
        name: str,
        function: Callable[..., Any],
        *arguments: *Ts,  # pyright: ignore[reportInvalidTypeVarUse]  # mypy wants it as in the overloads
        key: str | None = None,
        **policy: Unpack[StepPolicy],
    ) -> Any:
        """Run `function(*arguments)` once and record its result; at every resume, return what was recorded.

        A plain function runs in a worker thread, an async one here. One whose first parameter is annotated `Step` is
        called as `function(step, *arguments)`. The step's identity is `name`, with `key` where a name is used more
        than once; it may be called from several tasks at once. Annotate the function's return type: the result comes
        back as that type (without one, as plain data), now and at every resume alike. One over 64 KiB, up to 64 MiB,
        is kept in the file store.

        When the function raises an `Exception`, or takes longer than `timeout`, or is silent for longer than
        `heartbeat`, the attempt has failed: that is recorded, and `retry` says whether and when there is another one.
        `deadline` limits all attempts together, from the first one's beginning. After a crash the function may run
        again if it had not been recorded: its effects should bear that. Cancellation (a time-out around the step, a
        suspension) records nothing; a thread that runs on is left behind and its result dropped.

        Raises DuplicateStep for a name used twice without `key`; InvalidValue for arguments that can't be encoded
        (pass them in a closure); JournalMismatch when it was recorded with other arguments; StepFailed when the last
        attempt failed, from its exception: raised again at every resume. An attempt has failed, for good, also when
        its result can't be encoded, or is over 64 MiB.
        """
        steps = self._steps
        path = steps.claim(name, key)
        each = policy_of(policy)
        if self._recording.cancellation is not None:
            return await steps.durably(lambda: steps.run(path, function, arguments, each), [path])
        kind = inspect_function(function)  # as `Steps.run`: one coroutine less to come back through
        return await steps.result(await steps.complete(path, function, kind, arguments, each), kind)

    @overload
    async def map(
        self,
        name: str,
        function: Callable[[I], Awaitable[T]],
        items: Iterable[I],
        *,
        key: Callable[[I], str] | None = None,
        limit: int = 16,
        return_errors: Literal[False] = False,
        **policy: Unpack[StepPolicy],
    ) -> list[T]: ...
    @overload
    async def map(
        self,
        name: str,
        function: Callable[[I], T],
        items: Iterable[I],
        *,
        key: Callable[[I], str] | None = None,
        limit: int = 16,
        return_errors: Literal[False] = False,
        **policy: Unpack[StepPolicy],
    ) -> list[T]: ...
    @overload
    async def map(
        self,
        name: str,
        function: Callable[..., Any],
        items: Iterable[I],
        *,
        key: Callable[[I], str] | None = None,
        limit: int = 16,
        return_errors: bool = False,
        **policy: Unpack[StepPolicy],
    ) -> list[Any]: ...
    async def map(
        self,
        name: str,
        function: Callable[..., Any],
        items: Iterable[I],
        *,
        key: Callable[[I], str] | None = None,
        limit: int = 16,
        return_errors: bool = False,
        **policy: Unpack[StepPolicy],
    ) -> list[Any]:
        """Run `function(item)` for each item as a step of its own, at most `limit` at a time; results in order.

        An item's step is `name[key(item)]`, without `key` `name[its place from 0]`. The first one that fails for good
        cancels the rest, and its StepFailed is raised; with `return_errors=True` all run, and a StepFailed stands in
        the place of an item that failed. The policy is of each item, as in `step`, and so is what is raised.
        """
        if limit < 1:
            raise InvalidValue("limit", f"must be 1 or more, not {limit}")
        each = policy_of(policy)
        rows = [
            (self._steps.claim(name, str(place) if key is None else key(item)), item)
            for place, item in enumerate(items)
        ]
        if not return_errors:
            self._steps.raise_recorded([path for path, _ in rows])
        return await self._steps.durably(
            lambda: self._map(function, rows, each, limit, return_errors=return_errors), [path for path, _ in rows]
        )

    async def _map(
        self,
        function: Callable[..., Any],
        rows: list[tuple[str, Any]],
        each: Policy,
        limit: int,
        *,
        return_errors: bool,
    ) -> list[Any]:
        results: list[Any] = [None] * len(rows)
        waiting = iter(enumerate(rows))

        async def work() -> None:
            for place, (path, item) in waiting:
                try:
                    results[place] = await self._steps.run(path, function, (item,), each)
                except StepFailedError as error:
                    if not return_errors:
                        raise
                    results[place] = error

        try:
            async with anyio.create_task_group() as group:
                for _ in range(min(limit, len(rows))):
                    group.start_soon(work)
        except ExceptionGroup as failures:
            raise _first(failures) from None
        return results

    def saga(
        self,
        name: str,
        *,
        key: str | None = None,
        undo_retry: Retry = UNDO_RETRY,
        undo_timeout: timedelta | None = UNDO_TIMEOUT,
    ) -> Saga:
        """A block whose steps are undone, the last one first, when it fails: `async with ctx.saga("place") as saga`.

        `saga.step(..., undo=...)` runs its steps; its name is the scope of their paths (`place/reserve`), with `key`
        where a name is used more than once. An undo is tried as `undo_retry` says (default: 5 attempts, with 1, 2, 4
        and 8 s in between), each for at most `undo_timeout` (default: 10 minutes). See `Saga` for what happens when.

        What the block failed with is recorded, and it never goes forward again: where the handler has a `retry`, its
        next attempt comes to the same failure, and should catch it.

        Raises DuplicateStep, when it is entered, for a name used twice without `key`; InvalidValue.
        """
        policy = undo_policy(undo_retry, undo_timeout)
        undoing = Undoing(self._recording, self._steps, self.emit)
        return Saga(self._recording, self._steps, undoing, None, name, key, policy)

    # --- children

    @overload
    async def submit(
        self,
        handler: Callable[[Context, P], Awaitable[R]],
        parameters: P,
        *,
        session: str | None = None,
        key: str | None = None,
        on_parent_end: Literal["cancel", "abandon"] = "cancel",
        priority: int | None = None,
    ) -> Child[R]: ...
    @overload
    async def submit(
        self,
        handler: str,
        parameters: Mapping[str, Any],
        *,
        session: str | None = None,
        key: str | None = None,
        on_parent_end: Literal["cancel", "abandon"] = "cancel",
        priority: int | None = None,
    ) -> Child[Any]: ...
    async def submit(
        self,
        handler: Any,
        parameters: Any,
        *,
        session: str | None = None,
        key: str | None = None,
        on_parent_end: Literal["cancel", "abandon"] = "cancel",
        priority: int | None = None,
    ) -> Child[Any]:
        """Submit an execution as a child of this one: `await child.result()` waits for its end.

        It is a recorded step: the child is accepted in the commit that records the call, so that it is never submitted
        twice. Its identity is `submit(realm.name)`, with `key` where a handler is submitted more than once in a scope.
        `session` is one of this tenant (default: this execution's own); the child's `priority` is this one's unless it
        is given. See docs/children.md for how it stands in line.

        When this execution ends, or is cancelled, a child that has not ended is cancelled, and theirs with it; it has
        at most the time that is left to this one. With `on_parent_end="abandon"` it is on its own.

        Raises DuplicateStep for a second child of a handler without `key`; InvalidIntent naming the field;
        UnknownSession, SessionClosed; JournalMismatch when it was recorded with other parameters or another session;
        Deadlock for an exclusive handler that would have to wait for this execution's end; Overloaded, BeingErased or
        StoreUnavailable: then nothing was submitted, and it may be tried again.
        """
        return await self._children.submit(handler, parameters, session, key, on_parent_end, priority, self.attempt)

    # --- waiting

    async def sleep(self, delay: timedelta, *, key: str | None = None) -> None:
        """Wait for `delay`, counted from the first time this is reached: a restart in between costs nothing.

        What is recorded is when the wait is over, so that it goes on while the process is down, and another `delay`
        after a change of the code changes nothing for executions that wait already. A handler that sleeps more than
        once tells its sleeps apart by `key`. The wait may take some milliseconds longer, and longer when very many are
        over at once. While it waits the handler may be suspended (see `Limits.resident`): plain tasks beside it are
        unwound then, and run again when it resumes.

        Raises DuplicateStep for a second sleep without `key`; InvalidValue for what is no timedelta, and for a wait
        beyond the year 2255.
        """
        await self._waiting.sleep(delay, key)

    async def sleep_until(self, moment: datetime, *, key: str | None = None) -> None:
        """Wait until the wall clock shows `moment` (with a time zone); otherwise as `sleep`.

        The first `moment` that is asked for is recorded and holds.
        """
        await self._waiting.sleep_until(moment, key)

    @overload
    async def wait_signal(
        self, name: str, *, type: type[T], timeout: timedelta | None = None, key: str | None = None
    ) -> T: ...
    @overload
    async def wait_signal(self, name: str, *, timeout: timedelta | None = None, key: str | None = None) -> Any: ...
    async def wait_signal(
        self, name: str, *, type: Any = Any, timeout: timedelta | None = None, key: str | None = None
    ) -> Any:
        """The payload of the next signal of this name that no other wait took, as `type` (default: as plain data).

        Signals that came before are taken first, in the order they came; each is delivered once. Which of the two came
        first, the signal or the end of `timeout`, is recorded: at every resume it is the same. Waiting is as with
        `sleep`, and `key` tells apart several waits for one name. A wait that is cancelled from outside, by a cancel
        scope around it, is given up: a signal that comes later, or had just come, is for the next wait. Use `timeout`
        where a resume must see the same; one of zero takes what lies ready. `type` is one type: what may be one of
        several things, tell apart by a field of a struct.

        Raises TimeoutError after `timeout`; InvalidValue for a payload that does not fit `type`, which is used up;
        DuplicateStep for a second wait for this name without `key`; InvalidIntent for a malformed name.
        """
        return await self._waiting.signal(name, type, timeout, key)

    def on_query(self, name: str, answer: Callable[[], Any]) -> None:
        """Let `execution.query(name)` be answered by `answer()`, with what this handler knows at that moment.

        Register it again at each run, best at the handler's beginning. `answer` is a plain function that must not
        wait; its value is encoded like a step's, up to 64 KiB. Nothing is recorded, and no query is answered before
        the handler has come as far as it was before a resume. Another one of the same name replaces it.

        Raises InvalidIntent for a malformed name, InvalidValue for what can't be called.
        """
        check_id(name, "query name")
        if inspect.iscoroutinefunction(answer) or not callable(answer):
            raise InvalidValue(f"the answer of query {name!r}", "must be a plain function without parameters")
        self.queries[name] = answer
        self._recording.active()

    # --- what else it gives

    def emit(self, name: str, payload: object = None) -> None:
        """Emit an event to the outside. It leaves through the outbox once the next record of this execution is durable.

        An event that was recorded before a resume is known by its name and payload and not emitted again: build both
        from parameters, step results and `ctx`, which are the same at every resume.

        Raises InvalidIntent for a malformed name; InvalidValue for a payload that can't be encoded or is over 64 KiB,
        and for more than 1,024 events since the last record.
        """
        self._steps.check_live()
        self._steps.events.emit(name, payload)

    def artifact(self, name: str, value: object) -> None:
        """Give a named result beside the handler's own; setting it again replaces it. Kept with the execution's end.

        Raises InvalidValue for a value that can't be encoded or is over 64 KiB: keep large ones as files.
        """
        self._steps.check_live()
        self.artifacts[check_id(name, "artifact name")] = Raw(encode_value(value, f"artifact {name!r}"))

    # --- for whoever runs the handler

    @property
    def ahead(self) -> int:
        """How much of what was recorded, but by a clean-up, this run has not come to."""
        return self._steps.ahead

    @property
    def called(self) -> list[str]:
        """The paths of steps, waits and scopes that this run has come to, in that order; those of scopes end in "/"."""
        return self._steps.called

    @property
    def closed(self) -> bool:
        """Whether the run is over, and another one follows."""
        return self._steps.closed

    def close(self) -> None:
        """The run is over: nothing that it left behind may record any more."""
        self._steps.close()

    @property
    def changed_state(self) -> bytes | None:
        """What the handler has set as its session's state, unless that is what it is already."""
        return None if self._state is None else self._state.changed

    def take_events(self) -> list[Emitted]:
        """What was emitted and rides with the next record."""
        return [] if self._made_steps is None else self._made_steps.events.take()


def _first(failures: ExceptionGroup[Exception]) -> Exception:
    """The failure that cancelled the others; what came at the same moment follows as its notes."""
    first, *others = failures.exceptions
    for other in others:
        first.add_note(f"at the same moment: {other!r}")
    return first  # no group: a step raises none of its own, it is recorded and told as StepFailed


class _Logger(logging.LoggerAdapter[logging.Logger]):
    """Says with every line whose it is. What a caller gives as `extra` goes before that."""

    def __init__(self, context: Context, session: str) -> None:
        super().__init__(logging.getLogger("intendant.handler"))
        self._context = context
        self._session = session

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802  the standard library's name
        return not self._context.replaying and super().isEnabledFor(level)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        here, steps = self._context, self._context.in_progress
        step = steps[0] if len(steps) == 1 else ""
        extra = about(here.tenant_id, self._session, here.execution_id, step, here.attempt)
        kwargs["extra"] = {**extra, **(kwargs.get("extra") or {})}
        return msg, kwargs
