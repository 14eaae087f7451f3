"""The command line, told in docs/cli.md. Imported only by the entry point.

Exit codes: 0 done · 1 something was found, refused, or failed · 2 the call is wrong · 130 interrupted.
An error is one line on stderr; results go to stdout.
"""

from intendant.cli.app import main

__all__ = ["main"]
