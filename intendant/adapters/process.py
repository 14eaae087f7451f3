"""Who this process is, and whether another one is provably dead.

A process is told from a later one of the same id by its start time. Ids only mean something within one boot and one
namespace of process ids, so both are part of `Owner.boot_id`: what runs in another container is never taken for dead.
Where the operating system has no /proc the parts are empty, and nobody is ever proved dead.
"""

from __future__ import annotations

import os
from pathlib import Path

from intendant.domain.ports import Owner

_PROC = Path("/proc")


def current_owner() -> Owner:
    """This process as an owner of partitions."""
    pid = os.getpid()
    return Owner(host=_host(), boot_id=_boot_id(), pid=pid, started=_start_time(pid))


def is_provably_dead(owner: Owner) -> bool:
    """Whether `owner` ran on this host, in this boot and namespace, and does not run any more. In doubt: False."""
    if not owner.boot_id or owner.boot_id != _boot_id() or owner.host != _host():
        return False
    try:
        os.kill(owner.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:  # it runs and belongs to another user
        pass
    started = _start_time(owner.pid)
    return bool(started and owner.started) and started != owner.started


def _host() -> str:
    import socket  # noqa: PLC0415  not before a store is opened

    return socket.gethostname()


def _boot_id() -> str:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {(_PROC / 'self/ns/pid').readlink()}"
    except OSError:
        return ""


def _start_time(pid: int) -> str:
    """The start time in clock ticks since boot; empty when it can't be read."""
    try:
        status = (_PROC / f"{pid}/stat").read_bytes()
    except OSError:
        return ""
    # The second field is the command in parentheses and may hold anything; the start time is the 22nd.
    fields = status.rpartition(b")")[2].split()
    return fields[19].decode("ascii") if len(fields) > 19 else ""
