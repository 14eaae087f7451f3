"""Who looks at single executions: told of each batch that touches theirs, at no cost to those nobody looks at."""

from __future__ import annotations

from collections.abc import Callable

from intendant.domain import state as states
from intendant.domain.commit import Batch

Call = Callable[[int, int | None], None]
"""Called with the first and the last sequence where something new may be; (0, None): anywhere."""


class Touched:
    """The watchers of a partition's executions. They must not raise."""

    def __init__(self) -> None:
        self._calls: dict[tuple[str, str], list[Call]] = {}
        self._next = 0  # the sequence behind what was told of; 0: nothing was

    def __len__(self) -> int:
        return sum(map(len, self._calls.values()))

    def watch(self, tenant: str, execution: str, call: Call) -> None:
        """Call after every batch that has records of this execution, and when that may have been missed."""
        self._calls.setdefault((tenant, execution), []).append(call)

    def forget(self, tenant: str, execution: str, call: Call) -> None:
        """Do not call any more."""
        calls = self._calls.get((tenant, execution), [])
        if call in calls:
            calls.remove(call)
        if not calls:
            self._calls.pop((tenant, execution), None)

    def committed(self, batch: Batch) -> None:
        """Each record of an execution comes with a row of its journal, or changes its document.

        Of a batch that landed while its writer crashed nobody is told; the next one shows that by where it begins.
        """
        expected, self._next = self._next, batch.first + batch.count
        if not self._calls:
            return
        if batch.first != expected:
            self.missed()
            return
        touched = {(tenant, execution) for tenant, execution, *_ in batch.journal}
        touched |= {(put[0], put[2]) for put in batch.puts if put[1] == states.EXECUTIONS}
        touched |= {(tenant, key) for tenant, collection, key in batch.deletes if collection == states.EXECUTIONS}
        for key in touched & self._calls.keys():
            self._tell(key, batch.first, batch.first + batch.count - 1)

    def missed(self) -> None:
        """Nobody knows what was committed meanwhile, or whether anything will be."""
        for key in list(self._calls):
            self._tell(key, 0, None)

    def _tell(self, key: tuple[str, str], first: int, last: int | None) -> None:
        for call in list(self._calls.get(key, ())):
            call(first, last)
