"""How tests run that does not show in them: on trio as programs do, and over a heap of their own."""

from __future__ import annotations

import gc
import inspect
from collections.abc import Generator
from functools import partial

import pytest
import trio
from anyio.pytest_plugin import extract_backend_and_options


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Modules and thousands of collected tests stay until the end: no collection of garbage is to go through them."""
    collected = yield
    gc.collect()
    gc.freeze()
    return collected


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test on trio with `trio.run`, as programs do.

    anyio runs it as a guest of a loop that is none, where each wait is a thread's: what async fixtures need. Tests with
    one of those, and tests by Hypothesis, are left to anyio.
    """
    backend, test = pyfuncitem.funcargs.get("anyio_backend"), pyfuncitem.obj
    if backend is None or not inspect.iscoroutinefunction(test) or hasattr(test, "hypothesis"):
        return None
    name, options = extract_backend_and_options(backend)
    if name != "trio" or trio.lowlevel.in_trio_run():  # begun by a fixture
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(test).parameters}
    trio.run(partial(test, **arguments), **options)
    return True
