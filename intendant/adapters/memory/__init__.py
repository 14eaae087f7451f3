"""Stores in memory: the fastest, and the reference for what the ports mean. They know no driver."""

from intendant.adapters.memory.cold import MemoryColdStore
from intendant.adapters.memory.files import MemoryFileStore
from intendant.adapters.memory.store import MemoryLog, MemorySnapshot, MemoryStore

__all__ = ["MemoryColdStore", "MemoryFileStore", "MemoryLog", "MemorySnapshot", "MemoryStore"]
