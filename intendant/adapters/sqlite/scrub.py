"""Writing the file anew, so that nothing that was deleted is left in pages that are free now."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from intendant.adapters.sqlite.driver import Connection
from intendant.adapters.sqlite.ownership import wall_clock
from intendant.domain.errors import StoreUnavailable

LEASE_US: Final = 3_600_000_000  # it may take long, and nothing renews the lease meanwhile: the next commit shortens it

_EXTEND: Final = "UPDATE ownership SET lease_until = max(lease_until, ?) WHERE token <> x''"


def scrub(path: Path, connection: Connection) -> None:
    """Write the file anew, and empty SQLite's log of it. A standby does not take the owner for dead meanwhile.

    Raises StoreUnavailable while another process reads the file: its old pages can't be given up then.
    """
    connection.execute(_EXTEND, (wall_clock() + LEASE_US,))
    connection.execute("VACUUM")
    ((busy, _, _),) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    if busy:
        raise StoreUnavailable(
            f"{path}: somebody reads it, so that its old pages can't be given up; they are when nobody does"
        )
