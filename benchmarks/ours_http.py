"""Intendant called over HTTP, by the caller that Restate is called by. argv: the URL of the hot store.

With `serve` before it: the process that serves, which says its address, its durability and a token. As `intendant run`
and docs/http.md advise, it is on uvloop and its collector looks seldom.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from itertools import cycle
from pathlib import Path
from typing import Final

import anyio

from benchmarks.ours import SESSIONS, facts_of, realm
from benchmarks.rivals.http_caller import connected
from benchmarks.rivals.protocol import Request, Timed, call, have_the_collector_look_seldom, serve_async
from intendant import Runtime
from intendant.http import TokenFile, app, make_token, serve
from tests.infrastructure.processes import ends_with_us

TENANT: Final = "bench"
WAIT_SECONDS: Final = 30


async def serving(url: str) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        tokens = TokenFile(Path(folder) / "tokens.json")
        token, stored = make_token(TENANT, ("submit", "read"), 0)
        tokens.add(stored)
        async with Runtime([realm], hot=url, name="bench") as runtime:
            told = {"durability": runtime.durability, "token": token}
            have_the_collector_look_seldom()
            await serve(
                app(runtime, tokens=tokens),
                port=0,
                on_listening=lambda address: print(json.dumps({**told, "address": address}), flush=True),
            )


async def calling(url: str, told: dict[str, str]) -> None:
    settings = {"store": url.partition(":")[0], "sessions": SESSIONS, "server": "hypercorn"}
    await serve_async(facts_of(told["durability"], settings), await _measuring(told["address"], told["token"]))


async def _measuring(address: str, token: str) -> Callable[[Request], Awaitable[Timed]]:
    host, _, port = address.removeprefix("http://").rpartition(":")
    fields = f"authorization: Bearer {token}\r\nprefer: wait={WAIT_SECONDS}\r\n"
    async with connected(host, int(port), 1) as send:
        for number in range(SESSIONS):
            await send("PUT", f"/v1/sessions/session-{number}", b"{}", fields)
    sessions = cycle(range(SESSIONS))

    async def measure(request: Request) -> Timed:
        handler = "bench.three_steps" if request.steps else "bench.plain"
        body = json.dumps({"type": handler, "parameters": {"number": 7}}).encode()
        async with connected(host, int(port), request.callers) as send:

            async def one() -> None:
                answer = await send("POST", f"/v1/sessions/session-{next(sessions)}/intents", body, fields)
                assert answer["result"]["ok"]

            return await call(one, request)

    return measure


def main() -> None:
    *words, url = sys.argv[1:]
    options = {"use_uvloop": True}
    if words == ["serve"]:
        anyio.run(serving, url, backend="asyncio", backend_options=options)
        return
    command = [*ends_with_us(), sys.executable, "-m", "benchmarks.ours_http", "serve", url]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            told = json.loads(server.stdout.readline())
            anyio.run(calling, url, told, backend="asyncio", backend_options=options)
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
