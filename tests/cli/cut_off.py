"""`python -m tests.cli.cut_off SIGNAL BATCH SECONDS migrate ...`: the command, which sends itself a signal on its way.

From the BATCH-th batch for the target on, after so many seconds, or at the latest some batches later: on a machine that
has much to do a timer may come after the end.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any, Final

from intendant.cli import main
from intendant.runtime.packing import Packing

LATEST: Final = 10  # batches after that


def cut_off(number: int, batch: int, seconds: float) -> None:
    """Send this process the signal once it has come so far."""
    seal, left = Packing.sealed, [batch]
    timer = threading.Timer(seconds, os.kill, (os.getpid(), number))

    def sealed(packing: Packing, *rest: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            timer.start()
        elif left[0] == -LATEST and not timer.finished.is_set():
            timer.cancel()
            os.kill(os.getpid(), number)
        return seal(packing, *rest)

    setattr(Packing, "sealed", sealed)  # noqa: B010  it is no method of ours to replace, for the type checkers


if __name__ == "__main__":
    cut_off(signal.Signals[sys.argv[1]], int(sys.argv[2]), float(sys.argv[3]))
    main(sys.argv[4:])
