"""The store on a Redis server. Only this folder knows its protocol, through hiredis."""

from intendant.adapters.redis.store import RedisStore

__all__ = ["RedisStore"]
