"""The command line: `intendant load`, `intendant demo`. Imported only by the entry point.

Exit codes: 0 all is well · 1 the audit found something, or the command failed · 2 the call is wrong · 130 interrupted.
An error is one line on stderr; results go to stdout.
"""

from intendant.cli.app import main

__all__ = ["main"]
