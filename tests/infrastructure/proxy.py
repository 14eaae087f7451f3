"""A TCP proxy that cuts connections at the byte that a test names."""

from __future__ import annotations

import contextlib
import random
import select
import socket
import struct
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Literal

Direction = Literal["request", "reply"]
PAGE: Final = 65_536


@dataclass(frozen=True)
class Cut:
    """Carry `at` bytes in this direction, then end the connection: by FIN, or by RST.

    A reply that is cut at 0 is lost as a whole: the server has done what was asked.
    """

    direction: Direction
    at: int
    reset: bool = False


def random_cut(chance: random.Random) -> Cut:
    """In either direction and either way; replies are cut early, most have few bytes."""
    if chance.random() < 0.5:
        return Cut("request", int(chance.expovariate(1 / 2000)), reset=chance.random() < 0.5)
    return Cut("reply", int(chance.expovariate(1 / 20)), reset=chance.random() < 0.5)


class Proxy:
    """Listens on a free port of the loopback and carries to another one, a thread for each connection.

    `arm` plans a cut for whichever connection carries next. `delay` is added before each piece of a reply, in seconds.
    `cuts` counts the connections that were cut so.
    """

    def __init__(self, target: int) -> None:
        self.delay = 0.0
        self.cuts = 0
        self.connections = 0
        self.target = target
        self._armed: Cut | None = None
        self._lock = threading.Lock()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._listen)]
        self._threads[0].start()

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._listener.getsockname()[1]
        return port

    def arm(self, cut: Cut) -> None:
        """Cut the connection that next carries something in that direction, its bytes counted from then."""
        with self._lock:
            self._armed = cut

    def cut_all(self) -> None:
        """End every connection now."""
        with self._lock:
            for pair in self._pairs:
                for end in pair:
                    _shut(end)

    def close(self) -> None:
        """End every connection, and listen no more."""
        _shut(self._listener)
        self._threads[0].join()
        self.cut_all()
        for thread in self._threads[1:]:
            thread.join()
        self._listener.close()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _listen(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                _end(client, reset=True)
                continue
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._pairs.add((client, server))
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(client, server))
            self._threads = [each for each in self._threads if each.is_alive()] + [thread]
            thread.start()

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        reset = False
        with contextlib.suppress(OSError):  # one end has gone
            reset = self._carry(client, server)
        with self._lock:
            self._pairs.discard((client, server))
        _end(server, reset=False)
        _end(client, reset=reset)

    def _carry(self, client: socket.socket, server: socket.socket) -> bool:
        """Carry until an end closes or the cut is reached; returns whether the client is to get a reset."""
        cut: Cut | None = None
        carried = 0  # in the cut's direction, since it was armed
        while True:
            ready, _, _ = select.select([client, server], [], [])
            for source in ready:
                direction: Direction = "request" if source is client else "reply"
                data = source.recv(PAGE)
                if not data:
                    return False
                if armed := self._take(direction):
                    cut, carried = armed, 0
                if direction == "reply" and self.delay:
                    time.sleep(self.delay)
                target = server if source is client else client
                if cut and cut.direction == direction:
                    if carried + len(data) > cut.at:
                        target.sendall(data[: cut.at - carried])
                        with self._lock:
                            self.cuts += 1
                        return cut.reset
                    carried += len(data)
                target.sendall(data)

    def _take(self, direction: Direction) -> Cut | None:
        with self._lock:
            armed = self._armed
            if armed is None or armed.direction != direction:
                return None
            self._armed = None
            return armed


def _shut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


def _end(end: socket.socket, *, reset: bool) -> None:
    if reset:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    else:
        _shut(end)
    end.close()
