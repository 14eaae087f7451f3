"""Examples: each a small program on the public API of Intendant and nothing else."""
