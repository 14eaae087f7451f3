"""Makes the calls of a scenario."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import anyio

from intendant import (
    ActorStopped,
    CancelResult,
    ExecutionEnded,
    IntendantError,
    Intent,
    OutcomeUnknown,
    Runtime,
    SessionExists,
)
from tests.faults.calls import (
    Call,
    Cancel,
    CancelAll,
    Close,
    Follow,
    Fork,
    Many,
    Open,
    Refused,
    Result,
    SetData,
    SetExecution,
    Signal,
    Submit,
)
from tests.faults.ends import plain
from tests.faults.scenarios import Scenario
from tests.faults.told import Told

PATIENCE: Final = 3600.0  # virtual seconds: whatever takes longer hangs


class Driver:
    """Makes a scenario's calls. They may be made any number of times, over any number of lives."""

    def __init__(self, runtime: Runtime, told: Told) -> None:
        self.runtime = runtime
        self.told = told

    async def drive(self, scenario: Scenario) -> None:
        """Make all calls, then wait until everything has ended and every event is out."""
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as group:
                for calls in scenario.clients:
                    group.start_soon(self._client, calls)
            for tenant, key in list(self.told.executions):
                await self._result(tenant, key)
                await self._end_below(tenant, self.told.executions[tenant, key])
            for tenant in sorted({tenant for tenant, _ in self.told.sessions}):
                while await self.runtime.outbox.pending(tenant):  # noqa: ASYNC110  virtual time, and no event to wait for
                    await anyio.sleep(0.05)

    async def _client(self, calls: tuple[Call, ...]) -> None:
        for call in calls:
            await self._perform(call)

    async def _perform(self, call: Call) -> None:  # noqa: C901  one case for each kind of call
        match call:
            case Open(tenant, session, user, must_be_new):
                if must_be_new:
                    with contextlib.suppress(SessionExists):  # by an earlier life
                        await self.runtime.create_session(tenant, session, user_id=user)
                else:
                    await self.runtime.open_session(tenant, session, user_id=user)
                self.told.sessions.add((tenant, session))
            case Submit():
                execution = await self.runtime.session(call.tenant, call.session).submit(
                    call.type, call.parameters, idempotency_key=call.key
                )
                self.told.accept(call.tenant, call.key, execution.id)
            case Many(intents):
                await self._many(intents)
            case SetData(tenant, session, version):
                state, known = self.runtime.state, self.told.data.get((tenant, session), version)
                if known > version:  # a client that begins anew sets older ones again
                    self.told.data[tenant, session] = version
                await self._set(lambda: state.set_session(tenant, session, {"version": version}))
                self.told.data[tenant, session] = version
            case SetExecution(tenant, key, data):
                state, id = self.runtime.state, self.told.executions[tenant, key]
                await self._set(lambda: state.set_execution(tenant, id, data))
            case Close(tenant, session):
                await self.runtime.session(tenant, session).close()
                self.told.closed.add((tenant, session))
            case Result(tenant, key):
                await self._result(tenant, key)
            case Signal():
                await self._signal(call)
            case Follow(tenant, key):
                execution = self.runtime.execution(tenant, self.told.executions[tenant, key])
                found = [(each.kind, each.name) async for each in execution.events()]
                self.told.streams[tenant, execution.id] = found
            case Cancel():
                await self._cancel(call)
            case CancelAll():
                await self._cancel_all(call)
            case Fork():
                await self._fork(call)
            case Refused(refused, code):
                await self._refused(refused, code)

    async def _set(self, call: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await call()
            except (
                ActorStopped,
                OutcomeUnknown,
            ):  # the log's writer has crashed: whether it was set is not known, and it may be again
                await anyio.sleep(0.1)
            else:
                return

    async def _many(self, intents: tuple[Submit, ...]) -> None:
        session = self.runtime.session(intents[0].tenant, intents[0].session)
        executions = await session.submit_many(
            [Intent(each.type, each.parameters, idempotency_key=each.key) for each in intents]
        )
        for intent, execution in zip(intents, executions, strict=True):
            self.told.accept(intent.tenant, intent.key, execution.id)

    async def _result(self, tenant: str, key: str) -> None:
        outcome = await self.runtime.execution(tenant, self.told.executions[tenant, key]).outcome(timeout=PATIENCE)
        self.told.end(tenant, key, plain(outcome))

    async def _end_below(self, tenant: str, execution: str) -> None:
        for child in await self.runtime.execution(tenant, execution).children():
            await self.runtime.execution(tenant, child.execution).outcome(timeout=PATIENCE)
            await self._end_below(tenant, child.execution)

    async def _signal(self, call: Signal) -> None:
        execution = self.runtime.execution(call.tenant, self.told.executions[call.tenant, call.key])
        try:
            await execution.signal("go", call.payload, id=call.id)
        except ExecutionEnded:
            if not call.late:
                raise
        else:
            self.told.signals.add((call.tenant, execution.id, call.id))

    async def _cancel(self, call: Cancel) -> None:
        execution = self.runtime.execution(call.tenant, self.told.executions[call.tenant, call.key])
        if call.after:
            await self._recorded(call.tenant, execution.id, call.after, call.records)
        answer = await execution.cancel()
        if not call.either and answer not in {CancelResult.REQUESTED, CancelResult.CANCELLED}:
            self.told.violations.append(f"{call} came to {answer}")
        self.told.cancel(call.tenant, execution.id, answer)

    async def _cancel_all(self, call: CancelAll) -> None:
        ids = {self.told.executions[call.tenant, key] for key in call.keys}
        for id in ids:
            await self._recorded(call.tenant, id, "timer_set")
        if call.session:
            answers = await self.runtime.session(call.tenant, call.session).cancel()
        else:
            answers = await self.runtime.cancel_tenant(call.tenant)
        for id in ids:  # what an earlier life cancelled may have ended
            self.told.cancel(call.tenant, id, answers.get(id, CancelResult.CANCELLED))

    async def _fork(self, call: Fork) -> None:
        origin = self.runtime.execution(call.tenant, self.told.executions[call.tenant, call.key])
        await self._recorded(call.tenant, origin.id, call.after)
        fork = await origin.fork(call.step, idempotency_key=call.new)
        self.told.accept(call.tenant, call.new, fork.id)

    async def _recorded(self, tenant: str, execution: str, type: str, records: int = 1) -> None:
        query = partial(self.runtime.wal.query, tenant, type=type, execution=execution, limit=records)
        while len((await query()).items) < records:  # noqa: ASYNC110  virtual time, and no event to wait for
            await anyio.sleep(0.001)

    async def _refused(self, call: Call, code: str) -> None:
        try:
            await self._perform(call)
        except IntendantError as error:
            if error.code != code:
                raise
        else:
            self.told.violations.append(f"{call} was to be refused with {code}")
