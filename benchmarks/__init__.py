"""Benchmarks: what is timed, apart from the tests. Figures mean something only with the machine they were taken on."""
