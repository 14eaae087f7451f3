"""The conformance suite of `Log` and `Store`: each promise of their docstrings, as a function.

Every check wants an empty place to itself. A place is told by a function that opens a store there:

    @asynccontextmanager
    async def open_store() -> AsyncGenerator[Store]:
        store = SqliteStore(path)
        await store.open()
        try:
            yield store
        finally:
            await store.close()

With pytest, parametrize a test over `LOG_CHECKS`; without, `await check_log(new_place)` runs them all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from intendant.testing.conformance.commits import COMMIT_CHECKS
from intendant.testing.conformance.model import a_random_life_follows_the_model
from intendant.testing.conformance.ownership import OWNERSHIP_CHECKS
from intendant.testing.conformance.promise import BrokenPromise, LogCheck, OpenStore
from intendant.testing.conformance.reads import READ_CHECKS
from intendant.testing.conformance.trims import TRIM_CHECKS

LOG_CHECKS: Final[Sequence[LogCheck]] = (
    *READ_CHECKS,
    *COMMIT_CHECKS,
    *TRIM_CHECKS,
    *OWNERSHIP_CHECKS,
    a_random_life_follows_the_model,
)


async def check_log(new_place: Callable[[], OpenStore], checks: Sequence[LogCheck] = LOG_CHECKS) -> None:
    """Run checks, each in a new, empty place. Raises BrokenPromise, naming the check, at the first one that fails."""
    for check in checks:
        try:
            await check(new_place())
        except Exception as error:
            name = getattr(check, "__name__", repr(check)).replace("_", " ")
            raise BrokenPromise(f"{name}: {type(error).__name__}: {error}") from error
