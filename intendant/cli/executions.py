"""`intendant executions list|show|cancel|retry|fork|signal`: the options."""

from __future__ import annotations

import sys
from typing import Annotated, Final

import msgspec
import typer

from intendant.cli.execution_report import print_report
from intendant.cli.exits import OK, USAGE, Refusal
from intendant.cli.paging import print_page
from intendant.cli.printing import Column, ago, between, print_json, styled
from intendant.cli.source import Where
from intendant.cli.times import time_of
from intendant.cli.verbs import Cursor, Json, Limit, Tenant, Timeout, verb
from intendant.domain.state import Status
from intendant.runtime.reports import Begun, Cancelled
from intendant.runtime.requests import (
    SECONDS,
    CancelExecution,
    ForkExecution,
    ListExecutions,
    RetryExecution,
    ShowExecution,
    SignalExecution,
)
from intendant.runtime.views import ExecutionView

app = typer.Typer(name="executions", help="What concerns executions.", no_args_is_help=True)

_Execution = Annotated[str, typer.Argument(metavar="EXECUTION", help="The execution's id.")]
_Key = Annotated[
    str | None,
    typer.Option(metavar="KEY", help="An idempotency key of the new one: repeated, it is the same execution."),
]
_COLUMNS = (
    Column("execution"),
    Column("status"),
    Column("type", least=12),
    Column("session", least=8),
    Column("age", right=True),
    Column("took", right=True),
)
_CODES: Final = "Exit codes: 0 done, 1 refused, or there is no such execution, 2 wrong usage, 130 interrupted."


