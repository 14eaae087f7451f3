"""The part of ArangoDB's HTTP API that the adapter uses: a request in, an answer out, no socket."""

from __future__ import annotations

import base64

from tests.arango_standin.data import Data, Keep
from tests.arango_standin.messages import Failure, OutOfScope, Reply, Request, fail
from tests.arango_standin.routes import ROUTES

VERSIONS = ("3.12.5", "3.11.13")


class Arango:
    """A server with one user, root."""

    def __init__(self, version: str = VERSIONS[0], password: str = "test", keep: Keep | None = None) -> None:
        self.data = Data(version, keep)
        self.strays: list[str] = []  # what was asked and is out of scope
        self._authorization = f"Basic {base64.b64encode(f'root:{password}'.encode()).decode()}"

    def answer(self, request: Request) -> Reply:
        """Do what is asked."""
        try:
            return self._answer(request)
        except Failure as failure:
            return failure.reply
        except OutOfScope as stray:
            return self.stray(str(stray))
        except Exception as error:  # what it stumbles over was not thought of, so it is out of scope as well
            return self.stray(f"{request.call}: {error!r}")

    def stray(self, what: str) -> Reply:
        """Note what is out of scope."""
        self.strays.append(what)
        return Reply(501, {"error": True, "code": 501, "errorNum": 9, "errorMessage": f"not in the stand-in: {what}"})

    def _answer(self, request: Request) -> Reply:
        """HTTP API > Authentication > HTTP Basic; HTTP API > Databases > Addresses of databases."""
        if request.headers.get("authorization") != self._authorization:
            fail(11)
        if request.database not in self.data.databases:
            fail(1228)
        route = ROUTES.get((request.method, request.place[0], len(request.place)))
        if route is None:
            raise OutOfScope(request.call)
        return route(self.data, request)
