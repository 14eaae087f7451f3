"""DBOS: a workflow called in process, by a thread for each caller. argv: [`wal`] and the URL of its system database.

With `wal` the SQLite file has a write-ahead log before DBOS opens it, which DBOS leaves as it is.

Threads and a pool of 20 were the fastest of what it offers when they were tried against tasks on uvloop and against
pools of 8 and 64.
"""

import sqlite3
import sys
from contextlib import closing
from importlib.metadata import version

from dbos import DBOS
from dbos._dbos import _get_dbos_instance
from protocol import Request, Timed, call_in_threads, serve
from sqlalchemy import text

POOL = 20


@DBOS.step()
def advance(number: int) -> int:
    return number + 1


@DBOS.workflow()
def plain(number: int) -> dict:
    return {"ok": True, "number": number}


@DBOS.workflow()
def three_steps(number: int) -> dict:
    for _ in range(3):
        number = advance(number)
    return {"ok": True, "number": number}


def measure(request: Request) -> Timed:
    workflow = three_steps if request.steps else plain

    def one() -> None:
        assert workflow(7)["ok"]

    return call_in_threads(one, request)


def settings(engine) -> dict:
    """What the database says over a connection of DBOS's own pool."""
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            names = ("journal_mode", "synchronous")
            return {name: connection.execute(text(f"pragma {name}")).scalar() for name in names}
        names = ("server_version", "fsync", "synchronous_commit", "wal_sync_method", "shared_buffers")
        return {name: connection.execute(text(f"show {name}")).scalar() for name in names}


def durability(read: dict) -> str:
    if "synchronous" in read:
        return "fsync" if read["synchronous"] >= 2 else "written"
    return "fsync" if read["fsync"] == read["synchronous_commit"] == "on" else "written"


def keep_a_write_ahead_log(url: str) -> None:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        connection.execute("pragma journal_mode=wal")
        connection.execute("vacuum")  # or nothing is written, and the file is none


def main() -> None:
    *words, url = sys.argv[1:]
    if words == ["wal"]:
        keep_a_write_ahead_log(url)
    config = {
        "name": "bench",
        "system_database_url": url,
        "log_level": "ERROR",
        "sys_db_pool_size": POOL,
        "run_admin_server": False,
    }
    DBOS(config=config)
    DBOS.launch()
    try:
        read = settings(_get_dbos_instance()._sys_db.engine)
        facts = {
            "version": f"dbos {version('dbos')}",
            "durability": durability(read),
            "settings": {**read, "callers": "threads", "sys_db_pool_size": POOL},
        }
        serve(facts, measure)
    finally:
        DBOS.destroy()


if __name__ == "__main__":
    main()