@verb(
    app,
    "list",
    help="List a tenant's executions, [bold]the newest first[/].",
    examples="intendant executions list acme --status failed --since 2h\n"
    "intendant executions list acme --type shop.pay --session desk-1 --json | jq '.items[].id'\n"
    "intendant executions list acme --hot sqlite:work.db --limit 500",
)
def list_executions(
    where: Where,
    tenant: Tenant,
    status: Annotated[
        Status | None, typer.Option(metavar="STATUS", help=f"Those that are {', '.join(Status)}: one of these.")
    ] = None,
    type: Annotated[str | None, typer.Option(metavar="REALM.NAME", help="Those of one intent type.")] = None,
    session: Annotated[str | None, typer.Option(metavar="SESSION", help="Those of one session.")] = None,
    solution: Annotated[str | None, typer.Option(metavar="NAME", help="Those of one solution.")] = None,
    parent: Annotated[str | None, typer.Option(metavar="EXECUTION", help="Children of one execution.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Accepted then or later: 30m, 2h, 7d, 2026-03-01T12:00Z.")
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: Json = False,
) -> int:
    """`intendant executions list`."""
    wanted = None if status is None else status.value
    begun = time_of("--since", since)
    request = ListExecutions(tenant, wanted, type, session, solution, parent, begun, limit, cursor)
    return print_page(where, request, ExecutionView, _COLUMNS, _row, as_json=as_json)


def _row(view: ExecutionView) -> list[object]:
    took = between(view.accepted_at, view.ended_at)
    return [view.id, styled(view.status), view.type, view.session, ago(view.accepted_at), took]


@verb(
    app,
    "show",
    help="Show an execution: its state, parameters and result, sagas, children, and [bold]its records[/].",
    examples="intendant executions show acme 019a3f0c2b7d5e8890fe3b1c6a4d2e11\n"
    "intendant executions show acme 019a3f0c2b7d5e8890fe3b1c6a4d2e11 --json | jq .execution.error",
)
def show(where: Where, tenant: Tenant, execution: _Execution, as_json: Json = False) -> int:
    """`intendant executions show`."""
    answer = where.source().ask(ShowExecution(tenant, execution))
    (print_json if as_json else print_report)(answer)
    return OK


@verb(
    app,
    "cancel",
    help="Cancel executions: [bold]each can only end cancelled[/] from then on.\n\n"
    "Handlers may clean up before they end; sagas are undone. One that has ended stays as it is, and is told. A "
    "runtime must run.",
    examples="intendant executions cancel acme 019a3f0c2b7d5e8890fe3b1c6a4d2e11\n"
    "intendant executions list acme --status waiting --json | jq -r '.items[].id' | xargs intendant executions cancel "
    "acme",
    codes=_CODES,
)
def cancel(
    where: Where,
    tenant: Tenant,
    executions: Annotated[list[str], typer.Argument(metavar="EXECUTION", help="One or more, by their ids.")],
    timeout: Timeout = SECONDS,
    as_json: Json = False,
) -> int:
    """`intendant executions cancel`."""
    source, refused = where.source(), list[Refusal]()
    for each in executions:
        try:
            answer = source.order(CancelExecution(tenant, each, timeout))
        except Refusal as refusal:  # the others are cancelled all the same
            refused.append(refusal)
            continue
        if as_json:
            print_json(answer)
        else:
            typer.echo(f"{each} {_came_to(msgspec.json.decode(answer, type=Cancelled))}")
    if refused:
        more = f", and {len(refused) - 1} more were refused" if refused[1:] else ""
        raise Refusal(f"{refused[0]}{more}", refused[0].code)
    return OK


def _came_to(told: Cancelled) -> str:
    return "is being cancelled" if told.result == "requested" else f"had ended before: {told.result}"


@verb(
    app,
    "retry",
    help="Run an intent [bold]once more, from the beginning[/], whose execution failed or was cancelled.\n\n"
    "A new execution of the same session, with the same parameters and the newest version of the handler. Nothing that "
    "was recorded comes along: `fork` does that. Retried again, it is the same one; retry that when it "
    "fails as well. A runtime must run.",
    examples="intendant executions retry acme 019a3f0c2b7d5e8890fe3b1c6a4d2e11",
    codes=_CODES,
)
def retry(
    where: Where,
    tenant: Tenant,
    execution: _Execution,
    key: _Key = None,
    timeout: Timeout = SECONDS,
    as_json: Json = False,
) -> int:
    """`intendant executions retry`."""
    return _begun(where.source().order(RetryExecution(tenant, execution, key, timeout)), as_json=as_json)


@verb(
    app,
    "fork",
    help="Start a new execution that [bold]goes on from what another one recorded[/] before a step.\n\n"
    "The other one may be open or have ended, and is not changed. The steps are listed by `executions show`. A runtime "
    "must run.",
    examples="intendant executions fork acme 019a3f0c2b7d5e8890fe3b1c6a4d2e11 charge\n"
    "intendant executions fork acme 019a3f0c2b7d5e8890fe3b1c6a4d2e11 place/charge --key repair-1",
    codes=_CODES,
)
def fork(
    where: Where,
    tenant: Tenant,
    execution: _Execution,
    step: Annotated[str, typer.Argument(metavar="STEP", help="The path of the step that is run anew, with the rest.")],
    key: _Key = None,
    timeout: Timeout = SECONDS,
    as_json: Json = False,
) -> int:
    """`intendant executions fork`."""
    return _begun(where.source().order(ForkExecution(tenant, execution, step, key, timeout)), as_json=as_json)


def _begun(answer: bytes, *, as_json: bool) -> int:
    if as_json:
        print_json(answer)
    else:
        typer.echo(msgspec.json.decode(answer, type=Begun).execution)
    return OK


@verb(
    app,
    "signal",
    help="Send a signal to an execution, for what its handler waits for or will wait for.\n\n"
    "It is durable when this returns. With an --id, sending it again does nothing. A runtime must run.",
    examples="intendant executions signal acme 019a3f0c2b7d5e8890fe3b1c6a4d2e11 packed\n"
    'intendant executions signal acme 019a3f0c2b7d5e8890fe3b1c6a4d2e11 packed \'{"by": "ada"}\' --id packed-1\n'
    "intendant executions signal acme 019a3f0c2b7d5e8890fe3b1c6a4d2e11 packed - < packed.json",
    codes=_CODES,
)
def signal(
    where: Where,
    tenant: Tenant,
    execution: _Execution,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The signal's name.")],
    payload: Annotated[str, typer.Argument(metavar="JSON", help="Its payload; - reads it from stdin.")] = "null",
    id: Annotated[str | None, typer.Option(metavar="ID", help="Tells repetitions from another signal.")] = None,
    timeout: Timeout = SECONDS,
    as_json: Json = False,
) -> int:
    """`intendant executions signal`."""
    value = _decoded(sys.stdin.read() if payload == "-" else payload)
    answer = where.source().order(SignalExecution(tenant, execution, name, value, id, timeout))
    if as_json:
        print_json(answer)
    else:
        typer.echo(f"{execution} has received {name}")
    return OK


def _decoded(payload: str) -> object:
    try:
        return msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise Refusal(f"the payload is no JSON: {error}; a text needs its quotes: '\"text\"'", USAGE) from None
