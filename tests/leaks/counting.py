"""What there is before and after: tasks, threads, files, objects of ours, and memory."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, Final

import anyio
from msgspec import Struct
from msgspec.structs import astuple

from intendant.adapters.memory import MemoryColdStore, MemoryStore
from intendant.adapters.redis.pool import Lane
from intendant.domain.ports import ColdStore, Store
from intendant.supervisor.child import Child
from intendant.supervisor.dynamic import _Record as DynamicRecord  # pyright: ignore[reportPrivateUsage]
from tests.infrastructure.tier import STRESS

ROUNDS: Final = 5 if STRESS else 3
RSS_MAX: Final = 1.05  # of what it was after the second round, and a little for what the interpreter keeps
RSS_SLACK: Final = 2 << 20  # bytes
STORED_MAX: Final = 1.25  # what something stored takes, of the sum of its parts
SETTLED_MAX: Final = 5.0  # seconds
OURS: Final = tuple(f"intendant.{name}" for name in ("actors", "parking", "runtime", "steps", "supervisor", "context"))
TESTS: Final = "tests.leaks"
COME_AND_GO: Final = ("Worker", "_AsyncioParking", "_TrioParking")  # as many as there is work for at the moment
_give_back: Final[Callable[[int], int]] = getattr(ctypes.CDLL(None), "malloc_trim", lambda _kept: 0)  # glibc has it
_NOT_DATA: Final = (type, ModuleType, FunctionType, BuiltinFunctionType)


def alive() -> Counter[str]:
    """What there is of our classes and of tests'; tasks but workers, which come and go; threads; files but connections
    that wait in a pool, of which there are a few, as many as were needed at one time.

    Not what remembered crashes hold: up to five of each child are kept, with the frames of their tracebacks, and how
    many of those that went down with a writer crashed on their way is chance.
    """
    for each in gc.get_objects():
        if isinstance(each, Child | DynamicRecord) and each.crashes:
            each.crashes.clear()
    gc.collect()
    kinds: list[type[Any]] = [type(each) for each in gc.get_objects()]
    counts = Counter(kind.__qualname__ for kind in kinds if str(kind.__module__).startswith((*OURS, TESTS)))
    for name in COME_AND_GO:
        del counts[name]
    counts["tasks"] = sum(not (task.name or "").endswith("worker") for task in anyio.get_running_tasks())
    counts["threads"] = sum(not each.name.startswith("AnyIO worker") for each in threading.enumerate())
    pooled = sum(len(each._idle) for each in gc.get_objects() if isinstance(each, Lane))  # pyright: ignore[reportPrivateUsage]
    counts["files"] = len(list(Path("/proc/self/fd").iterdir())) - pooled
    return counts


async def settled(before: Counter[str] | None) -> Counter[str]:
    """Count until there is no more than before; where nothing was before, until it is as at the last look."""
    last = now = alive()
    with anyio.move_on_after(SETTLED_MAX):
        while before is None or now - before:  # nobody tells
            await anyio.sleep(0.05)
            last, now = now, alive()
            if before is None and now == last:
                break
    return now


def held_by(*stores: Store | ColdStore) -> int:
    """The bytes that are stored in this very process: they grow with what is done, and are no leak."""
    size = 0
    seen: set[int] = set()
    todo: list[object] = [store for store in stores if isinstance(store, MemoryColdStore)]
    todo += [store.log(0).shared.partition for store in stores if isinstance(store, MemoryStore)]
    while todo:
        one = todo.pop()
        if id(one) not in seen and not isinstance(one, _NOT_DATA):
            seen.add(id(one))
            size += sys.getsizeof(one)
            # a struct that the collector does not follow tells it of no field
            todo += astuple(one) if isinstance(one, Struct) else gc.get_referents(one)
    return size


def rss() -> int:
    """Bytes in memory, without what the allocator keeps for later: counting what is stored leaves it much of that."""
    _give_back(0)
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def rounds(do: Callable[[int], Awaitable[None]], stored: Callable[[], int] = lambda: 0) -> None:
    """Do it again and again; from the second time on all counts must stay.

    So must RSS at the full counts, but for the `stored` bytes that came.
    """
    counts: list[Counter[str]] = []
    sizes: list[int] = []
    held: list[int] = []
    for number in range(ROUNDS):
        await do(number)
        counts.append(await settled(counts[1] if number > 1 else None))
        sizes.append(rss())
        held.append(stored())
    print(f"\n{ROUNDS} rounds: RSS {_mib(sizes)} MiB, stored in it {_mib(held)} MiB, alive {sum(counts[-1].values())}")
    for later in counts[2:]:
        more = later - counts[1]
        assert not more, f"more than there was: {more}"
    may_grow = RSS_SLACK + (held[-1] - held[1]) * STORED_MAX
    assert STRESS < 1 or sizes[-1] <= sizes[1] * RSS_MAX + may_grow, sizes


def _mib(sizes: list[int]) -> list[int]:
    return [size >> 20 for size in sizes]
