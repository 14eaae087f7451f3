"""A real server over SQLite: `server_process.py STORE TOKENS LOOP`; says its address."""

from __future__ import annotations

import sys

import anyio

from intendant import Runtime
from intendant.http import app, serve
from tests.http.desk import work


async def main(store: str, tokens: str) -> None:
    async with Runtime([work], hot=f"sqlite:{store}") as runtime:
        await serve(app(runtime, tokens=tokens), port=0, drain_seconds=5, on_listening=lambda at: print(at, flush=True))
    print("drained", flush=True)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2], backend=sys.argv[3])
