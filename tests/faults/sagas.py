"""Handlers with sagas for the fault tests. Their bodies look into the store, whether they may run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import anyio
import msgspec

from intendant import Context, Realm, Retry, Saga, SagaFailed, Step, StepFailed
from intendant.domain.journal import Row
from intendant.domain.payloads import SagaCompensating, SagaStarted, StepCompleted
from intendant.domain.payloads import StepFailed as StepFailedRow
from intendant.domain.sagas import undo_path
from tests.faults.ledger import Ledger

SOON = timedelta(milliseconds=10)
TWICE = Retry(attempts=2, initial=SOON)


class Bodies:
    """The functions of one execution's steps and undos."""

    def __init__(self, ledger: Ledger, ctx: Context) -> None:
        self._ledger = ledger
        self._ctx = ctx

    def do(self, path: str, value: Any, *, undoable: bool = True, lasts: float = 0.01) -> Callable[[], Awaitable[Any]]:
        """The body of a step at that path; it acts, and then raises `value` if that is an exception."""

        async def body() -> Any:
            self._check_forward(path, undoable=undoable)
            self._ledger.ran(self._ctx, path, ())
            await anyio.sleep(lasts)
            if isinstance(value, Exception):
                raise value
            return value

        return body

    def undo(self, path: str, *, failures: int = 0, lasts: float = 0.01) -> Callable[[Step, Any], Awaitable[None]]:
        """The undo of the step at that path; its first attempts fail."""

        async def body(step: Step, result: Any) -> None:
            rows = self._ledger.rows(self._ctx)
            self._check_undo(path, rows)
            self._ledger.ran(self._ctx, undo_path(path), ())
            if step.idempotency_key != f"{self._ctx.execution_id}/{undo_path(path)}":
                self._complain(f"the undo of {path} has the key {step.idempotency_key}")
            recorded = [row for row in rows if isinstance(row, StepCompleted) and row.path == path]
            if result != (msgspec.msgpack.decode(recorded[0].result) if recorded else None):
                self._complain(f"{path} is undone with {result!r}, and not with what is recorded")
            await anyio.sleep(lasts)
            if step.attempt <= failures:
                raise OSError(f"not yet: {step.attempt}")

        return body

    async def step(self, saga: Saga, name: str, value: Any, *, failures: int = 0, undo: bool = True) -> Any:
        """A step of a saga with the bodies from here."""
        path = f"{saga.path}/{name}"
        body = self.do(path, value, undoable=undo)
        return await saga.step(name, body, undo=self.undo(path, failures=failures) if undo else None)

    def _check_forward(self, path: str, *, undoable: bool) -> None:
        rows = self._ledger.rows(self._ctx)
        if any(_around(row, path) for row in rows):
            self._complain(f"step {path} ran in a saga that is being undone")
        if undoable and not any(isinstance(row, SagaStarted) and row.step == path for row in rows):
            self._complain(f"step {path} ran before its undo was recorded")

    def _check_undo(self, path: str, rows: list[Row]) -> None:
        failed = [row for row in rows if _around(row, path)]
        if not failed:
            self._complain(f"step {path} was undone, and that its saga has failed was not recorded")
            return
        noted = [row.step for row in rows if isinstance(row, SagaStarted)]
        ended = {
            row.path for row in rows if isinstance(row, StepCompleted) or (isinstance(row, StepFailedRow) and row.final)
        }
        later = noted[noted.index(path) + 1 :] if path in noted else []
        scope = f"{getattr(failed[0], 'path', '')}/"
        if early := [each for each in later if each.startswith(scope) and undo_path(each) not in ended]:
            self._complain(f"step {path} was undone before {early}, which began later")

    def _complain(self, text: str) -> None:
        self._ledger.violations.append(f"{self._ctx.execution_id}: {text}")


def _around(row: Row, path: str) -> bool:
    return isinstance(row, SagaCompensating) and path.startswith(f"{row.path}/")


