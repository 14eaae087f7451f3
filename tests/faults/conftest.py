"""The stage of the fault tests: scenarios as data, a way to run them that may be cut off anywhere, and what must hold.

Everything runs in memory and in virtual time, on asyncio and on trio, so that a run takes milliseconds and the n-th
commit is the same one each time.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import anyio.to_thread
import pytest

from tests.faults.scenarios import SCENARIOS, Scenario
from tests.faults.stage import Stage
from tests.faults.virtual_time import BACKENDS, Backend, run_here


@pytest.fixture(params=BACKENDS, scope="module")
def backend(request: pytest.FixtureRequest) -> Backend:
    chosen: Backend = request.param
    return chosen


@pytest.fixture(params=SCENARIOS, ids=lambda scenario: scenario.name, scope="module")
def scenario(request: pytest.FixtureRequest) -> Scenario:
    chosen: Scenario = request.param
    return chosen


@pytest.fixture
def stage(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setattr(anyio.to_thread, "run_sync", run_here)
    logging.disable(logging.CRITICAL)  # crashes are what happens here
    yield Stage(backend)
    logging.disable(logging.NOTSET)
