"""Restate: a Virtual Object called over its HTTP ingress. As a module: the app that an ASGI server serves.

argv: `host:port` of the ingress, and the server's settings as JSON, read back from it by who started it. The keys are
random, of many: one object handles one call at a time.
"""

import json
import random
import sys
from importlib.metadata import version

import restate
import uvloop
from http_caller import connected
from protocol import Request, Timed, call, end_with_parent, have_the_collector_look_seldom, serve_async

KEYS = 100_000
BODY = json.dumps({"number": 7}).encode()

session = restate.VirtualObject("Session")


async def advance(number: int) -> int:
    return number + 1


@session.handler()
async def plain(ctx: restate.ObjectContext, request: dict) -> dict:
    return {"ok": True, "number": request["number"]}


@session.handler()
async def three_steps(ctx: restate.ObjectContext, request: dict) -> dict:
    number = request["number"]
    for name in ("first", "second", "third"):
        number = await ctx.run_typed(name, advance, number=number)
    return {"ok": True, "number": number}


app = restate.app(services=[session])


async def main() -> None:
    host, _, port = sys.argv[1].partition(":")
    read = json.loads(sys.argv[2])

    async def measure(request: Request) -> Timed:
        handler = "three_steps" if request.steps else "plain"
        async with connected(host, int(port), request.callers) as send:

            async def one() -> None:
                assert (await send("POST", f"/Session/{random.randrange(KEYS)}/{handler}", BODY))["ok"]

            return await call(one, request)

    facts = {
        "version": f"{read.pop('version')}, restate-sdk {version('restate-sdk')}",
        "durability": read.pop("durability"),
        "settings": {**read, "app_server": f"granian {version('granian')}", "target": f"Virtual Object, {KEYS} keys"},
    }
    await serve_async(facts, measure)


if __name__ == "__main__":
    uvloop.run(main())
else:
    end_with_parent()  # granian's workers outlive it otherwise
    have_the_collector_look_seldom()
