"""The documents of one collection, encoded: millions of them as objects would not fit into the memory of a machine."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping

import msgspec
from msgspec import Raw

from tests.arango_standin.messages import Json


class Documents(MutableMapping[str, Json]):
    """By `_key`. What is looked up is a copy, which may be changed."""

    def __init__(self) -> None:
        self._encoded: dict[str, bytes] = {}
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[Json] = msgspec.msgpack.Decoder(Json)

    def __getitem__(self, key: str) -> Json:
        return self._decoder.decode(self._encoded[key])

    def __setitem__(self, key: str, document: Json) -> None:
        self._encoded[key] = self._encoder.encode(document)

    def __delitem__(self, key: str) -> None:
        del self._encoded[key]

    def __contains__(self, key: object) -> bool:
        return key in self._encoded

    def __iter__(self) -> Iterator[str]:
        return iter(self._encoded)

    def __len__(self) -> int:
        return len(self._encoded)

    def find(self, key: str) -> Json | None:
        """The document of this key, if there is one."""
        encoded = self._encoded.get(key)
        return None if encoded is None else self._decoder.decode(encoded)

    def raw(self, key: str) -> Raw:
        """A document as it is kept, to be put into something else that is encoded."""
        return Raw(self._encoded[key])
