"""Ports of the loopback for servers of our own."""

from __future__ import annotations

import secrets
import socket
from typing import Final

PORTS: Final = (11_000, 22_000)  # below those of connections on Linux (32,768 on), also with 10,000 added
CLUSTER_BUS: Final = 10_000


def free_port() -> int:
    """A port that nobody listens on, for a server that may be down for a while.

    Not one of those that the system gives to connections: while the server is down somebody's connection could get its
    port, even one that asks for the server, and then meets itself. Low enough for a cluster, which needs a second port
    that is 10,000 higher.
    """
    while True:
        port = PORTS[0] + secrets.randbelow(PORTS[1] - PORTS[0])  # not by a seed that another process has, too
        if all(map(_is_free, (port, port + CLUSTER_BUS))):
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
