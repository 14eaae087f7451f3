"""For tests of adapters, and of programs on this runtime: conformance suites, virtual time, stores that fail by plan.

Knows `domain` and the store in memory; the driver of nothing. Import `context` from here, else from the modules:

    conformance   what every adapter must pass
    context       a Context for unit tests of handlers, given the results of steps
    faults        FaultyStore: crash and fail at chosen commits
    clock         virtual time for asyncio and trio
"""

from intendant.testing.unit_context import Recorded, UnitContext, context

__all__ = ["Recorded", "UnitContext", "context"]
