"""A connection to a Redis server: anyio's socket, hiredis for the protocol, one call at a time.

Nothing is ever sent again by itself. When anything goes wrong between the first byte sent and the last byte read, a
cancellation included, the connection is destroyed: no reply can be taken for another call's.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, TypeAlias, cast

import anyio
import anyio.abc
import hiredis
from anyio.streams.tls import TLSStream

from intendant.adapters.redis.address import Address
from intendant.adapters.redis.errors import FUNCTION_MISSING, Moved, translate
from intendant.adapters.redis.function_library import LIBRARY
from intendant.domain.errors import StoreUnavailable

Word: TypeAlias = str | bytes | int
CHUNK: Final = 65536
_MISSING: Final = object()
# The stub of hiredis knows commands of one word only.
_pack = cast("Callable[[tuple[Word, ...]], bytes]", hiredis.pack_command)  # pyright: ignore[reportUnknownMemberType]


class ServerError(Exception):
    """An error reply, as the server told it."""


class ConnectionLost(StoreUnavailable):
    """The other end has closed the connection, or nobody is there any more."""


class Connection:
    """One connection that was made. Whoever has it calls it from one task at a time."""

    def __init__(self, address: Address, stream: anyio.abc.ByteStream) -> None:
        self._address = address
        self._stream = stream
        self._reader = hiredis.Reader(replyError=ServerError, notEnoughData=_MISSING)
        self.alive = True

    @property
    def name(self) -> str:
        """The server, as it may be shown."""
        return self._address.name

    @classmethod
    async def make(cls, address: Address) -> Connection:
        """Connect, log in, choose the database. Raises StoreUnavailable."""
        try:
            with anyio.fail_after(address.timeout):
                connection = cls(address, await _connect(address))
        except TimeoutError:
            raise _unreachable(address, f"did not answer within {address.timeout:g} s") from None
        except (OSError, anyio.BrokenResourceError, anyio.EndOfStream) as error:
            raise _unreachable(address, _told(error)) from error
        greeting: list[tuple[Word, ...]] = []
        if address.credentials:
            greeting.append(("AUTH", *address.credentials))
        if address.database:
            greeting.append(("SELECT", address.database))
        if greeting:
            try:
                await connection.call(*greeting)
            except BaseException:
                await connection.destroy()
                raise
        return connection

    async def call(self, *commands: Sequence[Word]) -> list[Any]:
        """Send commands at once and return a reply to each. The first error reply of them is raised, translated.

        Raises StoreUnavailable when there is no answer within the address's timeout; then it is unknown whether the
        commands were carried out.
        """
        replies = await self.exchange(*commands)
        await self._check(replies)
        return replies

    async def function(self, name: str, *words: Word, then: Sequence[Sequence[Word]] = (), read: bool = False) -> Any:
        """Call one of our functions with the number of keys, keys and arguments; load the library if it is missing.

        With `then` commands follow at once, and all replies are returned.
        """
        command = ("FCALL_RO" if read else "FCALL", LIBRARY.function(name), *words)
        commands = (command, *then)
        replies = await self.exchange(*commands)
        if isinstance(replies[0], ServerError) and str(replies[0]).startswith(FUNCTION_MISSING):
            await self.load()
            replies = await self.exchange(*commands)
        await self._check(replies)
        return replies if then else replies[0]

    async def load(self) -> None:
        """Load our library, in place of what has its name."""
        await self.call(("FUNCTION", "LOAD", "REPLACE", LIBRARY.code))

    async def exchange(self, *commands: Sequence[Word]) -> list[Any]:
        """Send commands at once and return a reply to each, error replies among them."""
        if not self.alive:
            raise StoreUnavailable(f"{self._address.name}: the connection is closed; nothing was sent")
        request = b"".join(_pack(tuple(command)) for command in commands)
        try:
            with anyio.fail_after(self._address.timeout):
                await self._stream.send(request)
                return [await self._reply() for _ in commands]
        except TimeoutError:
            await self.destroy()
            raise StoreUnavailable(_unknown(self._address, f"no answer within {self._address.timeout:g} s")) from None
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream) as error:
            await self.destroy()
            raise ConnectionLost(_unknown(self._address, _told(error))) from error
        except hiredis.ProtocolError as error:
            await self.destroy()
            raise StoreUnavailable(_unknown(self._address, f"it does not speak Redis' protocol: {error}")) from error
        except BaseException:
            await self.destroy()
            raise

    async def destroy(self) -> None:
        """Close the connection at once, whatever is on its way."""
        self.alive = False
        with anyio.CancelScope(shield=True):
            await anyio.aclose_forcefully(self._stream)

    async def __aenter__(self) -> Connection:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.destroy()

    async def _check(self, replies: list[Any]) -> None:
        """Raise the first error reply of them. Where another node serves by now, nobody shall ask here again."""
        for reply in replies:
            if isinstance(reply, ServerError):
                error = translate(str(reply), self._address.name)
                if isinstance(error, Moved):
                    await self.destroy()
                raise error

    async def _reply(self) -> Any:
        reader = self._reader
        while (reply := reader.gets()) is _MISSING:
            reader.feed(await self._stream.receive(CHUNK))
        return reply


async def _connect(address: Address) -> anyio.abc.ByteStream:
    if address.path:
        return await anyio.connect_unix(address.path)
    stream = await anyio.connect_tcp(address.host, address.port)
    raw: socket.socket = stream.extra(anyio.abc.SocketAttribute.raw_socket)  # noqa: S610  not Django's
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if address.tls is None:
        return stream
    try:
        return await TLSStream.wrap(
            stream, hostname=address.host, ssl_context=address.tls.context(), standard_compatible=False
        )
    except BaseException:
        with anyio.CancelScope(shield=True):
            await anyio.aclose_forcefully(stream)
        raise


def _unreachable(address: Address, problem: str) -> StoreUnavailable:
    return StoreUnavailable(f"{address.name} can't be reached: {problem}; nothing was sent")


def _unknown(address: Address, problem: str) -> str:
    return f"{address.name}: {problem}; nothing was told about the outcome"


def _told(error: Exception) -> str:
    return str(error) or "the connection was closed"
