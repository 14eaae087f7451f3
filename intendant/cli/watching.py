"""`intendant ps`: asks once and prints, or asks again each second and keeps the screen."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from intendant.cli.asking import Silent, ask, choose, directory
from intendant.cli.exits import OK, USAGE, Refusal
from intendant.cli.tree_table import show
from intendant.runtime.control import Answer
from intendant.runtime.observer import View

REFRESH_SECONDS: Final = 1.0
_WATCHED_MAX: Final = 500  # executions: more than any screen has lines


def ps(wanted: str | None, view: View, *, at: Path | None, as_json: bool, watch: bool) -> int:
    """Show a runtime's tree. Returns the exit code; raises Refusal, KeyboardInterrupt when it was watched."""
    found = choose(directory(at), wanted)
    if as_json:
        print(msgspec.json.encode(ask(found, view)).decode())  # noqa: T201  this is the command line
        return OK
    console = Console()
    if not watch:
        console.print(show(ask(found, view), console.width), highlight=False)
        return OK
    if not console.is_terminal:
        raise Refusal("--watch needs a terminal; for programs there is --json", USAGE)
    view = msgspec.structs.replace(view, limit=min(view.limit, _WATCHED_MAX))
    answer, since = ask(found, view), time.monotonic()
    silent = 0.0  # seconds: what is shown is so old
    with Live(console=console, screen=True, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            live.update(_screen(answer, console, silent), refresh=True)
            time.sleep(REFRESH_SECONDS)
            try:
                answer, since, silent = ask(found, view), time.monotonic(), 0.0
            except Silent:  # the very moment to go on watching
                silent = time.monotonic() - since


def _screen(answer: Answer, console: Console, silent: float) -> Group:
    if not silent:
        return show(answer, console.width, console.height)
    told = Text(f"no answer for {silent:.0f} s: something holds its event loop. This is how it was before:", "bold red")
    return Group(told, show(answer, console.width, console.height - 1))
