"""Times as they are written on a command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from intendant.cli.exits import USAGE, Refusal

_AGO: Final = re.compile(r"(\d{1,9})(s|m|h|d)\Z")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def time_of(option: str, text: str | None, now: datetime | None = None) -> datetime | None:
    """`2h` is two hours ago, `2026-03-01T12:00Z` is that; without a zone it is local. Raises Refusal for others."""
    if text is None:
        return None
    match = _AGO.match(text)
    try:
        if match:
            return (now or datetime.now(UTC)) - timedelta(**{_UNITS[match[2]]: int(match[1])})
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Refusal(
            f"{option}: {text!r} is no time: write 30m, 2h, 7d for so long ago, or 2026-03-01T12:00Z", USAGE
        ) from None
