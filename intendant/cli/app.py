"""The commands and their options. What they do is imported when they are called, so that --help comes at once."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from intendant.cli import (
    archive,
    backup,
    config,
    doctor,
    erase,
    executions,
    migrate,
    outbox,
    panels,
    ps,
    replay,
    run,
    sessions,
    tenants,
    tokens,
    wal,
)
from intendant.cli.backend import Backend
from intendant.cli.exits import FAILED, INTERRUPTED, OK, USAGE, Refusal
from intendant.cli.logs import library_log
from intendant.domain.errors import IntendantError

# The base of typer's errors about a call; which module has it depends on typer's version.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]

app = typer.Typer(
    name="intendant",
    help="Supervised actors with a durable log, embedded in Python: run them, look into them, act on them, keep them.",
    epilog="Exit codes: 0 done, 1 something was found, refused, or failed, 2 wrong usage, 130 interrupted.",
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code."""
    sys.exit(_run(arguments))


def _run(arguments: list[str] | None) -> int:
    try:
        code: Any = app(args=arguments, prog_name="intendant", standalone_mode=False)
        return code if isinstance(code, int) else OK
    except _UsageError as error:
        return _complain(_usage(error), USAGE)
    except Refusal as error:
        return _complain(str(error), error.code)
    except IntendantError as error:
        return _complain(str(error), FAILED)
    except (KeyboardInterrupt, typer.Abort):
        return _complain("interrupted", INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()  # nobody reads: nothing to say, and nothing to say it to
        return FAILED


def _usage(error: Any) -> str:
    """What is wrong with the call, and where to read more."""
    command = error.ctx.command_path if getattr(error, "ctx", None) else "intendant"
    problem = error.format_message().replace("Value error, ", "").rstrip(".?")
    return f"{problem}; see {command} --help"


def _complain(message: str, code: int) -> int:
    print("intendant:", " ".join(message.split()), file=sys.stderr)  # noqa: T201  this is the command line
    return code


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"intendant {version('intendant')}, Python {sys.version.split()[0]}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _intendant(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        context.get_help()
        raise typer.Exit


_WORK = "The work"
_STORES = "Where it is done"
_OUTPUT = "What is shown"


@app.command(
    rich_help_panel=panels.RUN,
    help="Run many intents at once, then [bold]audit the log[/] against what the callers were told.\n\n"
    "Callers submit one intent after the other and wait for its result. In the end the whole stored log is read: every "
    "intent that was told accepted, and every outcome, must stand in it once. That is what 'lost' and 'duplicated' "
    "count. Ctrl-C stops, and audits what was accepted until then.",
    epilog="[bold]Examples[/]\n"
    "  intendant load\n"
    "  intendant load --intents 50000 --callers 512 --backend uvloop\n"
    "  intendant load --hot sqlite:work.db --steps 3 --fail-rate 0.1\n"
    "  intendant load --hot redis://localhost --cold arangodb://root:pw@localhost/work\n"
    "  intendant load --hot memory: --json | jq .per_second\n\n"
    "Exit codes: 0 sound, 1 the audit found something or the run failed, 2 wrong usage, 130 interrupted.",
)
def load(
    intents: Annotated[int, typer.Option(min=1, metavar="N", help="Intents in all.", rich_help_panel=_WORK)] = 10_000,
    sessions: Annotated[
        int, typer.Option(min=1, metavar="N", help="Sessions that share them.", rich_help_panel=_WORK)
    ] = 100,
    callers: Annotated[
        int,
        typer.Option(min=1, metavar="N", help="Callers at a time, each waiting for its result.", rich_help_panel=_WORK),
    ] = 64,
    steps: Annotated[
        int, typer.Option(min=0, metavar="N", help="Recorded steps of each execution.", rich_help_panel=_WORK)
    ] = 0,
    tenants: Annotated[
        int, typer.Option(min=1, metavar="N", help="Tenants that own the sessions.", rich_help_panel=_WORK)
    ] = 1,
    thread_steps: Annotated[
        bool, typer.Option("--thread-steps", help="Steps are plain functions in threads.", rich_help_panel=_WORK)
    ] = False,
    fail_rate: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, metavar="0..1", help="Fraction of handlers that raise.", rich_help_panel=_WORK),
    ] = 0.0,
    payload: Annotated[
        int,
        typer.Option(
            min=0,
            max=60_000,
            metavar="BYTES",
            help="Size of each intent's parameters, up to 60000.",
            rich_help_panel=_WORK,
        ),
    ] = 0,
    result: Annotated[
        int,
        typer.Option(
            min=0,
            max=8_000_000,
            metavar="BYTES",
            help="One more step of each execution, whose result has this size; kept as a file when it is over 64 KiB.",
            rich_help_panel=_WORK,
        ),
    ] = 0,
    timeout: Annotated[
        float,
        typer.Option(min=0.1, metavar="SECONDS", help="How long a caller waits for an answer.", rich_help_panel=_WORK),
    ] = 60.0,
    hot: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Hot store: memory:, sqlite:FILE (made if missing), redis://HOST. Without it: a SQLite file, removed "
            "afterwards.",
            rich_help_panel=_STORES,
        ),
    ] = None,
    cold: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Cold store: memory:, arangodb://HOST/DATABASE.", rich_help_panel=_STORES),
    ] = None,
    files: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Where results over 64 KiB lie, such as file:/directory. Without it: beside a SQLite file.",
            rich_help_panel=_STORES,
        ),
    ] = None,
    backend: Annotated[Backend, typer.Option(help="Event loop.", rich_help_panel=_STORES)] = Backend.ASYNCIO,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.", rich_help_panel=_OUTPUT)] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Log to stderr, with tracebacks.", rich_help_panel=_OUTPUT)
    ] = False,
) -> int:
    """`intendant load`."""
    from intendant.cli import loading  # noqa: PLC0415  a command imports what it needs when it is called
    from intendant.cli.load import Plan  # noqa: PLC0415

    plan = Plan(
        intents=intents,
        sessions=sessions,
        callers=callers,
        steps=steps,
        tenants=tenants,
        thread_steps=thread_steps,
        fail_rate=fail_rate,
        payload=payload,
        result=result,
        timeout=timeout,
    )
    with library_log(verbose=verbose):
        return loading.load(plan, hot=hot, cold=cold, files=files, backend=backend.value, as_json=as_json)


