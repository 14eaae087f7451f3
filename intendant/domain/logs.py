"""What the log carries besides words: the same keys with every line of ours, and never what callers or handlers gave.

Ids and names of types, steps and files are told. Parameters, results, signals, states and the messages of exceptions
are not, because any of them may hold what nobody may read there; what an execution failed with is in its outcome.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from typing import Final

from intendant.domain.errors import (
    AcknowledgedDataMissing,
    Fenced,
    InternalError,
    PartitionOwned,
    StoreUnavailable,
)

LOGGERS: Final = (  # all of them are below `intendant`
    "intendant",
    "intendant.cold",
    "intendant.control",
    "intendant.erasure",
    "intendant.execution",
    "intendant.executions",
    "intendant.handler",
    "intendant.hot",
    "intendant.http",
    "intendant.outbox",
    "intendant.retention",
    "intendant.sessions",
    "intendant.timers",
    "intendant.wal",
    "intendant.watchdog",
)
KEYS: Final = ("tenant", "session", "execution", "step", "attempt")

_OF_STORES: Final = (AcknowledgedDataMissing, Fenced, InternalError, PartitionOwned, StoreUnavailable)


def about(
    tenant: str = "", session: str = "", execution: str = "", step: str = "", attempt: int = 0
) -> dict[str, str | int]:
    """The `extra` of a line: always the same keys, empty or 0 for what it is not about."""
    return {"tenant": tenant, "session": session, "execution": execution, "step": step, "attempt": attempt}


def told(error: BaseException) -> str:
    """An error as the log may have it: its type and where it was raised; its message if it is of a store of ours."""
    name = type(error).__qualname__
    if isinstance(error, _OF_STORES):
        return f"{name}: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    return f"{name} at {frames[-1].filename}:{frames[-1].lineno} in {frames[-1].name}" if frames else name


def trace_of(error: BaseException) -> str:
    """The stacks of an error and what caused it, the cause first, each as `told`."""
    chain = list(_causes(error))
    return "\n".join(f"{''.join(traceback.format_tb(each.__traceback__))}{told(each)}" for each in reversed(chain))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
