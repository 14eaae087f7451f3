"""What the demo reads: a folder that was asked for, or the project and the Python that runs it."""

from __future__ import annotations

import os
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from .content import Source

FILES_WANTED = 2_000
"""Where Python comes without its own tests, as on Debian, installed packages make up for them."""

UNREAD = ("lib-dynload", "config-3", "site-packages", "dist-packages")
"""Compiled code, and what is not of Python itself."""


def sources_of(folder: Path | None, run: str, shelf: Path, leave_out: list[Path]) -> list[Source]:
    """The roots of one run. Each becomes a tenant."""
    left = [str(path.resolve()) for path in leave_out]
    if folder is not None:
        name = re.sub(r"[^A-Za-z0-9_.-]+", "-", folder.resolve().name).strip("-._") or "folder"
        return [Source(run, name[:40], str(folder.resolve()), str(shelf), left)]
    project = Path(__file__).resolve().parents[2]
    python = Path(sysconfig.get_paths()["stdlib"])
    compiled = [str(path) for path in sorted(python.iterdir()) if path.name.startswith(UNREAD)]
    roots = [
        Source(run, "project", str(project), str(shelf), left),
        Source(run, "python", str(python), str(shelf), [*left, *compiled]),
    ]
    missing = FILES_WANTED - sum(1 for root in roots for _ in _files(root))
    if missing > 0:
        packages = sysconfig.get_paths()["purelib"]
        roots.append(Source(run, "packages", packages, str(shelf), left, files_max=missing))
    return roots


def _files(source: Source) -> Iterator[str]:
    """The files below a folder, counted roughly and without opening any."""
    for directory, folders, files in os.walk(source.folder):
        hidden = [name for name in folders if name.startswith(".") or name == "__pycache__"]
        left = [name for name in folders if str(Path(directory, name)) in source.leave_out]
        folders[:] = sorted(set(folders) - {*hidden, *left})
        yield from files
