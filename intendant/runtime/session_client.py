"""What is asked of one session from outside: to be opened, to be closed, what it is, what its handlers share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

from intendant.actors.messages import Close, Open, SessionMessage
from intendant.domain.errors import OutcomeUnknown, UnknownSession
from intendant.domain.ids import check_id, make_id
from intendant.domain.shared_state import EMPTY, decode_shared
from intendant.domain.state import SessionState
from intendant.parking import Reply
from intendant.runtime.engine import Engine
from intendant.runtime.intent import seconds_of
from intendant.runtime.opening import Opening
from intendant.runtime.surface import StateSurface
from intendant.runtime.views import SessionView

T = TypeVar("T")


class SessionClient:
    """Where handles of sessions ask. `serving` returns the engine, or raises when calls are not served.

    `now` is the time in µs since 1970 UTC; `timeout` is how many seconds a call waits that does not say.
    """

    def __init__(
        self, serving: Callable[[], Engine], state: StateSurface, now: Callable[[], int], timeout: float
    ) -> None:
        self._serving = serving
        self._state = state
        self._now = now
        self._timeout = timeout

    async def open(
        self, tenant: str, id: str | None, opening: Opening, timeout: float | None, *, must_be_new: bool
    ) -> str:
        """Get a session, or create it; its id. Raises as `Runtime.open_session` and `create_session`."""
        self._serving()
        check_id(tenant, "tenant")
        session = make_id(self._now()) if id is None else check_id(id, "session")
        checked = opening.checked()
        creation = make_id(self._now())

        def question(reply: Reply[SessionState]) -> SessionMessage:
            return Open(creation, *checked, must_be_new, reply)

        try:
            await self._ask(tenant, session, question, timeout)
        except TimeoutError:
            again = f"no answer whether session {session!r} was opened; open_session with that id is safe"
            raise OutcomeUnknown(session, session, again) from None
        return session

    async def close(self, tenant: str, id: str) -> None:
        """Let a session take no more intents. Raises UnknownSession, OutcomeUnknown."""
        try:
            await self._ask(tenant, id, Close, None)
        except TimeoutError:
            raise OutcomeUnknown(id, id, f"no answer whether session {id!r} was closed; close it again") from None

    async def view(self, tenant: str, id: str) -> SessionView:
        """What is known of a session. Raises UnknownSession."""
        self._serving()
        view = await self._state.session(tenant, id)
        if view is None or not view.tracked:
            raise UnknownSession(id)
        return view

    async def shared_state(self, tenant: str, id: str, type: Any) -> Any:
        """What a session's handlers share. Raises UnknownSession."""
        self._serving()
        body = await self._state.shared_state(tenant, id)
        if body is None:
            await self.view(tenant, id)  # raises when there is none
        return decode_shared(body or EMPTY, type)

    def _ask(
        self, tenant: str, session: str, question: Callable[[Reply[T]], SessionMessage], timeout: float | None
    ) -> Awaitable[T]:
        engine, seconds = self._serving(), seconds_of(timeout, self._timeout)
        partition = engine.partition(tenant)
        return engine.persist(partition, partial(partition.sessions.ask, tenant, session, question), seconds)
