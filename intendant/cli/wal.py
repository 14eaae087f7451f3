"""`intendant wal query|tail|replay`: the log, which is only read."""

from __future__ import annotations

import time
from typing import Annotated, Final

import msgspec
import typer

from intendant.cli.execution_report import what
from intendant.cli.exits import FAILED, OK
from intendant.cli.paging import print_page
from intendant.cli.printing import Column, clock, print_fields, print_json, short_clock, styled
from intendant.cli.source import Source, Where
from intendant.cli.times import time_of
from intendant.cli.verbs import Cursor, Json, Limit, Tenant, verb
from intendant.runtime.reports import Folded, RecordView
from intendant.runtime.requests import LIMIT_MAX, QueryLog, ReplayLog
from intendant.runtime.views import Page

app = typer.Typer(name="wal", help="The write-ahead log. It is only read.", no_args_is_help=True)

LOOK_SECONDS: Final = 0.3  # between two looks of `tail`
_COLUMNS: Final = (
    Column("record", right=True),
    Column("time"),
    Column("type"),
    Column("session", least=6),
    Column("execution", least=7, id=True),
    Column("what", least=12),
)
_Type = Annotated[str | None, typer.Option(metavar="TYPE", help="Records of one type, such as step_completed.")]
_Session = Annotated[str | None, typer.Option(metavar="SESSION", help="Records of one session.")]
_Execution = Annotated[str | None, typer.Option(metavar="EXECUTION", help="Records of one execution.")]


@verb(
    app,
    "query",
    help="List a tenant's records, [bold]the newest first[/].",
    examples="intendant wal query acme --type execution_failed --since 1d\n"
    "intendant wal query acme --execution 019a3f0c2b7d5e8890fe3b1c6a4d2e11 --oldest-first\n"
    "intendant wal query acme --since 2026-03-01T00:00Z --until 2026-03-02T00:00Z --json | jq '.items[].payload'",
)
def query(
    where: Where,
    tenant: Tenant,
    type: _Type = None,
    session: _Session = None,
    execution: _Execution = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="From then on: 30m, 2h, 7d, an ISO time.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Before then.")] = None,
    oldest_first: Annotated[bool, typer.Option("--oldest-first", help="The other way round.")] = False,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: Json = False,
) -> int:
    """`intendant wal query`."""
    begin, end = time_of("--since", since), time_of("--until", until)
    request = QueryLog(tenant, type, session, execution, begin, end, not oldest_first, limit, cursor)
    return print_page(where, request, RecordView, _COLUMNS, _row, as_json=as_json)


def _row(record: RecordView) -> list[object]:
    return [
        str(record.sequence), short_clock(record.time), record.type, record.session, record.execution, what(record),
    ]  # fmt: skip


@verb(
    app,
    "tail",
    help="Print a tenant's records [bold]as they come[/], one a line, until Ctrl-C.",
    examples="intendant wal tail acme\n"
    "intendant wal tail acme --type execution_failed --json\n"
    "intendant wal tail acme --after 0 --count 10",
    codes="Exit codes: 0 --count records were printed, 1 the runtime ended, 2 wrong usage, 130 interrupted.",
)
def tail(
    where: Where,
    tenant: Tenant,
    type: _Type = None,
    session: _Session = None,
    execution: _Execution = None,
    after: Annotated[
        int | None, typer.Option(min=0, metavar="RECORD", help="Those behind this sequence. Without it: new ones.")
    ] = None,
    count: Annotated[int, typer.Option(min=0, metavar="N", help="End after so many; 0: never.")] = 0,
    as_json: Json = False,
) -> int:
    """`intendant wal tail`."""
    source = where.source()
    place = _end(source, tenant) if after is None else after
    left = count
    while True:
        request = QueryLog(tenant, newest_first=False, limit=LIMIT_MAX, cursor=str(place))
        page = msgspec.json.decode(source.ask(request), type=Page[RecordView])
        for record in page.items:
            place = record.sequence
            if _is_wanted(record, type, session, execution):
                _print_record(record, as_json=as_json)
                left -= 1
            if count and left <= 0:
                return OK
        if page.cursor is None:
            time.sleep(LOOK_SECONDS)


def _end(source: Source, tenant: str) -> int:
    newest = msgspec.json.decode(source.ask(QueryLog(tenant, limit=1)), type=Page[RecordView]).items
    return newest[0].sequence if newest else 0


def _is_wanted(record: RecordView, type: str | None, session: str | None, execution: str | None) -> bool:
    """Looked at here: so each look begins behind all that was seen, whatever of it was wanted."""
    wanted = ((type, record.type), (session, record.session), (execution, record.execution))
    return all(each is None or each == found for each, found in wanted)


def _print_record(record: RecordView, *, as_json: bool) -> None:
    if as_json:
        print_json(msgspec.json.encode(record))
        return
    whose = "/".join(filter(None, (record.session, record.execution)))
    typer.echo(f"{record.sequence:>8}  {clock(record.time)}  {record.type:<20}  {whose}  {what(record)}".rstrip())


@verb(
    app,
    "replay",
    help="Fold a tenant's records, or those of one execution, into [bold]the state that they lead to[/].\n\n"
    "It says what no correct log can hold. The whole store, with everything derived from it, is looked at by "
    "`archive verify` and `doctor`.",
    examples="intendant wal replay acme\n"
    "intendant wal replay acme --execution 019a3f0c2b7d5e8890fe3b1c6a4d2e11 --json | jq .execution.status",
    codes="Exit codes: 0 sound, 1 the log holds what it can't, or can't be read, 2 wrong usage, 130 interrupted.",
)
def replay(where: Where, tenant: Tenant, execution: _Execution = None, as_json: Json = False) -> int:
    """`intendant wal replay`."""
    answer = where.source().ask(ReplayLog(tenant, execution))
    folded = msgspec.json.decode(answer, type=Folded)
    if as_json:
        print_json(answer)
    else:
        _print_folded(folded)
    return FAILED if folded.violations else OK


def _print_folded(folded: Folded) -> None:
    statuses = ", ".join(f"{count:,} {status}" for status, count in folded.executions.items())
    fields = [
        ("records", f"{folded.records:,}, the last one {folded.last_sequence:,}"),
        ("sessions", f"{folded.sessions:,}"),
        ("executions", statuses or "none"),
        ("keys", f"{folded.keys:,}"),
        ("events", f"{folded.pending:,} pending, {folded.dead:,} dead letters"),
    ]
    if folded.execution is not None:
        fields = [fields[0], ("execution", folded.execution.id), ("type", folded.execution.type), fields[4]]
        print_fields([*fields, ("status", styled(folded.execution.status))])
    else:
        print_fields(fields)
    for each in folded.violations:
        typer.echo(f"wrong: {each}")
    if not folded.violations:
        typer.echo("sound")
