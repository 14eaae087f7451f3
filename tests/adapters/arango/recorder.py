"""The stand-in's routes in this process, for tests of what the adapter sends: it keeps every request, and a test says
what it answers instead.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.arango_standin.collection import Collection
from tests.arango_standin.contract import VERSIONS, Arango
from tests.arango_standin.data import SYSTEM
from tests.arango_standin.messages import Json, Reply, Request, request_of

Rule = Callable[[Request], Reply | None]


class Recorder(Arango):
    """What it was asked, and rules: the first one that returns something answers instead of it."""

    def __init__(self, version: str, password: str) -> None:
        super().__init__(version, password)
        self.url = ""
        self.requests: list[Request] = []
        self.rules: list[Rule] = []
        self._lock = threading.Lock()

    @property
    def calls(self) -> list[str]:
        """What it was asked, in short."""
        return [request.call for request in self.requests]

    @property
    def collections(self) -> dict[str, Collection]:
        """Those of the only database there is."""
        return next((each for name, each in self.data.databases.items() if name != SYSTEM), dict[str, Collection]())

    def documents(self, collection: str) -> list[Json]:
        """All of a collection."""
        return list(self.collections[collection].documents.values())

    def change(self, collection: str, **fields: object) -> None:
        """Somebody else writes these fields into all documents of a collection."""
        documents = self.collections[collection].documents
        documents.update({key: {**each, **fields} for key, each in documents.items()})

    def answer(self, request: Request) -> Reply:
        """Keep the request, and answer."""
        with self._lock:
            self.requests.append(request)
            for rule in self.rules:
                reply = rule(request)
                if reply is not None:
                    return reply
            return super().answer(request)


@contextmanager
def recorder(version: str = VERSIONS[0], password: str = "test") -> Generator[Recorder]:
    """One on a free port, for as long as the block runs. What is out of scope is an error."""
    kept = Recorder(version, password)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _serve(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = kept.answer(request_of(self.command, self.path, content, headers))
            head = f"HTTP/1.1 {reply.status} X\r\nContent-Length: {len(reply.content)}\r\n\r\n"
            self.wfile.write(head.encode() + reply.content)

        do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815  these names are http.server's

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        kept.url = f"arangodb://root:{password}@127.0.0.1:{server.server_address[1]}/work"
        yield kept
        server.shutdown()
    assert kept.strays == []
