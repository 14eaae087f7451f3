"""`intendant backup`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import unquote

import msgspec
import typer
from msgspec import Struct
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from intendant.adapters.files import copy_directory
from intendant.adapters.sqlite.backup import back_up
from intendant.adapters.urls import without_secrets
from intendant.cli.exits import FAILED, OK, USAGE, Refusal
from intendant.cli.panels import KEEP
from intendant.cli.places import Places
from intendant.cli.urls import hot_of
from intendant.cli.verbs import Json, verb
from intendant.runtime.config import resolve_files
from intendant.runtime.configuration import files_beside

_SERVERS: Final = """\
No backup was made: {hot} is a server, which has its own ways.

Exactly, with a proof, while no runtime runs on it:
  intendant migrate --from {hot} {from_cold}--from-files file:/srv/files --to sqlite:{file}

While runtimes work, cold state first, then the hot store, then the files:
{cold}  redis-cli -u {hot} --rdb {file}
  cp -a /srv/files {file}.files
Start the servers on the copies, and ask `intendant archive verify` before a runtime: what was archived between the
two copies is missing in cold state, and is told. Then say `intendant doctor`.
"""
_COLD: Final = (
    "  arangodump --server.endpoint http+tcp://HOST:8529 --server.database DATABASE --output-directory {file}.cold\n"
)


class Backup(Struct, frozen=True):
    """What --json prints."""

    hot: str
    file: str
    bytes: int
    files: int


def mount(app: typer.Typer) -> None:
    """Make it a command of `app`."""
    verb(
        app,
        "backup",
        panel=KEEP,
        help="Copy a SQLite store, [bold]while a runtime works on it[/], into a file, and its files beside that.\n\n"
        "The copy is of the moment in which it began, is checked, and belongs to nobody: a runtime may start on it. Of "
        "Redis and ArangoDB it prints how it is done there, and fails.",
        examples="intendant backup /backups/monday.db\n"
        "intendant backup /backups/monday.db --hot sqlite:work.db --json\n"
        "intendant backup /backups/monday.db --hot redis://localhost --cold arangodb://localhost/work",
        codes="Exit codes: 0 a backup was made, 1 none was made, 2 wrong usage, 130 interrupted: none was made.",
    )(backup)


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The copy. It must not be there.")],
    places: Places,
    as_json: Json = False,
) -> int:
    """`intendant backup`."""
    url, cold = places.hot_url, places.cold
    store = hot_of("--hot", url, there=True)
    if not url.startswith("sqlite:"):
        shown, colds = without_secrets(url), _COLD.format(file=file) if cold else ""
        from_cold = f"--from-cold {without_secrets(cold)} " if cold else ""
        sys.stdout.write(_SERVERS.format(hot=shown, file=file, from_cold=from_cold, cold=colds))
        return FAILED
    source, content = _path(store.name), files_beside(store.name, resolve_files("default", places.files))
    if not file.parent.is_dir():
        raise Refusal(f"the directory {file.parent} does not exist", USAGE)
    beside = file.with_name(file.name + ".files")
    if beside.exists() or file.exists():
        raise Refusal(f"{file if file.exists() else beside} is there already; name another file", USAGE)
    made = _made(source, file, _path(content), beside)
    if as_json:
        typer.echo(msgspec.json.encode(made).decode())
    else:
        also = f", and {made.files:,} files in {beside}" if made.files else ""
        typer.echo(f"{made.file}: {made.bytes:,} bytes{also}")
    return OK


def _made(source: Path, file: Path, content: Path, beside: Path) -> Backup:
    """The files after the log: what the copy names was there when it began."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task("log and documents", total=None)
        size = back_up(source, file, lambda done, total: bar.update(task, completed=done, total=total))
        task = bar.add_task("files", total=None)
        count = copy_directory(content, beside, lambda done: bar.update(task, completed=done))
    return Backup(f"sqlite:{source}", str(file), size, count)


def _path(url: str) -> Path:
    return Path(unquote(url.partition(":")[2].partition("?")[0]))
