"""Ids: those that callers give are checked, those that we make are 128 bits and sort by time."""

from __future__ import annotations

import os
import random
import re
import zlib
from typing import Final

from intendant.domain.errors import InvalidIntent

ID_LENGTH_MAX: Final = 128

_GIVEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@:-]{0,127}\Z")
_AHEAD: Final = 32  # ids that the system is asked for random digits for at a time
_ahead: list[str] = []  # those of the next ids
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_ahead.clear)  # they are the parent's
_TYPE = re.compile(r"(?=.{3,128}\Z)[A-Za-z][A-Za-z0-9_-]*(\.[A-Za-z][A-Za-z0-9_-]*)+\Z")


def check_id(value: object, field: str) -> str:
    """Return `value` if it may serve as a tenant, session, user or key; raise InvalidIntent naming `field` if not."""
    if isinstance(value, str) and _GIVEN.match(value):
        return value
    raise InvalidIntent(field, _problem(value, "letters, digits and any of _.@:- behind a first letter or digit"))


def check_type(value: object) -> str:
    """Return `value` if it is a well-formed intent type, `realm.name`; raise InvalidIntent if not."""
    if isinstance(value, str) and _TYPE.match(value):
        return value
    raise InvalidIntent("type", _problem(value, "'realm.name', each part a letter followed by letters, digits, _ or -"))


def make_id(now_us: int) -> str:
    """Make an id of 128 bits as 32 hexadecimal digits: 48 bits of milliseconds, 80 random. Sorts by time."""
    try:
        digits = _ahead.pop()  # in one step: two threads never get the same
    except IndexError:
        digits = _ask_ahead()
    return f"{now_us // 1000:012x}{digits}"


def _ask_ahead() -> str:
    """Ask the system for the random digits of many ids: being asked costs it more than giving them."""
    digits = os.urandom(10 * _AHEAD).hex()
    first, *others = [digits[start : start + 20] for start in range(0, len(digits), 20)]
    _ahead.extend(others)
    return first


class Ids:
    """Makes ids as `make_id` does, each higher than the one before: also within a millisecond, or if a clock goes back.

    As in a monotonic ULID (https://github.com/ulid/spec): the random part is raised, by a random step.
    """

    def __init__(self) -> None:
        self._last = 0
        self._step = random.Random(os.urandom(16))  # ours: programs seed the common one

    def make(self, now_us: int) -> str:
        """The next id."""
        time = now_us // 1000
        if time <= self._last >> 80:
            fresh = self._last + 1 + self._step.getrandbits(64)
        else:
            fresh = time << 80 | int.from_bytes(os.urandom(10))
        self._last = fresh
        return f"{fresh:032x}"


def first_id(time_us: int) -> str:
    """Lower than every id that `make_id` makes at this time (µs since 1970 UTC) or later, higher than earlier ones."""
    return f"{time_us // 1000:012x}"


def partition_of(tenant: str, partitions: int) -> int:
    """The partition that a tenant lives in: the same on every machine, for ever."""
    return zlib.crc32(tenant.encode()) % partitions


def _problem(value: object, form: str) -> str:
    if not isinstance(value, str):
        return f"must be text of 1 to {ID_LENGTH_MAX} characters, not {type(value).__name__}"
    if not value:
        return f"is empty; must be 1 to {ID_LENGTH_MAX} characters: {form}"
    shown = ascii(value if len(value) <= 60 else value[:57] + "...")
    return f"{shown} ({len(value)} characters) must be 1 to {ID_LENGTH_MAX} characters: {form}"
