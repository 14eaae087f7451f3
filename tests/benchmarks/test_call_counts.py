"""How many calls of the runtime's own functions one execution costs: a figure that does not hang on the machine.

It counts what is called and resumed, not what that takes; `make profile` shows where the time goes.
"""

from __future__ import annotations

import pytest

from benchmarks.costs import count_calls

KEPT = {0: 174.8, 3: 377.0}  # by number of steps
LEEWAY = 0.03


@pytest.mark.parametrize("steps", sorted(KEPT))
def test_an_execution_costs_as_many_calls_as_before(steps: int) -> None:
    calls, kept = count_calls(steps, 64, 1_280), KEPT[steps]
    assert abs(calls - kept) <= LEEWAY * kept, (
        f"an execution of {steps} steps makes {calls:.1f} calls, where it made {kept:.1f}: "
        "if that is meant, say why in the commit and change KEPT"
    )
