"""A process that owns a store and writes to it until it is killed. Says what was acknowledged, line by line.

    python owner_process.py FILE LEASE STOP_AT

Prints "owned EPOCH NEXT", then "acked SEQUENCE" for each batch; "fenced" and ends when it is not the owner any more.
Before the batch at sequence STOP_AT it stops itself, as a machine does that was suspended.
"""

from __future__ import annotations

import os
import signal
import sys

import anyio

from intendant.adapters.process import current_owner
from intendant.adapters.sqlite import SqliteStore
from intendant.domain.commit import AddToIndex, AppendJournal, ClaimKey, PutDocument, Verdict
from intendant.testing.conformance.pen import Pen, commit


async def main(path: str, lease: float, stop_at: int) -> None:
    store = SqliteStore(path)
    await store.open()
    log = store.log(0)
    pen = Pen(log, await log.acquire(current_owner(), timeout=5, lease=lease))
    print("owned", pen.tenure.epoch, pen.next, flush=True)
    while True:
        number = str(pen.next)
        if pen.next == stop_at:
            os.kill(os.getpid(), signal.SIGSTOP)
        body = number.encode() * 50
        batch = pen.seal(
            commit("t", PutDocument("c", number, body), ClaimKey(number, body), AddToIndex("i", number)),
            commit("u", PutDocument("c", number, body), AppendJournal(number, body)),
        )
        verdict = await pen.send(batch)
        if verdict is not Verdict.OK:
            print("fenced" if verdict is Verdict.FENCED else verdict, flush=True)
            return
        print("acked", batch.first, flush=True)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
