"""Events as entries of a Redis stream."""

from __future__ import annotations

import re
from functools import partial
from typing import Final

import msgspec

from intendant.adapters.redis.address import Address, parse
from intendant.adapters.redis.connection import Connection, Word
from intendant.adapters.redis.errors import Moved
from intendant.adapters.redis.pool import Lane
from intendant.domain.errors import InternalError, InvalidValue, StoreUnavailable, TargetUnavailable
from intendant.domain.state import Event

_MOVED: Final = re.compile(r"\(MOVED \d+ (\S*):(\d+)\)")
_STREAM_BYTES_MAX: Final = 512


class RedisStream:
    """Adds each event to one stream; see `intendant.adapters.publishers.redis_stream`."""

    def __init__(self, url: str, *, stream: str) -> None:
        try:
            self._address = parse(url)
        except InvalidValue as error:
            raise InvalidValue("redis_stream", str(error).partition(": ")[2]) from None
        if not stream or len(stream.encode()) > _STREAM_BYTES_MAX:
            raise InvalidValue("redis_stream", f"stream is a key of 1 to {_STREAM_BYTES_MAX} bytes, not {stream!r:.80}")
        self._stream = stream
        self._lane: Lane | None = None
        self.name = f"redis stream {stream} on {self._address.name.partition('?')[0]}"

    def __repr__(self) -> str:
        return f"<{self.name}>"

    async def publish(self, event: Event) -> None:
        """See `Publisher.publish`."""
        command = ("XADD", self._stream, "*", *fields_of(event))
        try:
            await self._add(command)
        except StoreUnavailable as error:
            await self.aclose()  # the next one begins at the node that the URL names
            raise TargetUnavailable(f"{self.name}: {error}") from error
        except InternalError as error:
            if "WRONGTYPE" not in str(error):
                raise
            raise InvalidValue("redis_stream", f"the key {self._stream} holds no stream; choose another") from error

    async def aclose(self) -> None:
        """See `LastingPublisher.aclose`."""
        lane, self._lane = self._lane, None
        if lane is not None:
            await lane.close()

    async def _add(self, command: tuple[Word, ...]) -> None:
        try:
            await self._use(self._lane or await self._turn_to(self._address), command)
        except Moved as error:  # a cluster, of which another node has this stream by now
            found = _MOVED.search(str(error))
            address = self._address if found is None else self._address.at(found[1], int(found[2]))
            await self._use(await self._turn_to(address), command)

    async def _use(self, lane: Lane, command: tuple[Word, ...]) -> None:
        await lane.use(partial(_call, command))

    async def _turn_to(self, address: Address) -> Lane:
        await self.aclose()
        self._lane = lane = Lane(address)
        return lane


def fields_of(event: Event) -> list[Word]:
    """An event as fields of a stream's entry."""
    fields: dict[str, Word] = {
        "id": event.id,
        "tenant": event.tenant,
        "session": event.session,
        "execution": event.execution_id,
        "name": event.name,
        "position": event.position,
        "time": event.time,
        "payload": msgspec.json.encode(event.payload),
    }
    return [word for field in fields.items() for word in field]


async def _call(command: tuple[Word, ...], connection: Connection) -> None:
    await connection.call(command)
