"""The files of a handler: content that is too large for a value."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from intendant.domain.errors import InvalidValue
from intendant.domain.ports import FileStore
from intendant.domain.state import FileReference
from intendant.steps.recording import Recording
from intendant.steps.steps import Steps

T = TypeVar("T")


class Files:
    """Content that is too large for a value, kept by tenant and digest."""

    def __init__(self, tenant: str, session: str, store: FileStore | None, steps: Steps, recording: Recording) -> None:
        self._tenant = tenant
        self._session = session
        self._store = store
        self._check_live = steps.check_live
        self._recording = recording

    async def put(self, filename: str, content: bytes, metadata: dict[str, Any] | None = None) -> FileReference:
        """Keep content; it is durable when this returns. Keep the reference in a step's result or an artifact.

        The same content twice is kept once, so that running again at a resume costs nothing but time.
        """
        if not isinstance(content, bytes):  # pyright: ignore[reportUnnecessaryIsInstance]  # not every caller checks types
            raise InvalidValue("content", f"must be bytes, not {type(content).__name__}; encode text first")
        self._check_live()
        store = self._opened()
        key = await self._durably(lambda: store.put(self._tenant, content))
        return FileReference(
            reference=key,
            tenant=self._tenant,
            session=self._session,
            location=f"files:{key}",
            filename=filename,
            metadata=metadata or {},
            digest=key,
            size=len(content),
        )

    async def get(self, reference: FileReference) -> bytes | None:
        """The content of a reference, or None if it is not there any more."""
        store = self._opened()
        return await self._durably(lambda: store.get(self._tenant, reference.digest))

    async def _durably(self, call: Callable[[], Awaitable[T]]) -> T:
        cancellation = self._recording.cancellation
        return await (call() if cancellation is None else cancellation.run(call, recorded=True))

    def _opened(self) -> FileStore:
        if self._store is None:
            raise InvalidValue("files", "this context has no file store; pass files=MemoryFileStore()")
        return self._store