@app.command(
    rich_help_panel=panels.RUN,
    help="Analyse a folder of documents, with the working process [bold]killed half way[/], and write a report.\n\n"
    "Four realms profile, assess, plan and report. Half way the worker gets a real SIGKILL; the next one opens the "
    "same store and goes on, and what was recorded is not done again. A second run does only what changed.",
    epilog="[bold]Examples[/]\n"
    "  intendant demo\n"
    "  intendant demo ~/projects/website --out report\n"
    "  intendant demo --no-crash\n\n"
    "Exit codes: 0 done, 1 it failed, 2 wrong usage, 130 interrupted.",
)
def demo(
    folder: Annotated[
        Path | None,
        typer.Argument(help="What to analyse. Without it: this project, and the running Python's library."),
    ] = None,
    no_crash: Annotated[bool, typer.Option("--no-crash", help="Leave out the kill half way.")] = False,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the reports go.")] = Path("demo-report"),
) -> int:
    """`intendant demo`."""
    from intendant.cli.showing import demo  # noqa: PLC0415  a command imports what it needs when it is called

    return demo(folder, crash=not no_crash, out=out)


run.mount(app)
ps.mount(app)
erase.mount(tenants.app, sessions.app)
for group in (tenants.app, sessions.app, executions.app, wal.app, outbox.app):
    app.add_typer(group, rich_help_panel=panels.ACT)
doctor.mount(app)
app.add_typer(config.app, rich_help_panel=panels.KEEP)
app.add_typer(tokens.app, rich_help_panel=panels.KEEP)
backup.mount(app)
migrate.mount(app)
app.add_typer(archive.app, name="archive", rich_help_panel=panels.KEEP)
replay.mount(app)
