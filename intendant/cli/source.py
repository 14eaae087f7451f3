"""Where a command gets its answers: from a runtime through its control socket, or from a store at rest."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Protocol, TypeVar
from urllib.parse import unquote

import anyio
import typer

from intendant.adapters.urls import open_store, without_secrets
from intendant.cli.asking import ask, choose, directory, running
from intendant.cli.exits import FAILED, USAGE, Refusal
from intendant.cli.options import Options
from intendant.domain.errors import IntendantError, InvalidIntent, InvalidValue, PartitionOwned
from intendant.runtime.at_rest import StoreAtRest
from intendant.runtime.config import hot_url
from intendant.runtime.control import encoded
from intendant.runtime.control_place import Found
from intendant.runtime.reports import Waits
from intendant.runtime.requests import ORDERS, QUESTIONS, SECONDS, RetryEvents

T = TypeVar("T")

_PANEL: Final = "Where: a runtime that runs here, or else a store at rest"
MARGIN: Final = 5.0  # seconds that a runtime has beyond what a request itself may take


class Source(Protocol):
    """Answers requests, as JSON."""

    @property
    def name(self) -> str:
        """What is asked, for people."""
        ...

    def ask(self, question: QUESTIONS) -> bytes:
        """Read. Raises Refusal."""
        ...

    def order(self, order: ORDERS) -> bytes:
        """Change something. Raises Refusal, also when this can't."""
        ...


class Where(Options, frozen=True):
    """Where to look, as it was said."""

    runtime: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A runtime by its name or process id, asked through its control socket. Without it: the only one that "
            "runs.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    at: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Where control sockets lie, if not at the default place.", rich_help_panel=_PANEL
        ),
    ] = None
    hot: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="A store instead: sqlite:FILE, redis://HOST. Without it, if no runtime runs: INTENDANT_HOT, or "
            "sqlite:intendant.db.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    cold: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The store's cold store. Without it: INTENDANT_COLD.", rich_help_panel=_PANEL),
    ] = None

    def source(self) -> Source:
        """The runtime that was named, or the only one that runs; else the store. Raises Refusal."""
        place = directory(self.at)
        if self.runtime is not None or self.at is not None:
            if self.hot is not None:
                raise Refusal("--hot names a store, --runtime and --at a runtime: say one of them", USAGE)
            return Live(choose(place, self.runtime))
        if self.hot is None and (found := running(place)):
            return Live(found[0] if len(found) == 1 else choose(place, None))
        return AtRest(self)

    @property
    def hot_url(self) -> str:
        """The hot store that is meant."""
        return hot_url(self.hot)

    def store(self) -> StoreAtRest:
        """The store, not opened yet. Raises Refusal when there can't be one."""
        url = self.hot_url
        if url.startswith("memory:"):
            raise Refusal("a store in memory is in the process that made it; name another one with --hot", USAGE)
        if not _is_there(url):
            missing = f"there is no store {without_secrets(url)}"
            if self.hot is None:
                missing = f"no runtime with a control socket runs, and {missing}"
            raise Refusal(f"{missing}; name one with --hot, or start a runtime with `intendant run`", USAGE)
        return StoreAtRest(hot=url, cold=self.cold)


class Live:
    """A runtime, through its control socket."""

    def __init__(self, found: Found) -> None:
        self.name = f"runtime {found.runtime}, process {found.pid}"
        self._found = found

    def ask(self, question: QUESTIONS) -> bytes:
        """See `Source.ask`."""
        return bytes(ask(self._found, question, SECONDS + MARGIN).value)

    def order(self, order: ORDERS) -> bytes:
        """See `Source.order`."""
        return bytes(ask(self._found, order, getattr(order, "timeout", SECONDS) + MARGIN).value)


class AtRest:
    """A store, read as it is; a runtime may work on it."""

    def __init__(self, where: Where) -> None:
        self._shown = without_secrets(where.hot_url)
        self._store = where.store()
        self.name = f"{self._shown}, as it is stored"

    def ask(self, question: QUESTIONS) -> bytes:
        """See `Source.ask`."""

        async def answer() -> Any:
            async with self._store.reading() as reading:
                return await question.answer(reading)

        return encoded(_run(answer))

    def order(self, order: ORDERS) -> bytes:
        """See `Source.order`."""
        if isinstance(order, RetryEvents):
            return encoded(_run(partial(self._retry, order)))
        for holding in _run(self._store.holder):
            if holding is not None:
                raise Refusal(f"{self._owned(holding.owner.pid, holding.owner.host)}; nothing was changed")
        raise Refusal(
            f"no runtime runs on {self._shown}, and this is done by one: start it with `intendant run MODULE:NAME`; "
            "nothing was changed"
        )

    async def _retry(self, order: RetryEvents) -> Waits:
        try:
            return Waits(await self._store.retry_events(order.tenant, order.events))
        except PartitionOwned as owned:
            raise Refusal(f"{self._owned(owned.pid, owned.host)}; nothing was changed") from None

    def _owned(self, pid: int, host: str) -> str:
        return (
            f"process {pid} on {host} works on {self._shown}, and has to be asked itself: with --runtime {pid}, if it "
            "offers a control socket (Runtime(..., control=True), INTENDANT_CONTROL=1, or `intendant run`)"
        )


def _is_there(url: str) -> bool:
    """Whether there is such a store: to open one that is not there would make it."""
    scheme, _, path = url.partition(":")
    if scheme == "sqlite":
        return Path(unquote(path.partition("?")[0])).is_file()
    if scheme in ("redis", "rediss", "unix"):
        return _run(partial(_is_on_server, url))
    return True  # no store of ours: whoever opens it says so


async def _is_on_server(url: str) -> bool:
    open_store(url)  # which says what is missing where the driver is
    from intendant.adapters.redis.checkup import is_made  # noqa: PLC0415  hiredis is optional

    return await is_made(url)


def _run(work: Callable[[], Awaitable[T]]) -> T:
    async def main() -> T:
        return await work()

    try:
        return anyio.run(main)
    except InvalidValue as error:
        option = {"hot": "--hot", "cold": "--cold", "files": "--files"}.get(error.what, error.what)
        raise Refusal(f"{option}: {str(error).partition(': ')[2]}", USAGE) from None
    except InvalidIntent as error:
        raise Refusal(str(error), USAGE) from None
    except IntendantError as error:
        raise Refusal(str(error), FAILED) from None
