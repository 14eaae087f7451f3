"""List a folder: every file with its size and the digest of its content, in one fixed order."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from .model import Document, Listing

BYTES_MAX = 4 * 1024 * 1024
"""A larger file is reported and not read."""

IGNORED = frozenset(
    {".git", ".hg", ".svn", ".venv", "venv", "node_modules", "__pycache__", ".tox", ".nox", ".idea", ".vscode"}
    | {".DS_Store", ".eggs", "site-packages", "dist-packages"}
)
IGNORED_PATTERNS = ("*.pyc", "*.pyo", "*.egg-info", "*_cache", ".hypothesis")


def list_folder(root: str, folder: str, leave_out: tuple[str, ...] = (), files_max: int = 0) -> Listing:
    """All files below `folder`, named below `root`. Paths in `leave_out` (absolute) are skipped.

    With `files_max`, the first so many by name. Links to folders are not followed and nothing but regular files is
    opened: a pipe would never answer.
    """
    base = Path(folder)
    patterns = (*IGNORED_PATTERNS, *_gitignore(base))
    paths: list[Path] = []
    skipped: list[str] = []
    closed: list[str] = []
    for directory, folders, files in os.walk(base, onerror=lambda error: closed.append(_shown(error.filename, base))):
        within = Path(directory)
        left = {name for name in [*folders, *files] if _left_out(within / name, base, patterns, leave_out)}
        skipped += [_shown(within / name, base) for name in left]
        folders[:] = sorted(set(folders) - left)
        paths += [within / name for name in files if name not in left]
    paths.sort(key=lambda path: _shown(path, base))
    documents = [_document(root, base, path) for path in paths[: files_max or None]]
    skipped += [_shown(path, base) for path in paths[len(documents) :]]
    return Listing(root, documents, sorted(skipped), sorted(closed))


def _left_out(path: Path, base: Path, patterns: tuple[str, ...], leave_out: tuple[str, ...]) -> bool:
    if path.name in IGNORED or str(path) in leave_out or (path.is_symlink() and path.is_dir()):
        return True
    inside = "/" + path.relative_to(base).as_posix()
    return any(fnmatch.fnmatchcase(inside if "/" in pattern else path.name, pattern) for pattern in patterns)


def _gitignore(base: Path) -> Iterator[str]:
    """The plain patterns of the folder's own .gitignore; negations and nested files are beyond an example."""
    try:
        lines = (base / ".gitignore").read_text("utf-8").splitlines()
    except (OSError, UnicodeError):
        return
    for line in lines:
        pattern = line.strip().rstrip("/")
        if pattern and not pattern.startswith(("#", "!")):
            yield "/" + pattern.lstrip("/") if "/" in pattern else pattern


def _shown(path: str | Path, base: Path) -> str:
    """The name below the root, in characters that can be stored: a file name on Linux is any bytes."""
    relative = os.path.relpath(path, base).replace(os.sep, "/")
    return relative.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _document(root: str, base: Path, path: Path) -> Document:
    name = _shown(path, base)
    try:
        status = path.stat()
        if path.is_symlink() and path.resolve().is_relative_to(base.resolve()):
            return Document(root, str(base), name, 0, problem="alias")
        if not stat.S_ISREG(status.st_mode):
            return Document(root, str(base), name, 0, problem="not a regular file")
        if status.st_size > BYTES_MAX:
            return Document(root, str(base), name, status.st_size, problem="huge")
        content = path.read_bytes()
    except (OSError, RuntimeError) as error:
        return Document(root, str(base), name, 0, problem=_reason(error, path))
    if not (base / name).exists():
        return Document(root, str(base), name, len(content), problem="its name is not valid UTF-8")
    return Document(root, str(base), name, len(content), digest_of(content))


def _reason(error: Exception, path: Path) -> str:
    if path.is_symlink():
        return "a link that leads nowhere"
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else type(error).__name__


def digest_of(content: bytes) -> str:
    """The name of a content."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()
