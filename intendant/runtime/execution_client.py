"""What is asked of one execution from outside: signals, queries, how far it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import msgspec

from intendant.actors.messages import Describe, Progress
from intendant.domain.codec import encode_value
from intendant.domain.errors import ActorStopped, ExecutionEnded, OutcomeUnknown, UnknownExecution
from intendant.domain.ids import check_id, make_id
from intendant.domain.state import ExecutionState
from intendant.runtime.engine import Engine
from intendant.runtime.intent import check_timeout, seconds_of
from intendant.runtime.surface import StateSurface
from intendant.runtime.wal import WalReader


class ExecutionClient:
    """Where handles of executions ask. `serving` returns the engine, or raises when calls are not served.

    `now` is the time in µs since 1970 UTC; `timeout` is how many seconds a call waits that does not say.
    """

    def __init__(
        self,
        serving: Callable[[], Engine],
        state: StateSurface,
        wal: WalReader,
        now: Callable[[], int],
        timeout: float,
    ) -> None:
        self._serving = serving
        self._state = state
        self._wal = wal
        self._now = now
        self._timeout = timeout

    async def progress(self, tenant: str, id: str, timeout: float) -> Progress | None:
        """Ask a running execution's actor where it is; None when no handler of it runs here."""
        ref = self._serving().partition(tenant).executions.ref(tenant, id)
        if ref is None:
            return None
        try:
            return await ref.ask(Describe, timeout=check_timeout(timeout, finite=True))
        except ActorStopped:
            return None  # it came to its end meanwhile

    async def signal(
        self, tenant: str, id: str, name: str, payload: object, given_id: str | None, timeout: float | None
    ) -> None:
        """Send a signal to an execution; `Execution.signal` is the door to it."""
        check_id(name, "signal name")
        signal_id = make_id(self._now()) if given_id is None else check_id(given_id, "signal id")
        encoded = encode_value(payload, f"the payload of signal {name!r}")
        seconds = seconds_of(timeout, self._timeout)
        engine = self._serving()
        partition = engine.partition(tenant)
        try:
            with anyio.fail_after(seconds):
                sent = await engine.persist(
                    partition, lambda _left: partition.calls.signal(tenant, id, name, signal_id, encoded), seconds
                )
        except TimeoutError:
            again = (
                f"no answer whether signal {name!r} was received; send it again with id={signal_id!r}, which is safe"
            )
            raise OutcomeUnknown(signal_id, signal_id, again) from None
        if not sent:
            state = await self._ended(tenant, id)
            if given_id is None or not await self._was_received(tenant, state, signal_id):
                raise ExecutionEnded(id, state.status)

    async def query(self, tenant: str, id: str, name: str, type: Any, timeout: float | None) -> Any:
        """Ask an execution's handler; `Execution.query` is the door to it."""
        check_id(name, "query name")
        seconds = seconds_of(timeout, self._timeout)
        engine = self._serving()
        partition = engine.partition(tenant)
        with anyio.fail_after(seconds):
            answer = await engine.persist(partition, lambda _left: partition.calls.query(tenant, id, name), seconds)
        if answer is None:
            raise ExecutionEnded(id, (await self._ended(tenant, id)).status)
        return msgspec.msgpack.decode(answer, type=type)

    async def _ended(self, tenant: str, id: str) -> ExecutionState:
        state = await self._state.tracked_execution(tenant, id)
        if state is None:
            raise UnknownExecution(id)
        return state

    async def _was_received(self, tenant: str, state: ExecutionState, signal_id: str) -> bool:
        """Whether the log has the signal: it is sent again after its execution has ended."""
        cursor: str | None = None
        while True:
            page = await self._wal.query(tenant, type="signal_received", execution=state.id, limit=1_000, cursor=cursor)
            if any(each.payload["id"] == signal_id for each in page.items):
                return True
            if page.cursor is None:
                return False
            cursor = page.cursor
