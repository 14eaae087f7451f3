"""What a step's function sees of its attempt."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from msgspec import Raw

from intendant.domain.codec import decode_plain, encode_value
from intendant.domain.payloads import NOTHING


class Step:
    """One attempt at a step: handed to a function whose first parameter is annotated `Step`.

    `idempotency_key` is the same at every attempt, also in another process: give it to whatever must act only once.
    `fence` is higher at every attempt than at any before, of any step: give it to whatever must refuse one that was
    left behind. `attempt` counts from 1; one that the process's death cut off is not counted. `undoes` is, in an undo,
    the idempotency key of the step that is undone; else empty.
    """

    def __init__(
        self, idempotency_key: str, fence: int, attempt: int, progress: Raw, on_beat: Callable[[], None]
    ) -> None:
        self.idempotency_key = idempotency_key
        self.fence = fence
        self.attempt = attempt
        self.undoes = ""
        self._progress = progress
        self._on_beat = on_beat
        self._thread = threading.get_ident()

    @property
    def progress(self) -> Any:
        """What `heartbeat` was last told, by this attempt or the failed one before it, as plain data; else None."""
        return decode_plain(self._progress)

    def heartbeat(self, progress: object = None) -> None:
        """Say that the attempt is alive: its time limit `heartbeat=` begins anew. Also from a worker thread.

        `progress` is kept with this attempt's failure, for the next attempt to go on from; the death of the process
        loses it. Raises InvalidValue when it can't be encoded or takes more than 64 KiB.
        """
        encoded = Raw(encode_value(progress, "progress"))
        if threading.get_ident() == self._thread:
            self._beat(encoded)
        else:
            from anyio import from_thread  # noqa: PLC0415  needed in threads only, and it imports much

            from_thread.run_sync(self._beat, encoded)

    @property
    def recorded_progress(self) -> Raw:
        """The progress as it is recorded."""
        return self._progress

    def _beat(self, progress: Raw) -> None:
        if progress != NOTHING:
            self._progress = progress
        self._on_beat()
