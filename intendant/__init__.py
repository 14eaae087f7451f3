"""Intendant: supervised actors with a durable log, embedded in a Python process."""
