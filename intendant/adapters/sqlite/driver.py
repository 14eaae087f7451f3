"""The little of apsw that queries use, with types: apsw's own say of a value only that it may be anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

Value = str | int | bytes | None
Row = tuple[Any, ...]  # the types of a row are those of its table


class Rows(Protocol):
    """The rows that a statement yields, in its order."""

    def __iter__(self) -> Iterator[Row]: ...

    def fetchall(self) -> list[Row]:
        """All of them, which ends the statement."""
        ...


class Connection(Protocol):
    """A connection, for one thread at a time."""

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        ...

    def execute(self, statements: str, bindings: Sequence[Value] | Mapping[str, Value] | None = None) -> Rows:
        """Run statements; what they are made from is prepared once and kept."""
        ...

    def executemany(self, statements: str, sequenceofbindings: Iterable[Sequence[Value]]) -> object:
        """Run a statement for each row of values."""
        ...

    def changes(self) -> int:
        """How many rows the last statement changed."""
        ...

    def pragma(self, name: str, value: Any = None) -> Any:
        """Read or set one of SQLite's settings."""
        ...

    def set_wal_hook(self, callable: Callable[[Any, str, int], int] | None) -> None:
        """Be told after each commit how many pages SQLite's log has."""
        ...

    def readonly(self, name: str) -> bool:
        """Whether a database can't be written."""
        ...

    def close(self) -> None:
        """Close it."""
        ...
