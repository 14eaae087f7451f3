"""What a Redis server's error replies mean for whoever called."""

from __future__ import annotations

from typing import Final

from intendant.domain.errors import IntendantError, InternalError, InvalidValue, StoreUnavailable

FUNCTION_MISSING: Final = "ERR Function not found"

_MOVED: Final = {
    "MOVED": "another node of its cluster serves this by now; it is looked for",
    "CLUSTERDOWN": "the cluster does not serve, as far as this node knows; look at CLUSTER INFO",
}
_MOVING: Final = "the cluster is moving this slot; it answers when that is done"
_UNAVAILABLE: Final = {
    "LOADING": "it is loading its data; it answers when that is done",
    "MASTERDOWN": "it is a replica that lost its primary; name the primary, or mend the replication",
    "READONLY": "it is a replica and takes no writes; name the primary",
    "MISCONF": "it can't save and refuses writes; look into its log, often its disk is full",
    "OOM": "its memory is full; raise maxmemory, or let retention remove more",
    "TRYAGAIN": _MOVING,
    "ASK": _MOVING,
    "CROSSSLOT": "it is a cluster that splits what belongs together; name a server that is no cluster",
    "BUSY": "a script of somebody holds it up; end that with SCRIPT KILL or FUNCTION KILL",
    "NOREPLICAS": "it has fewer good replicas than min-replicas-to-write; start them, or lower that",
    "NOAUTH": "it wants a password; put it into the URL: redis://:PASSWORD@host",
    "WRONGPASS": "it refuses the user or password of the URL; correct them",
    "NOPERM": "the user may not do this; give it the commands with ACL SETUSER, on keys of the prefix",
    "UNKILLABLE": "a script of somebody holds it up; restart it",
}


class Moved(StoreUnavailable):
    """Another node of the cluster serves this by now, or may: one that is cut off can't tell. Nothing was done."""


def translate(message: str, server: str) -> IntendantError:
    """The error to raise for an error reply of the server with this name.

    A refused password or permission is StoreUnavailable, too: somebody may mend it while we wait.
    """
    kind = message.partition(" ")[0]
    if kind in _MOVED:
        return Moved(f"{server}: {_MOVED[kind]} ({message})")
    if kind in _UNAVAILABLE:
        return StoreUnavailable(f"{server}: {_UNAVAILABLE[kind]} ({message})")
    if "non local key" in message:  # met by a function that only reads
        return StoreUnavailable(f"{server}: {_MOVING} ({message})")
    if message.startswith("ERR SELECT is not allowed in cluster mode"):
        return InvalidValue(
            "hot", f"{server} is a node of a cluster, which has database 0 only; say /0 in the URL ({message})"
        )
    if kind == "WRONGTYPE":
        return InternalError(f"{server}: a key of ours holds what is not ours; use another ?prefix= ({message})")
    if "-OOM" in message or "OOM command not allowed" in message:
        return StoreUnavailable(f"{server}: {_UNAVAILABLE['OOM']} ({message})")
    if message.startswith("ERR WAITAOF"):
        return StoreUnavailable(f"{server}: it does not sync what it writes any more; set appendonly yes ({message})")
    if message.startswith(("ERR max number of clients", "ERR AUTH", "ERR Client sent AUTH", "ERR DB index")):
        return StoreUnavailable(f"{server}: {message}")
    return InternalError(f"{server} refused a command: {message}")
