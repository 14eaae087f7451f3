"""What a fault of the driver, of HTTP or of the network means. The one place where it becomes an error of ours.

No message holds a password or what was written, and none of the driver's exceptions leaves this folder: they carry the
request. A call that gets no answer may be applied all the same, since the server goes on with it.
"""

from __future__ import annotations

import enum
from typing import Final

from arango.exceptions import ArangoServerError
from msgspec import Struct

from intendant.domain.errors import IntendantError, InternalError, Stopped, StoreUnavailable


class ColdStoreMisconfigured(Stopped):
    """The cold store refuses to serve until somebody changes what the message names.

    Nothing is lost meanwhile: the log keeps what is not archived. It may be asked again, at long intervals.
    """

    code = "cold_store_misconfigured"


class Fate(enum.Enum):
    """What became of a request, or of one document of many, and so what is to be done."""

    AGAIN = "not applied: the same again, soon"
    UNKNOWN = "may be applied: the same again by whoever asked, as every write may be repeated"
    CHANGED = "decided by what is there now: look, then decide"
    REFUSED = "never: this item is refused for good"
    MISCONFIGURED = "not before the configuration changes"


class Fault(Struct, frozen=True):
    """A failed request, or one failed document of many. `number` is ArangoDB's errorNum; 0 when it said nothing."""

    fate: Fate
    status: int
    number: int
    text: str

    def error(self, name: str) -> IntendantError:
        """The error of ours that says it, of the store `name`."""
        said = f"{name}: {self.text}" + (f" (HTTP {self.status}, errorNum {self.number})" if self.status else "")
        if self.fate is Fate.MISCONFIGURED:
            return ColdStoreMisconfigured(f"{said}; {_ADVICE.get(self.number) or _ADVICE[self.status]}")
        if self.fate is Fate.REFUSED:
            return InternalError(f"{said}; this is a fault of the request, please report it")
        return StoreUnavailable(f"{said}; it may or may not have been done, and can be repeated")


class NoAnswerError(Exception):
    """The server was not reached, or did not answer in time or in full. The text names no secret."""


class UntrustedServerError(Exception):
    """The server's certificate was not accepted."""


_RIGHTS: Final = "check user and password, and grant the user read and write access to the database"
_LIMITS: Final = "raise the server's limit, or give it more room"
_UNTRUSTED: Final = -1
_LICENCE: Final = range(9001, 9010)
_ADVICE: Final[dict[int, str]] = {
    _UNTRUSTED: "name the certificate of who signed it: ?ca=/path/to/ca.pem",
    11: _RIGHTS,
    401: _RIGHTS,
    403: _RIGHTS,
    1230: _RIGHTS,
    32: _LIMITS,
    1104: "the server's disk is full: give it more room",
    1305: "the server can't write to its disk: look at its log",
    1004: "the server is in read-only mode: look at its log (licence, disk usage) and make it writable",
    1203: "a collection was removed: restore it, or open the store again, which makes an empty one",
    1228: "the database was removed: restore it, or open the store again, which makes an empty one",
    1229: "the server does not take the database's name: choose another",
    1208: "the server does not take a collection's name: leave the naming of collections at its default",
    **dict.fromkeys(_LICENCE, "the server's licence does not allow it: see to the licence"),
}

_AGAIN: Final = frozenset({18, 28, 29, 30, 38, 1302, 1303, 1429, 21003, 21004})
_UNKNOWN: Final = frozenset(
    {4, 21, 503, 1457, 1464, 1465, 1478, 1489, 1490, 1491, 1495, 1496, 1500, 1600, 1601, 1654, 1655}
)
_CHANGED: Final = frozenset({1202, 1207, 1210})
_REFUSED: Final = frozenset(
    {10, 17, 600, 1205, 1216, 1221, 1222, 1226, 1227, 1233, 1501, 1502, 1550, 1551, 1552, 1553, 1562, 1620, 1621}
)
_CONFLICT: Final = 1200
_READ_ONLY: Final = 1004


def classify(status: int, number: int, message: str) -> Fate:
    """What an answer that is not a success means: its HTTP status, errorNum (0 if it has none) and errorMessage."""
    if number == _CONFLICT:  # one number for two things: somebody wrote at the same time, or another revision is there
        return Fate.CHANGED if status == 412 or "_rev" in message else Fate.AGAIN
    if number == _READ_ONLY:  # likewise: too few copies in step for now, or a server that was made read-only
        return Fate.AGAIN if status == 503 or _speaks_of_copies(message) else Fate.MISCONFIGURED
    for numbers, fate in (
        (_AGAIN, Fate.AGAIN),
        (_UNKNOWN, Fate.UNKNOWN),
        (_CHANGED, Fate.CHANGED),
        (_REFUSED, Fate.REFUSED),
    ):
        if number in numbers:
            return fate
    if number in _ADVICE or status in (401, 403):
        return Fate.MISCONFIGURED
    if status in (408, 429) or not 400 <= status < 500:
        return Fate.UNKNOWN
    return Fate.REFUSED


def fault_of(error: Exception) -> Fault:
    """What any exception out of a request means."""
    if isinstance(error, ArangoServerError):
        status = int(error.http_code or 0)
        return answered(status, error.error_code, error.error_message)
    if isinstance(error, NoAnswerError):
        return Fault(Fate.UNKNOWN, 0, 0, str(error))
    if isinstance(error, UntrustedServerError):
        return Fault(Fate.MISCONFIGURED, 0, _UNTRUSTED, str(error))
    # Anything else is the driver that stumbled over what is no answer of ArangoDB's, or over the network.
    return Fault(Fate.UNKNOWN, 0, 0, f"gave an answer that can't be read ({type(error).__name__})")


def answered(status: int, number: object, message: object) -> Fault:
    """The fault that an answer's errorNum and errorMessage tell; the driver repeats the status where there is none."""
    known = number if isinstance(number, int) and number != status else 0
    text = message if isinstance(message, str) and message else f"answered with HTTP {status}"
    return Fault(classify(status, known, text), status, known, text[:500])


def _speaks_of_copies(message: str) -> bool:
    said = message.lower()
    return "concern" in said or "replica" in said or "shard" in said
