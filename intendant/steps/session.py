"""The session of a handler: which it is, and the state that its handlers share."""

from __future__ import annotations

from typing import Any, TypeVar, overload

from intendant.domain.errors import NotExclusive
from intendant.domain.shared_state import EMPTY, decode_shared, encode_shared
from intendant.steps.recording import Recording
from intendant.steps.steps import Steps

T = TypeVar("T")


class SharedState:
    """What the handlers of one session share: a mapping, or a struct, of up to 64 KiB encoded.

    All handlers may read it, and `exclusive` ones may set it. What was set becomes the session's state in the commit
    of the execution's completion, whole or not at all; an execution that fails, or is cancelled, sets nothing.

    As long as an execution is open its session's state does not change: an exclusive handler runs with nothing else of
    its session, from its first beginning to its end, whatever restarts lie in between. So at every resume a handler
    reads what it read before, and reading records nothing.
    """

    def __init__(self, recording: Recording, steps: Steps, type: str, *, exclusive: bool) -> None:
        self._recording = recording
        self._check_live = steps.check_live
        self._type = type
        self._exclusive = exclusive
        self._read: bytes | None = None  # as it is stored
        self._set: bytes | None = None

    @overload
    async def get(self) -> dict[str, Any]: ...
    @overload
    async def get(self, type: type[T]) -> T: ...
    async def get(self, type: Any = dict) -> Any:
        """The state as a `type`, by default as plain values: what this run has set, else what is stored.

        Each call gives a copy of its own. It is read from the hot store when it is first asked for; an outage is
        waited out. A session whose state was never set has an empty mapping. Raises InvalidValue when it does not fit
        `type`, Suspended.
        """
        if self._set is not None:
            return decode_shared(self._set, type)
        if self._read is None:
            self._check_live()
            cancellation = self._recording.cancellation
            read = self._recording.read_shared
            self._read = (await (read() if cancellation is None else cancellation.run(read, recorded=True))) or EMPTY
        return decode_shared(self._read, type)

    def set(self, value: object) -> None:
        """Set the state, whole, once this execution completes; setting it again replaces it.

        Raises NotExclusive in a handler that was not registered with `exclusive=True`; InvalidValue for what is no
        mapping or struct, can't be encoded, or is over 64 KiB: keep large content as files.
        """
        self._check_live()
        if not self._exclusive:
            raise NotExclusive(self._type)
        self._set = encode_shared(value)

    @property
    def changed(self) -> bytes | None:
        """What is to be stored; None when that is what is stored already, or nothing was set."""
        return None if self._set == self._read else self._set


class HandlerSession:
    """The session that an execution belongs to. As text it is its id."""

    __slots__ = ("id", "state")

    def __init__(self, id: str, state: SharedState) -> None:
        self.id = id
        self.state = state

    def __str__(self) -> str:
        return self.id

    def __repr__(self) -> str:
        return f"<HandlerSession {self.id}>"
