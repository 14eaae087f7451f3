"""Under what the verbs stand in `intendant --help`."""

from typing import Final

RUN: Final = "Run"
ACT: Final = "Look and act: on a runtime that runs, or a store at rest"
KEEP: Final = "Keep"
