"""What a session is created with, as a caller gives it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from msgspec import Struct

from intendant.domain.ids import check_id
from intendant.runtime.intent import check_concurrency, check_idle_timeout, check_metadata


class Opening(Struct, frozen=True):
    """Not checked yet."""

    user_id: str
    solution: str
    metadata: Mapping[str, Any] | None
    concurrency: int | None
    idle_timeout: timedelta | None

    def checked(self) -> tuple[str, str, dict[str, Any], int, int]:
        """As it is recorded. Raises InvalidIntent naming the field."""
        if self.user_id != "":
            check_id(self.user_id, "user_id")
        solution = check_id(self.solution, "solution")
        metadata = {} if self.metadata is None else check_metadata(self.metadata)
        concurrency = check_concurrency(self.concurrency)
        return self.user_id, solution, metadata, concurrency, check_idle_timeout(self.idle_timeout)
