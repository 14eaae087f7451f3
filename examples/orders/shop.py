"""The shop as a server: python -m examples.orders.shop [FOLDER] [--port 8000] [--backend trio]

In the folder lie the runtime's store, `orders.db`, and the ledger of what was done in the world, `ledger.jsonl`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import anyio

from examples.orders.handlers import ledger, orders
from examples.orders.world import Entry
from intendant import Event, Runtime
from intendant.http import app, serve


def post(event: Event) -> None:
    """Bring news to the customer: at least once, hence under the event's id."""
    ledger.book(Entry(event.id, f"mailed {event.name}", event.payload["order"]))


async def serve_shop(folder: Path, port: int) -> None:
    """Serve until SIGTERM or Ctrl-C. Orders that are open then, or at a kill -9, go on at the next start."""
    async with Runtime([orders], hot=f"sqlite:{folder / 'orders.db'}", publisher=post) as runtime:
        api = app(runtime, anonymous="shop")  # for customers on this machine; others need tokens
        await serve(api, "127.0.0.1", port, on_listening=lambda address: print(f"open at {address}", flush=True))


def main() -> None:
    """What the command line says."""
    parser = argparse.ArgumentParser(description="A shop that takes orders.")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("orders"), help="where its files lie")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one")
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    told = parser.parse_args()
    told.folder.mkdir(parents=True, exist_ok=True)
    ledger.keep(told.folder / "ledger.jsonl")
    anyio.run(serve_shop, told.folder, told.port, backend=told.backend)


if __name__ == "__main__":
    main()
