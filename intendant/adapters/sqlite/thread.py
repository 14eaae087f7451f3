"""A thread of our own, and the way to it and back: one hop a piece of work.

Work goes in through a queue and is done in the order it came. Results are left in a deque, and the event loop is woken
once for all that lie there, so that many small reads at once cost one wake-up. Whoever stops waiting changes nothing:
the work is done all the same.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

import anyio

from intendant.domain.errors import StoreUnavailable, WrongThread
from intendant.parking import Reply, Seam

T = TypeVar("T")


class StoreThread:
    """One thread that serves the event loop it was started from.

    A daemon, so that a program which ends without `stop` ends; what was submitted before is done first.
    """

    def __init__(self, name: str, seam: Seam) -> None:
        self.name = name
        self.seam = seam
        self._jobs: SimpleQueue[tuple[Reply[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._results: deque[tuple[Reply[Any], Any, BaseException | None]] = deque()
        self._waking = False
        self._stopped = False
        self._forked = False
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()
        _threads.add(self)
        atexit.register(self._end)

    def submit(self, work: Callable[[], T]) -> Reply[T]:
        """Have `work` done in the thread; the reply is settled on the loop.

        Raises StoreUnavailable when the thread was stopped, WrongThread in a forked child.
        """
        if self._forked:
            raise WrongThread(
                f"{self.name} was opened before process {os.getpid()} was forked and can't be used in it; "
                "open the store anew in the child, or start the child with the spawn method"
            )
        if self._stopped:
            raise StoreUnavailable(f"{self.name} is not open; nothing was read or written")
        reply: Reply[T] = Reply()
        self._jobs.put((reply, work))
        return reply

    async def run(self, work: Callable[[], T]) -> T:
        """Have `work` done in the thread and return what it returns, or raise what it raises.

        A cancelled call has its work done all the same.
        """
        return await self.submit(work).wait(self.seam)

    async def stop(self, work: Callable[[], object]) -> None:
        """Let everything submitted end, then `work`, then the thread. A second call does nothing."""
        if self._stopped or self._forked:
            return
        last = self.submit(work)
        self._stopped = True
        self._jobs.put(None)
        atexit.unregister(self._end)
        with anyio.CancelScope(shield=True):
            await last.wait(self.seam)
        self._thread.join()

    def forbid(self) -> None:
        """Refuse everything from now on: this is a forked child, where the thread does not exist."""
        self._forked = True

    def _end(self) -> None:
        if self._forked:
            return
        self._stopped = True
        self._jobs.put(None)
        self._thread.join()

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            reply, work = job
            try:
                self._results.append((reply, work(), None))
            except BaseException as error:
                self._results.append((reply, None, error))
            del job, reply, work  # nothing of it is to live while the thread waits
            self._wake()

    def _wake(self) -> None:
        # Appending comes before this look, and in `_settle` lowering the flag comes before taking: no result is missed.
        if not self._waking:
            self._waking = True
            try:
                self.seam.call_soon(self._settle)
            except RuntimeError:  # the loop has ended, nobody waits any more
                self._waking = False

    def _settle(self) -> None:
        self._waking = False
        while self._results:
            reply, value, error = self._results.popleft()
            if error is None:
                reply.set(value)
            else:
                reply.fail(error)


_threads: weakref.WeakSet[StoreThread] = weakref.WeakSet()


def _forbid_all() -> None:
    for thread in list(_threads):
        thread.forbid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forbid_all)
