"""Cold state in ArangoDB. Only this folder knows the driver, python-arango."""

from intendant.adapters.arango.errors import ColdStoreMisconfigured
from intendant.adapters.arango.store import ArangoColdStore

__all__ = ["ArangoColdStore", "ColdStoreMisconfigured"]
