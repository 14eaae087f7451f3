"""A store that fails for good, when it is told to."""

from __future__ import annotations

from intendant import InternalError
from intendant.adapters.memory import MemoryStore
from intendant.domain.commit import Batch, KeysTaken, Verdict


class Spoilt(MemoryStore):
    """A store whose log can be made to fail for good."""

    def __init__(self) -> None:
        super().__init__()
        self.spoilt = False
        log = self.log(0)
        commit = log.commit

        async def commit_or_fail(batch: Batch) -> Verdict | KeysTaken:
            if self.spoilt:
                raise InternalError("the disk is gone")
            return await commit(batch)

        log.commit = commit_or_fail  # type: ignore[method-assign]
