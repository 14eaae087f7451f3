"""Load from a process of its own: `load_client.py ADDRESS TOKEN RUN CONNECTIONS SECONDS`; tells as JSON what came back.

Each connection submits one intent after the other and waits for its outcome; one that is refused waits as long as
`Retry-After` says. Intents have keys of their own, so that none is accepted twice.
"""

from __future__ import annotations

import asyncio
import sys
import time

import msgspec
from msgspec import Struct, field

SESSIONS = 64
INTENT = b'{"type":"work.count","parameters":{"text":"one two three"}}'
PATIENCE = 60.0


class Told(Struct):
    """What clients were told. Seconds are those of each answer."""

    accepted: list[str] = field(default_factory=list[str])
    ended: list[float] = field(default_factory=list[float])
    """When each outcome came, since the start."""
    seconds: list[float] = field(default_factory=list[float])
    refused: dict[int, list[float]] = field(default_factory=dict[int, list[float]])
    without_retry_after: int = 0
    other: dict[str, int] = field(default_factory=dict[str, int])


class Load:
    """All connections of a run."""

    def __init__(self, address: str, token: str, run: str, seconds: float) -> None:
        host, _, port = address.removeprefix("http://").rpartition(":")
        self.place = (host, int(port))
        self.token = token
        self.run = run
        self.begun = time.monotonic()
        self.end = self.begun + seconds
        self.told = Told()
        self._overloaded = False

    async def connection(self, number: int) -> None:
        """Connect, and again when the server closes; without a server it is over."""
        sent = 0
        while time.monotonic() < self.end:
            try:
                reader, writer = await asyncio.open_connection(*self.place)
            except OSError:
                self._other("no connection")
                return
            try:
                while time.monotonic() < self.end:
                    sent += 1
                    if not await self._intent(reader, writer, number, f"{self.run}-{number}-{sent}"):
                        break
            except (OSError, asyncio.IncompleteReadError):
                self._other("cut off")
            finally:
                writer.close()

    async def _intent(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int, key: str) -> bool:
        """Submit one; whether the connection can go on."""
        head = (
            f"POST /v1/sessions/s{number % SESSIONS}/intents HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: Bearer {self.token}\r\nIdempotency-Key: {key}\r\nPrefer: wait=30\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(INTENT)}\r\n\r\n"
        )
        asked = time.monotonic()
        writer.write(head.encode() + INTENT)
        got = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)).decode().lower()
        status = int(got[9:12])
        headers = dict(line.split(": ", 1) for line in got.split("\r\n")[1:-2])
        body = msgspec.json.decode(await reader.readexactly(int(headers.get("content-length", "0"))) or b"{}")
        await self._note(status, headers, body, time.monotonic() - asked)
        return headers.get("connection") != "close"

    async def _note(self, status: int, headers: dict[str, str], body: dict[str, str], seconds: float) -> None:
        if status in (200, 202):
            self.told.accepted.append(body["execution_id"] if status == 200 else body["execution"])
        if status == 200:
            self.told.ended.append(time.monotonic() - self.begun)
            self.told.seconds.append(seconds)
        elif status in (429, 503):
            self.told.refused.setdefault(status, []).append(seconds)
            self.told.without_retry_after += "retry-after" not in headers
        elif status != 202:
            self._other(str(status))
        if self.told.accepted and self.told.refused and not self._overloaded:
            self._overloaded = True
            print(flush=True)  # for who waits until there is overload
        if status in (429, 503):
            await asyncio.sleep(min(float(headers.get("retry-after", "1")), max(0.0, self.end - time.monotonic())))

    def _other(self, what: str) -> None:
        self.told.other[what] = self.told.other.get(what, 0) + 1


async def main(address: str, token: str, run: str, connections: int, seconds: float) -> None:
    load = Load(address, token, run, seconds)
    await asyncio.gather(*(load.connection(number) for number in range(connections)))
    sys.stdout.buffer.write(msgspec.json.encode(load.told))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), float(sys.argv[5])))
