"""Actors: one owner per piece of state, reached by messages.

`Actor`, `Mailbox`, `Ref` and `ActorSystem` are public and need no store. On them stand the actors of the runtime:
`session` and `execution` decide, `wal_writer` and `state_writer` are the only ones that write the stores, and
`outbox_relay` brings events out. None of them knows an adapter: they get objects that fulfil `domain.ports`.
"""

from intendant.actors.actor import Actor
from intendant.actors.dead_letters import DeadLetters, Reason, Undelivered
from intendant.actors.mailbox import Mailbox, Overflow
from intendant.actors.pressure import Pressure
from intendant.actors.ref import Ref
from intendant.actors.system import ActorSystem

__all__ = ["Actor", "ActorSystem", "DeadLetters", "Mailbox", "Overflow", "Pressure", "Reason", "Ref", "Undelivered"]
