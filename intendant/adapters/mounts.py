"""What a file lies on: some file systems can't keep what they say, and some keep nothing when the power fails."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

# Their locks and shared memory do not hold between machines, which SQLite's WAL mode and our lock file need.
NETWORK: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "lustre", "glusterfs", "fuse.glusterfs", "fuse.sshfs"}
)
VOLATILE: Final = frozenset({"tmpfs", "ramfs"})

_MOUNTS = Path("/proc/self/mountinfo")


def file_system_of(path: Path) -> str:
    """The type of the file system that `path` lies on, such as "ext4"; empty where it can't be told."""
    try:
        lines = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    place = f"{path.resolve()}/"
    found, depth = "", -1
    for line in lines:
        before, _, after = line.partition(" - ")
        mounted = _unescaped(before.split(" ", 5)[4]).rstrip("/") + "/"
        if len(mounted) >= depth and place.startswith(mounted):  # of two at one place the later one counts
            found, depth = after.split(" ", 1)[0], len(mounted)
    return found


def _unescaped(name: str) -> str:
    if "\\" not in name:
        return name
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), name)
