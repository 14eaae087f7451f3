"""The server in another process."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import msgspec
import psutil

from intendant.http import HttpLimits, TokenFile
from intendant.http.tokens import SCOPES, Scope, make_token
from tests.infrastructure.processes import ends_with_us

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0


class Served:
    """A server over a store, with tokens of its own in a directory; killed when this is left."""

    def __init__(self, directory: Path, hot: str, loop: str = "asyncio", limits: HttpLimits | None = None) -> None:
        self.tokens = TokenFile(directory / "tokens.json")
        command = [*ends_with_us(), sys.executable, "-m", "tests.http.server_process", hot, str(self.tokens.path), loop]
        command.append(msgspec.json.encode(limits or HttpLimits()).decode())
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.said = self.process.stdout
        self.address = self.said.readline().strip()

    def token(self, tenant: str, scopes: tuple[Scope, ...] = SCOPES) -> str:
        text, stored = make_token(tenant, scopes, 0)
        self.tokens.add(stored)
        return text

    def client(self, token: str = "") -> httpx.Client:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(base_url=self.address, headers=headers, timeout=PATIENCE)

    def connect(self) -> socket.socket:
        """A bare connection."""
        address = httpx.URL(self.address)
        return socket.create_connection((address.host, address.port or 80), PATIENCE)

    @property
    def memory(self) -> int:
        """Bytes that the process has in memory."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    @property
    def processor_seconds(self) -> float:
        """What the process has used."""
        used = psutil.Process(self.process.pid).cpu_times()
        return float(used.user + used.system)

    def connections(self) -> list[Any]:
        """Those that the process has open."""
        return psutil.Process(self.process.pid).net_connections("tcp")

    def stop(self) -> tuple[int, str]:
        """SIGTERM: the exit code, and what it said."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE), self.said.read()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        self.said.close()
