"""`intendant load` in a process of its own, on a new store."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from tests.arango_standin.process import StandIn
from tests.infrastructure.processes import OwnServer
from tests.infrastructure.redis_server import RedisServer

MEASUREMENT_SECONDS_MAX: Final = 600


def load(options: Mapping[str, Any]) -> dict[str, Any]:
    """Run it with these options; returns its figures. Raises SystemExit with its output when it is not sound."""
    command = [sys.executable, "-c", "from intendant.cli import main; main()", "load", "--json"]
    for option, value in options.items():
        command += [option, str(value)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=MEASUREMENT_SECONDS_MAX, check=False)
    if ran.returncode:
        sys.exit(f"{' '.join(command[3:])} ended with {ran.returncode}:\n{ran.stdout}{ran.stderr}")
    figures: dict[str, Any] = json.loads(ran.stdout)
    return figures


@contextmanager
def place(store: str) -> Generator[dict[str, str]]:
    """A new store, as the load's options; it goes afterwards. Such as `sqlite`, `redis-always`, `memory+cold`.

    Raises SystemExit when a server of it ended by itself, as one does that takes more memory than there is: whatever
    was measured is of no use then.
    """
    hot, _, cold = store.partition("+")
    servers: list[OwnServer] = []
    with ExitStack() as stack:
        options = {"--hot": "memory:"}
        if hot == "sqlite":
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="intendant-bench-"))
            options["--hot"] = f"sqlite:{Path(folder) / 'load.db'}"
        elif hot != "memory":
            redis = stack.enter_context(RedisServer(appendfsync=hot.partition("-")[2]))
            servers.append(redis)
            options["--hot"] = redis.url
        if cold:
            arango = stack.enter_context(StandIn())
            servers.append(arango)
            options["--cold"] = f"{arango.url}/load"
        yield options
        for server in servers:
            if not server.running:
                sys.exit(f"a server of {store} ended with {server.process.returncode} while it was measured")