def make_sagas(ledger: Ledger) -> Realm:  # noqa: C901  a list of handlers, none of which branches much
    """The handlers of the scenarios with sagas."""
    sagas = Realm("sagas")

    @sagas.handler
    async def trip(ctx: Context, given: dict[str, Any]) -> list[int]:
        """Three steps and one that is kept; the one named in `fails` acts and fails; `stuck` is not undone at once."""
        bodies, gained = Bodies(ledger, ctx), list[int]()
        async with ctx.saga("trip", undo_retry=TWICE) as saga:
            gained.append(await bodies.step(saga, "look", 0, undo=False))
            for number, name in enumerate(("flight", "hotel", "car"), 1):
                value = OSError("no luck") if given.get("fails") == name else number
                failures = given.get("failures", 0) if given.get("stuck") == name else 0
                ctx.emit("books", name)
                gained.append(await bodies.step(saga, name, value, failures=failures))
            await ctx.step("inside", bodies.do("inside", 1, undoable=False))
            if given.get("fails") == "block":
                raise ValueError("changed my mind")
        ctx.emit("booked")
        await ctx.step("after", bodies.do("after", 1, undoable=False))
        return gained

    @sagas.handler
    async def waiting(ctx: Context, given: dict[str, Any]) -> str:
        """Waits in its block for a signal that comes, or does not."""
        bodies = Bodies(ledger, ctx)
        try:
            async with ctx.saga("order", undo_retry=TWICE) as saga:
                await bodies.step(saga, "reserve", "shelf-3")
                await ctx.sleep(SOON)
                await ctx.wait_signal("go", type=int, timeout=timedelta(milliseconds=given["limit"]))
                await bodies.step(saga, "charge", 7)
        except TimeoutError as error:
            await ctx.step("apology", bodies.do("apology", 1, undoable=False))
            return f"late: {error}"
        return "packed"

    @sagas.handler
    async def nested(ctx: Context, given: dict[str, Any]) -> str:
        """An inner saga that fails, one that does not, and then the outer one."""
        bodies = Bodies(ledger, ctx)
        async with ctx.saga("outer", undo_retry=TWICE) as outer:
            await bodies.step(outer, "first", 1)
            try:
                async with outer.saga("bad") as bad:
                    await bodies.step(bad, "a", 2)
                    await bodies.step(bad, "b", LookupError("nothing"))
            except StepFailed:
                ctx.emit("again")
            async with outer.saga("good") as good:
                await bodies.step(good, "a", 3)
                await bodies.step(good, "b", 4, failures=1)
            await bodies.step(outer, "last", 5)
            raise ValueError("all in vain")
        return "never"

    @sagas.handler
    async def two(ctx: Context, given: dict[str, Any]) -> list[str]:
        """Two sagas side by side: one fails and is undone, the other goes on."""
        bodies, ends = Bodies(ledger, ctx), dict[str, str]()

        async def run(name: str, value: Any) -> None:
            try:
                async with ctx.saga("pair", key=name, undo_retry=TWICE) as saga:
                    await bodies.step(saga, "one", 1)
                    await bodies.step(saga, "two", value)
                    await ctx.sleep(SOON, key=name)
                    await bodies.step(saga, "three", 3)
                ends[name] = "done"
            except StepFailed as error:
                ends[name] = error.kind

        async with anyio.create_task_group() as group:
            group.start_soon(run, "x", 2)
            group.start_soon(run, "y", OSError("no luck"))
        return [f"{name} {ends[name]}" for name in sorted(ends)]

    @sagas.handler
    async def fan(ctx: Context, given: dict[str, Any]) -> None:
        """Steps side by side in one block; the one that fails cancels the others."""
        bodies = Bodies(ledger, ctx)
        try:
            async with ctx.saga("fan", undo_retry=TWICE) as saga, anyio.create_task_group() as group:
                for name in "abc":
                    group.start_soon(bodies.step, saga, name, OSError("no luck") if name == "b" else name)
        except ExceptionGroup:
            raise ValueError("fanned out") from None

    @sagas.handler(retry=TWICE)
    async def again(ctx: Context, given: dict[str, Any]) -> int:
        """Its second attempt comes to what the first one's saga failed with."""
        bodies = Bodies(ledger, ctx)
        async with ctx.saga("once", undo_retry=TWICE) as saga:
            await bodies.step(saga, "a", 1)
            await bodies.step(saga, "b", 2, failures=9)
            if ctx.attempt == 1:
                raise RuntimeError("the first time")
            await bodies.step(saga, "c", 3)
        return 1

    @sagas.handler
    async def scoped(ctx: Context, given: dict[str, Any]) -> str:
        """A cancel scope of its own around the block."""
        bodies = Bodies(ledger, ctx)
        try:
            with anyio.move_on_after(0.5):
                async with ctx.saga("scoped", undo_retry=TWICE) as saga:
                    await bodies.step(saga, "a", 1)
                    await anyio.sleep(5)
        except SagaFailed as error:
            return error.kind
        return "never"

    @sagas.handler(cleanup=timedelta(hours=1))  # an outage of the store is not to use it up
    async def cancelled(ctx: Context, given: dict[str, Any]) -> None:
        """Is cancelled in the body of its second step, in a wait behind that, or when it is being undone already."""
        bodies, kind = Bodies(ledger, ctx), given["kind"]
        reserve, charge = "order/reserve", "order/charge"
        lasts = 3_000 if kind == "body" else 0.01
        undo_lasts = 60 if kind == "undoing" else 0.01
        try:
            async with ctx.saga("order", undo_retry=TWICE) as saga:
                await saga.step("reserve", bodies.do(reserve, 1), undo=bodies.undo(reserve, failures=1))
                await anyio.sleep(0.001)
                await saga.step("charge", bodies.do(charge, 2, lasts=lasts), undo=bodies.undo(charge, lasts=undo_lasts))
                if kind == "wait":
                    await ctx.sleep(timedelta(days=1))
                raise ValueError("changed my mind")
        finally:
            await ctx.step("tidy", bodies.do("tidy", 1, undoable=False))

    return sagas
