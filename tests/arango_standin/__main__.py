"""`python -m tests.arango_standin --directory D`: serve on a free port of the loopback, which is printed."""

from __future__ import annotations

import argparse
import gc
import socket
from pathlib import Path

from tests.arango_standin.contract import VERSIONS, Arango
from tests.arango_standin.journal import Journal, load
from tests.arango_standin.server import serve


def main() -> None:
    """Take up what the directory holds, and serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--directory", type=Path, required=True, help="where what is written is kept")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--version", default=VERSIONS[0], help="of ArangoDB, to be like")
    parser.add_argument("--password", default="test", help="of root")
    parser.add_argument("--power-lost", action="store_true", help="what was not synced before is gone")
    options = parser.parse_args()
    path: Path = options.directory / "journal"
    changes = load(path, power_lost=options.power_lost)
    arango = Arango(options.version, options.password, Journal(path).keep)
    for change in changes:
        arango.data.restore(change)
    gc.set_threshold(10_000, 20, 1_000_000)  # to look at millions of documents would stop it for many seconds
    listener = socket.create_server(("127.0.0.1", options.port), backlog=128)
    print(listener.getsockname()[1], flush=True)
    serve(arango, listener)


if __name__ == "__main__":
    main()
