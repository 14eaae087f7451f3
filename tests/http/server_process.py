"""A real server: `server_process.py HOT TOKENS LOOP LIMITS`; says its address, and when it has drained.

The limits are `HttpLimits` as JSON. The collector is set as docs/http.md advises.
"""

from __future__ import annotations

import gc
import sys

import anyio
import msgspec

from intendant import Event, RelaySettings, Runtime
from intendant.http import HttpLimits, app, serve
from intendant.supervisor import Backoff
from tests.http.desk import work


def publish(event: Event) -> None:
    """Fails for what is to be a dead letter, and never for the rest."""
    if event.payload == {"text": "dead"}:
        raise ConnectionError("nobody takes it")


async def main(hot: str, tokens: str, limits: str) -> None:
    relay = RelaySettings(attempts=1, retry=Backoff(initial=0.001, maximum=0.001))
    async with Runtime([work], hot=hot, publisher=publish, relay=relay) as runtime:
        served = app(runtime, tokens=tokens, limits=msgspec.json.decode(limits, type=HttpLimits))
        await serve(served, port=0, drain_seconds=5, on_listening=lambda at: print(at, flush=True))
    print("drained", flush=True)


if __name__ == "__main__":
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)
    anyio.run(main, sys.argv[1], sys.argv[2], sys.argv[4], backend=sys.argv[3])
