"""The driver, tamed: an HTTP client that asks once and in bounded time, and a few of them for a few threads.

python-arango's own client repeats requests, writes among them, and follows the environment's proxies. A client of ours
is used by one thread at a time, holds one connection, and gives up on a request after `timeout` seconds in all.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio
import msgspec
import requests
from anyio import CapacityLimiter, to_thread
from arango.client import ArangoClient
from arango.database import StandardDatabase
from arango.http import HTTPClient
from arango.response import Response
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from intendant.adapters.arango.address import Address
from intendant.adapters.arango.errors import (
    ColdStoreMisconfigured,
    Fault,
    NoAnswerError,
    UntrustedServerError,
    fault_of,
)
from intendant.domain.errors import IntendantError, StoreUnavailable

T = TypeVar("T")

CONNECT_S: Final = 3.0
PIECE: Final = 256 * 1024  # read at once from an answer


class Transport(HTTPClient):
    """HTTP for the driver: one connection, each request sent once."""

    def __init__(self, address: Address) -> None:
        self.request_timeout = address.timeout
        self._connect = min(CONNECT_S, address.timeout)
        self._verify: bool | str = address.ca or True

    def create_session(self, host: str) -> requests.Session:
        """A session that trusts nothing of the environment: no proxy, no .netrc."""
        if isinstance(self._verify, str) and not Path(self._verify).exists():
            raise ColdStoreMisconfigured(f"ca={self._verify}: there is no such file; name the certificate of who signs")
        session = requests.Session()
        session.trust_env = False
        session.verify = self._verify
        session.headers["Accept-Encoding"] = "identity"
        session.mount(host, HTTPAdapter(pool_connections=1, pool_maxsize=1, max_retries=0))
        return session

    def send_request(
        self,
        session: requests.Session,
        method: str,
        url: str,
        headers: Any = None,
        params: Any = None,
        data: Any = None,
        auth: tuple[str, str] | None = None,
    ) -> Response:
        """Ask, and read the whole answer. Raises NoAnswerError or UntrustedServerError, and nothing of requests'."""
        problem: Exception
        try:
            return self._ask(session, method, url, headers, params, data, auth)
        except requests.exceptions.SSLError:
            problem = UntrustedServerError("the server's certificate is not trusted, or it does not speak TLS")
        except (requests.Timeout, TimeoutError):
            problem = NoAnswerError(f"no answer within {self.request_timeout:g} s")
        except (requests.RequestException, HTTPError, OSError) as error:
            problem = NoAnswerError(f"no answer: {_reason(error)}")
        raise problem  # outside of the clauses, so that it does not drag the request along

    def _ask(
        self,
        session: requests.Session,
        method: str,
        url: str,
        headers: Any,
        params: Any,
        data: Any,
        auth: tuple[str, str] | None,
    ) -> Response:
        until = time.monotonic() + self.request_timeout
        with session.request(
            method=method,
            url=url,
            params=params,
            data=data.encode() if isinstance(data, str) else data,
            headers=headers,
            auth=auth,
            timeout=(self._connect, self.request_timeout),
            allow_redirects=False,
            stream=True,
        ) as answer:
            return Response(
                method=method,
                url=answer.url,
                headers=answer.headers,
                status_code=answer.status_code,
                status_text=answer.reason,
                raw_body=_read(answer, until).decode(),
            )


def _read(answer: requests.Response, until: float) -> bytes:
    """The body; a server that sends it drop by drop has no longer than one that does not answer.

    One that does not say how long it is may have lost the rest of its head: nobody could tell that it ended early.
    """
    if "Content-Length" not in answer.headers and "Transfer-Encoding" not in answer.headers:
        raise ConnectionAbortedError("the answer ended in its head")
    pieces: list[bytes] = []
    while piece := answer.raw.read1(PIECE, decode_content=True):
        pieces.append(piece)
        if time.monotonic() > until:
            raise TimeoutError
    return b"".join(pieces)


def _reason(error: BaseException) -> str:
    """The innermost cause in words, without the URL and the objects that the outer ones name."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    said = error.strerror if isinstance(error, OSError) else None
    return said or type(error).__name__


class UnreadableError(Exception):
    """An answer's body is not JSON."""


def _to_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()  # NaN would become null, but no float comes here: see `bodies`


def _from_json(text: str) -> Any:
    try:
        return msgspec.json.decode(text) if text else ""
    except (msgspec.DecodeError, ValueError):
        raise UnreadableError from None  # a ValueError would make the driver go on with the text


class Client:
    """One connection to the server, for one thread at a time."""

    def __init__(self, address: Address) -> None:
        self._client = ArangoClient(
            hosts=address.server,
            resolver_max_tries=1,
            http_client=Transport(address),
            serializer=_to_json,
            deserializer=_from_json,
        )
        user, password = address.user, address.password
        self.database: StandardDatabase = self._client.db(address.database, username=user, password=password)
        self.system: StandardDatabase = self._client.db("_system", username=user, password=password)

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()


class Clients:
    """As many clients as may be asked at once, each made when it is first needed."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._limiter = CapacityLimiter(address.threads)
        self._idle: deque[Client] = deque()
        self._closed = False

    async def run(self, work: Callable[[Client], T]) -> T | Fault:
        """Do a piece of work in a thread: what it returns, or the fault it met.

        A cancelled call ends when the work does, which the time-out of its requests bounds.
        """
        if self._closed:
            raise StoreUnavailable(f"{self._address.name} is not open; nothing was read or written")
        return await to_thread.run_sync(self._work, work, limiter=self._limiter)

    async def close(self) -> None:
        """Let go of all connections; of one that is in use when its work ends."""
        self._closed = True
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(self._close_idle)

    def _work(self, work: Callable[[Client], T]) -> T | Fault:
        client = self._take()
        try:
            return work(client)
        except IntendantError:
            raise
        except Exception as error:
            return fault_of(error)
        finally:
            self._idle.append(client)
            if self._closed:
                self._close_idle()

    def _take(self) -> Client:
        try:
            return self._idle.pop()
        except IndexError:
            return Client(self._address)

    def _close_idle(self) -> None:
        while True:
            try:
                client = self._idle.pop()
            except IndexError:
                return
            client.close()
