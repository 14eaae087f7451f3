"""How a command ends."""

from __future__ import annotations

from typing import Final

OK: Final = 0
FAILED: Final = 1  # the audit found something, or the command could not do its work
USAGE: Final = 2
INTERRUPTED: Final = 130


class Refusal(Exception):
    """The command can't go on. The message is one line that says what to do; no traceback follows."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code
