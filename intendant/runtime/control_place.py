"""Where control sockets lie, and what they are called: `<runtime>-<pid>.sock` in a directory that is ours alone."""

from __future__ import annotations

import errno
import os
import re
import socket
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct

_NAME: Final = re.compile(r"(?P<runtime>[a-z][a-z0-9_]{0,30})-(?P<pid>[0-9]{1,10})(\.[0-9]{1,4})?\.sock\Z")
_PATH_BYTES_MAX: Final = 100  # of a unix socket: 107 on Linux, 103 on macOS
_NAME_BYTES_MAX: Final = 1 + 31 + 1 + 10 + 5 + 5  # of a socket, by its parts
_SAME_NAME_MAX: Final = 100  # runtimes of one name in one process
_CONNECT_SECONDS: Final = 1.0


class Found(Struct, frozen=True):
    """A socket of a runtime, whether that runs or not."""

    path: Path
    runtime: str
    pid: int


def default_directory(environment: Mapping[str, str] = os.environ) -> Path:
    """`$XDG_RUNTIME_DIR/intendant`, or `intendant-<uid>` in the directory for temporary files, or in `/tmp`.

    The first of them that leaves room for a socket's name.
    """
    import tempfile  # noqa: PLC0415  it imports five compressors, and most runtimes have the first directory

    base = environment.get("XDG_RUNTIME_DIR")
    own = f"intendant-{os.getuid()}"
    candidates = [*([Path(base) / "intendant"] if base else []), Path(tempfile.gettempdir()) / own]
    room = (each for each in candidates if len(os.fsencode(each)) <= _PATH_BYTES_MAX - _NAME_BYTES_MAX)
    return next(room, Path("/tmp") / own)  # noqa: S108  `prepare` looks whose it is


def prepare(directory: Path) -> None:
    """Make the directory, mode 0700. Raises PermissionError when it is not ours, or others may write to it."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = directory.stat(follow_symlinks=False)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise PermissionError(
            errno.EACCES,
            "control sockets need a directory that is ours, and that others can't write to",
            str(directory),
        )


def free_path(directory: Path, runtime: str) -> Path:
    """Where this process's socket goes. Raises ValueError when the path is too long for a socket."""
    for number in range(1, _SAME_NAME_MAX):
        suffix = "" if number == 1 else f".{number}"
        path = directory / f"{runtime}-{os.getpid()}{suffix}.sock"
        if len(os.fsencode(path)) > _PATH_BYTES_MAX:
            raise ValueError(f"{path} is longer than the {_PATH_BYTES_MAX} bytes of a socket's path: name another")
        if not path.exists() or is_stale(path):
            return path
    raise ValueError(f"{directory} has {_SAME_NAME_MAX - 1} sockets of runtimes {runtime!r} of this process")


def find(directory: Path) -> list[Found]:
    """The sockets of a directory by name; none when there is no such directory. Raises PermissionError."""
    try:
        names = sorted(each.name for each in directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    matches = [match for name in names if (match := _NAME.match(name))]
    return [Found(directory / match[0], match["runtime"], int(match["pid"])) for match in matches]


def remove_stale(directory: Path) -> None:
    """Remove what runtimes left behind that were killed: nobody listens, and there is no such process."""
    for found in find(directory):
        if not _runs(found.pid) and is_stale(found.path):
            found.path.unlink(missing_ok=True)


def is_stale(path: Path) -> bool:
    """Whether this is a socket that nobody listens at."""
    with socket.socket(socket.AF_UNIX) as tried:
        tried.settimeout(_CONNECT_SECONDS)
        try:
            tried.connect(str(path))
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # another user's
    return True
