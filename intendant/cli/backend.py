"""The event loops that a command may run on."""

from __future__ import annotations

import importlib.util
from enum import StrEnum
from typing import Any

from intendant.cli.exits import USAGE, Refusal


class Backend(StrEnum):
    """The event loops."""

    ASYNCIO = "asyncio"
    UVLOOP = "uvloop"
    TRIO = "trio"


def loop_options(backend: str) -> dict[str, Any]:
    """What `anyio.run` wants for an event loop. Raises Refusal when it is not installed."""
    if backend != "asyncio" and importlib.util.find_spec(backend) is None:
        raise Refusal(
            f"--backend {backend} needs {backend}: pip install 'intendant[{backend}]', or choose --backend asyncio",
            USAGE,
        )
    if backend == "trio":
        return {"backend": "trio"}
    return {"backend": "asyncio", "backend_options": {"use_uvloop": backend == "uvloop"}}
