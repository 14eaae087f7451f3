"""Finds the runtimes of this machine that have a control socket, and asks one."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from intendant.cli.exits import FAILED, USAGE, Refusal
from intendant.runtime.control import Answer, Request
from intendant.runtime.control_place import Found, default_directory, find, is_stale

SECONDS: Final = 5.0
WRONG: Final = frozenset({"invalid_intent", "invalid_value", "unreadable"})  # codes of errors that are the caller's
_ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024


def directory(given: Path | None, environment: Mapping[str, str] = os.environ) -> Path:
    """Where to look: as given, else where `INTENDANT_CONTROL` or the default has a runtime put its socket."""
    if given is not None:
        return given
    named = environment.get("INTENDANT_CONTROL", "").strip()
    return default_directory(environment) if named in ("", "0", "1") else Path(named)


def running(where: Path) -> list[Found]:
    """The runtimes that listen there; none where that can't be seen."""
    try:
        return [each for each in find(where) if not is_stale(each.path)]
    except PermissionError:
        return []


def choose(where: Path, wanted: str | None) -> Found:
    """The runtime of this name or process, or the only one. Raises Refusal when there is none, or several."""
    try:
        found = [each for each in find(where) if wanted is None or wanted in (each.runtime, str(each.pid))]
        running = [each for each in found if not is_stale(each.path)]
    except PermissionError:
        raise Refusal(f"{where} may not be read: it belongs to another user, who alone sees these runtimes") from None
    if len(running) == 1:
        return running[0]
    if running:
        names = ", ".join(f"{each.runtime} {each.pid}" for each in running)
        raise Refusal(f"{len(running)} runtimes run; name one by its process: {names}", USAGE)
    if found:
        raise Refusal(f"{_named(found[0])} runs no more, and has left {found[0].path} behind: it was killed")
    which = "no runtime" if wanted is None else f"no runtime {wanted!r}"
    raise Refusal(
        f"{which} with a control socket runs; looked in {where}. A program offers one with Runtime(..., control=True) "
        "or INTENDANT_CONTROL=1"
    )


class Silent(Refusal):
    """A runtime is there and does not answer in time."""


def ask(found: Found, request: Request, seconds: float | None = None) -> Answer:
    """Ask a runtime, and wait for `seconds`. Raises Refusal when it has ended or refuses, Silent for no answer."""
    seconds = SECONDS if seconds is None else seconds
    try:
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(seconds)
            stream.connect(str(found.path))
            stream.sendall(msgspec.json.encode(request) + b"\n")
            answer = msgspec.json.decode(_read(stream), type=Answer)
    except (FileNotFoundError, ConnectionError):
        raise Refusal(f"{_named(found)} has ended") from None
    except PermissionError:
        raise Refusal(f"{found.path} belongs to another user, who alone may ask {_named(found)}") from None
    except TimeoutError:
        raise Silent(
            f"{_named(found)} did not answer within {seconds:g} s: something holds its event loop; with a watchdog its "
            "log says what"
        ) from None
    except msgspec.MsgspecError as error:
        raise Refusal(f"{_named(found)} answered what this version does not understand: {error}") from None
    if answer.error:
        raise Refusal(answer.error if answer.code else f"{_named(found)}: {answer.error}", _code(answer.code))
    return answer


def _code(code: str) -> int:
    return USAGE if code in WRONG else FAILED


def _read(stream: socket.socket) -> bytes:
    read = bytearray()
    while not read.endswith(b"\n"):
        part = stream.recv(1024 * 1024)
        if not part or len(read) > _ANSWER_BYTES_MAX:
            raise ConnectionResetError
        read += part
    return bytes(read)


def _named(found: Found) -> str:
    return f"runtime {found.runtime!r} of process {found.pid}"
