import gc
import logging
from collections.abc import Iterator
from unittest.mock import Mock

import pytest

from intendant.supervisor import Backoff, Intensity
from intendant.supervisor.pace import Pace


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nobody waits before a restart, nothing in a runtime gives up, and a crash is forgotten after a tenth of a second.

    Crashes are not logged. The state writer waits neither for more to do nor for what a server may lose.
    What earlier tests have left is not looked through, over and over.
    """
    gc.collect()
    gc.freeze()
    endless = Intensity.unlimited(0.1)
    mock = Mock(return_value=endless, unlimited=Intensity.unlimited)

    def soon(*_args: object) -> float:
        return 0.0

    def at_once(_pace: Pace, now: float) -> float:
        return now

    monkeypatch.setattr(Backoff, "delay", soon)
    monkeypatch.setattr(Pace, "slot", at_once)
    monkeypatch.setattr("intendant.adapters.redis.server.EVERYSEC_LOSS_S", 0.0)
    monkeypatch.setattr("intendant.actors.state_writer.LINGER", 0.0)
    monkeypatch.setattr("intendant.runtime.tree.Intensity", mock)
    monkeypatch.setattr("intendant.runtime.partition.Intensity", mock)
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
