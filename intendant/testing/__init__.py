"""For tests of adapters, and of programs on this runtime: conformance suites, virtual time, stores that fail by plan.

Knows `domain` and the store in memory; the driver of nothing. Import from the modules:

    conformance   what every adapter must pass
    faults        FaultyStore: crash and fail at chosen commits
    clock         virtual time for asyncio and trio
"""
