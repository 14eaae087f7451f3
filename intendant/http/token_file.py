"""Tokens in a file: JSON, mode 0600, replaced as a whole. A running server sees a change at the next request."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from intendant.http.tokens import StoredToken

DEFAULT: Final = "intendant-tokens.json"
VARIABLE: Final = "INTENDANT_TOKENS"


class TokenFile:
    """A `TokenStore` in a file. One that does not exist has no tokens."""

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        """Without a path: `INTENDANT_TOKENS`, or `intendant-tokens.json` in the working directory."""
        self.path = Path(path or os.environ.get(VARIABLE) or DEFAULT)
        self._seen: tuple[int, int, int] | None = None
        self._tokens: dict[str, StoredToken] = {}

    async def find(self, id: str) -> StoredToken | None:
        """See `TokenStore`. Looks whether the file has changed, and only then reads it."""
        return self._current().get(id)

    def all(self) -> list[StoredToken]:
        """All tokens, the oldest first. Raises PermissionError for a file others may read, ValueError for a bad one."""
        return sorted(self._current().values(), key=lambda token: token.created_at)

    def add(self, token: StoredToken) -> None:
        """Keep a token; durable when this returns."""
        with self._locked():
            self._write([*self.all(), token])

    def revoke(self, id: str) -> bool:
        """Remove a token; False when there is none of this id."""
        with self._locked():
            tokens = self.all()
            left = [token for token in tokens if token.id != id]
            if len(left) == len(tokens):
                return False
            self._write(left)
            return True

    def _current(self) -> dict[str, StoredToken]:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            self._seen, self._tokens = None, {}
            return self._tokens
        seen = (found.st_ino, found.st_mtime_ns, found.st_size)
        if seen != self._seen:
            if found.st_mode & 0o077:
                raise PermissionError(f"{self.path} may be read by others: chmod 600 {self.path}")
            try:
                tokens = msgspec.json.decode(self.path.read_bytes(), type=list[StoredToken])
            except msgspec.MsgspecError as error:
                raise ValueError(f"{self.path} is no file of tokens: {error}") from error
            self._seen, self._tokens = seen, {token.id: token for token in tokens}
        return self._tokens

    def _write(self, tokens: list[StoredToken]) -> None:
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")  # mode 0600
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(tokens)))
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        directory = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    @contextmanager
    def _locked(self) -> Generator[None]:
        """One writer at a time, so that none undoes what another one has written."""
        import fcntl  # noqa: PLC0415  not on Windows, where only reading works

        handle = os.open(self.path.with_name(f".{self.path.name}.lock"), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)
