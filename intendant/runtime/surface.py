"""The state surface: the one door to session and execution state and to file references, hot first, then cold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import anyio
import msgspec
from msgspec import Raw

from intendant.domain import state as states
from intendant.domain.codec import encode_value
from intendant.domain.commit import Commit, PutDocument
from intendant.domain.errors import ActorStopped, InvalidIntent, InvalidValue, OutcomeUnknown
from intendant.domain.ids import check_id
from intendant.domain.payloads import StateSet
from intendant.domain.records import Record
from intendant.domain.state import FileReference, decode_file
from intendant.runtime.partition import Partition
from intendant.runtime.state_reader import StateReader


class StateSurface(StateReader):
    """Reads what the runtime tracks, which no caller writes, and holds the user's own document beside it."""

    def __init__(self, partition_of: Callable[[str], Partition], timeout: float) -> None:
        super().__init__(partition_of)
        self._partition_of = partition_of
        self._timeout = timeout

    async def set_session(self, tenant: str, id: str, data: Mapping[str, Any]) -> None:
        """Set the user's document of a session, whole; durable when this returns. At most 64 KiB."""
        await self._set(tenant, states.SESSION_DATA, check_id(id, "session"), _mapping(data), session=id)

    async def set_execution(self, tenant: str, id: str, data: Mapping[str, Any]) -> None:
        """Set the user's document of an execution, whole; durable when this returns. At most 64 KiB."""
        await self._set(tenant, states.EXECUTION_DATA, check_id(id, "execution"), _mapping(data), execution=id)

    async def set_file(self, file: FileReference) -> None:
        """Keep a file reference; one of the same tenant and name is replaced."""
        if not isinstance(file, FileReference):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
            raise InvalidIntent("file", f"must be a FileReference, not {type(file).__name__}")
        check_id(file.tenant, "tenant")
        check_id(file.session, "session")
        reference = check_id(file.reference, "reference")
        try:
            decode_file(encode_value(file, "file"))  # what could not be read back is not written
        except (msgspec.ValidationError, InvalidValue) as error:
            raise InvalidIntent("file", str(error).removeprefix("file: ")) from error
        await self._set(file.tenant, states.FILES, reference, file, session=file.session)

    async def _set(
        self, tenant: str, collection: str, key: str, value: object, *, session: str = "", execution: str = ""
    ) -> None:
        check_id(tenant, "tenant")
        body = encode_value(value, "data")
        partition = self._partition_of(tenant)
        record = Record("state_set", session, execution, StateSet(collection, key, Raw(body)))
        commit = Commit(tenant, [record], [PutDocument(collection, key, body)])
        try:
            with anyio.fail_after(self._timeout):
                await partition.sweeper.may_change(tenant, key)
                await partition.commit(commit)
        except (TimeoutError, ActorStopped) as error:
            partition.check()
            raise OutcomeUnknown(key, key, f"it is not known whether {key!r} was set; set it again") from error


def _mapping(data: object) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        raise InvalidIntent("data", f"must be a mapping with text keys, not {type(data).__name__}")
    copy: dict[Any, Any] = dict(data)  # pyright: ignore[reportUnknownArgumentType]  # checked below
    for key in copy:
        if not isinstance(key, str):
            raise InvalidIntent("data", f"must have text keys; {key!r:.40} is {type(key).__name__}")
    return copy
