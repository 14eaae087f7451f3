"""The library of functions that runs inside the server."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from msgspec import Struct


class Library(Struct, frozen=True):
    """A library of Redis functions. Its name carries its version: another one never takes its place."""

    name: str
    code: str

    def function(self, name: str) -> str:
        """What a function of it is called."""
        return f"{self.name}_{name}"


_CODE: Final = files("intendant.adapters.redis").joinpath("commit.lua")
LIBRARY: Final = Library("intendant_v2", _CODE.read_text(encoding="utf-8"))
