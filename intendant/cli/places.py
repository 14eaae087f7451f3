"""The stores that a command works on, where it takes no running runtime."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from intendant.cli.options import Options
from intendant.runtime.config import hot_url

_PANEL: Final = "Where it is done"


class Places(Options, frozen=True):
    """URLs as they were given."""

    hot: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Hot store: sqlite:FILE, redis://... Without it INTENDANT_HOT, or sqlite:intendant.db.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    cold: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Cold store, if there is one. Without it INTENDANT_COLD.", rich_help_panel=_PANEL
        ),
    ] = None
    files: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Where files lie: file:/DIRECTORY. Without it INTENDANT_FILES, or beside a SQLite file.",
            rich_help_panel=_PANEL,
        ),
    ] = None

    @property
    def hot_url(self) -> str:
        """The hot store that is meant."""
        return hot_url(self.hot)
