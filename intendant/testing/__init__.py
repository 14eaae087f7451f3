"""For tests of adapters, and of programs on this runtime: conformance suites, virtual time, stores that fail by plan.

Knows `domain` and the store in memory; the driver of nothing. Only `runtime`, and what it is made of, knows more.
Import `context` from here, else from the modules; pytest's fixture `runtime` is there without an import.

    conformance   what every adapter must pass
    context       a Context for unit tests of handlers, given the results of steps
    runtime       a runtime that has stubs of steps, dies where it is told, and goes on: what the fixture gives
    history       the log of an execution, as assertions ask it
    replays       every handler run again after each of its records
    faults        FaultyStore: crash and fail at chosen commits
    around        StoreAround, LogAround: stand between a runtime and its store
    clock         virtual time for asyncio and trio
"""

from intendant.testing.unit_context import Recorded, UnitContext, context

__all__ = ["Recorded", "UnitContext", "context"]
