"""Each route that the adapter uses: a request in, an answer out.

Each names the page of the documentation that it follows (docs.arangodb.com, the same for 3.11 and 3.12); what the pages
leave open stands as assumed in README.md. What is not described here, be it a path, an option, a property or a query,
is OutOfScope.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import msgspec

from tests.arango_standin.collection import Collection
from tests.arango_standin.cursors import BATCH, Cursor
from tests.arango_standin.data import SYSTEM, Change, Data
from tests.arango_standin.messages import Failure, Json, OutOfScope, Reply, Request, fail
from tests.arango_standin.selections import select

_DATABASE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}\Z")
_COLLECTION: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,255}\Z")
_TRUE: Final = frozenset({"true", "yes", "on", "y", "1"})
NOTHING_MORE: Final = {"silent": "0", "returnNew": "0", "returnOld": "0"}

Write = Callable[[Any], Json]


# --- HTTP API > Administration > Get the server version


def version(data: Data, request: Request) -> Reply:
    _only(request, details="0")
    return Reply(200, {"server": "arango", "license": "community", "version": data.version})


# --- HTTP API > Databases: List all databases; Create a database; Drop a database


def list_databases(data: Data, request: Request) -> Reply:
    _of_system(request)
    return Reply(200, {"error": False, "code": 200, "result": sorted(data.databases)})


def create_database(data: Data, request: Request) -> Reply:
    _of_system(request)
    body = _object(request)
    name, options = body.pop("name", None), body.pop("options", {})
    if body or set(options) - {"replicationFactor", "writeConcern"}:
        raise OutOfScope(f"{request.call} with {sorted(body)} {sorted(options)}")
    if not isinstance(name, str) or not _DATABASE.match(name):
        fail(1229)
    if name in data.databases:
        fail(1207)
    data.databases[name] = {}
    data.changed(Change(name))
    return Reply(201, {"error": False, "code": 201, "result": True})


def drop_database(data: Data, request: Request) -> Reply:
    _of_system(request)
    name = request.place[1]
    if name not in data.databases or name == SYSTEM:
        fail(1228)
    del data.databases[name]
    data.changed(Change(name, dropped=True))
    return Reply(200, {"error": False, "code": 200, "result": True})


# --- HTTP API > Collections: List all; Create; Get the properties; Drop


def list_collections(data: Data, request: Request) -> Reply:
    _only(request)
    found = [_basics(each.properties) for each in data.databases[request.database].values()]
    return Reply(200, {"error": False, "code": 200, "result": found})


def create_collection(data: Data, request: Request) -> Reply:
    _only(request)
    body = _object(request)
    name, kept = body.get("name"), data.databases[request.database]
    if not isinstance(name, str) or not _COLLECTION.match(name):
        fail(1208)
    if name in kept:
        fail(1207)
    properties = _properties(body, data.number())
    kept[name] = Collection(properties, data.revision)
    data.changed(Change(request.database, name, properties=properties))
    return Reply(200, {**properties, "error": False, "code": 200})


def get_properties(data: Data, request: Request) -> Reply:
    _only(request)
    if request.place[2] != "properties":
        raise OutOfScope(request.call)
    return Reply(200, {**_collection(data, request).properties, "error": False, "code": 200})


def drop_collection(data: Data, request: Request) -> Reply:
    _only(request)
    collection = _collection(data, request)
    del data.databases[request.database][collection.name]
    data.changed(Change(request.database, collection.name, dropped=True))
    return Reply(200, {"error": False, "code": 200, "id": collection.properties["id"]})


# --- HTTP API > Indexes > Persistent indexes > Create a persistent index


def create_index(data: Data, request: Request) -> Reply:
    _only(request, "collection")
    collection = data.collection(request.database, request.options.get("collection", ""))
    asked = _object(request)
    fields: Any = asked.get("fields")
    if not isinstance(fields, list) or not fields:
        fail(10)
    if asked.get("type") != "persistent" or asked.get("unique") or set(asked) - {"type", "fields", "unique", "name"}:
        raise OutOfScope(f"{request.call} with {asked}")
    is_new = collection.add_index(_index(data, collection, asked))
    index = collection.indexes[tuple(fields)][0]  # pyright: ignore[reportUnknownArgumentType]
    if is_new:
        data.changed(Change(request.database, collection.name, index=index))
    status = 201 if is_new else 200
    return Reply(status, {**index, "isNewlyCreated": is_new, "error": False, "code": status})


# --- HTTP API > Documents: Get a document; Create a document; Create, Get, Replace, Remove multiple documents


def get_document(data: Data, request: Request) -> Reply:
    _only(request)
    if {"if-match", "if-none-match"} & request.headers.keys():
        raise OutOfScope(f"{request.call} with a precondition")
    found = _collection(data, request).get(request.place[2])
    return Reply(200, found, {"etag": f'"{found["_rev"]}"'})


def create_documents(data: Data, request: Request) -> Reply:
    _only(request, "waitForSync", "overwriteMode", "versionAttribute", "overwrite", **NOTHING_MORE)
    collection, mode = _collection(data, request), request.options.get("overwriteMode")
    if mode is None:
        mode = "replace" if _is_true(request, "overwrite") else "conflict"
    if mode not in ("conflict", "ignore", "replace"):
        raise OutOfScope(f"{request.call} with overwriteMode={mode}")
    version = _version_attribute(data, request)

    def write(document: Any) -> Json:
        return collection.insert(document, mode=mode, version=version)

    if isinstance(request.body, list):
        return _written(data, request, collection, write)
    try:
        told = write(request.body)
    finally:
        synced = _wrote(data, request, collection)
    location = f"/_db/{request.database}/_api/document/{told['_id']}"
    return Reply(201 if synced else 202, told, {"etag": f'"{told["_rev"]}"', "location": location})


def put_documents(data: Data, request: Request) -> Reply:
    collection = _collection(data, request)
    if _is_true(request, "onlyget"):
        _only(request, "onlyget")
        return _many(200, _array(request), collection.get)
    _only(request, "waitForSync", "ignoreRevs", "versionAttribute", "overwrite", **NOTHING_MORE)
    check, version = request.options.get("ignoreRevs", "1") in ("0", "false"), _version_attribute(data, request)
    return _written(data, request, collection, lambda each: collection.replace(each, check=check, version=version))


def remove_documents(data: Data, request: Request) -> Reply:
    _only(request, "waitForSync", "ignoreRevs", "overwrite", **NOTHING_MORE)
    collection = _collection(data, request)
    check = request.options.get("ignoreRevs", "1") in ("0", "false")
    return _written(data, request, collection, lambda each: collection.remove(each, check=check), done=200)


# --- HTTP API > Queries > AQL queries: Create a cursor; Read the next batch, one again; Delete a cursor


def create_cursor(data: Data, request: Request) -> Reply:
    _only(request)
    body = _object(request)
    query, binds, size = body.get("query", 0), body.get("bindVars", {}), body.get("batchSize", BATCH)
    retry = bool(body.get("options", {}).get("allowRetry"))
    if not isinstance(query, str) or not query:
        fail(1502 if query in ("", None) else 600)
    if set(body) - {"query", "bindVars", "batchSize", "count", "memoryLimit", "options", "allowRetry"}:
        raise OutOfScope(f"{request.call} with {sorted(body)}")
    found = select(query, binds, lambda name: data.collection(request.database, name))
    return Reply(201, data.cursors.create(Cursor(request.database, found, size, retry=retry)))


def read_cursor(data: Data, request: Request) -> Reply:
    _only(request)
    id, *rest = request.place[1:]
    if rest and not rest[0].isdigit():
        raise OutOfScope(request.call)
    return Reply(200, data.cursors.more(request.database, id, int(rest[0]) if rest else None))


def delete_cursor(data: Data, request: Request) -> Reply:
    _only(request)
    return Reply(202, data.cursors.delete(request.database, request.place[1]))


# --- what they share


def _collection(data: Data, request: Request) -> Collection:
    return data.collection(request.database, request.place[1])


def _version_attribute(data: Data, request: Request) -> str | None:
    """It is new in 3.12; a server does not look at options that it does not know."""
    return request.options.get("versionAttribute") if data.version >= "3.12" else None


def _written(data: Data, request: Request, collection: Collection, write: Write, done: int = 201) -> Reply:
    reply = _many(202, _array(request), write)
    # The page on removing shows 202 where every one failed, although the collection waits for the disk.
    synced = _wrote(data, request, collection) and not all(told.get("error") for told in reply.body)
    return msgspec.structs.replace(reply, status=done) if synced else reply


def _wrote(data: Data, request: Request, collection: Collection) -> bool:
    """Hand on what a request wrote; returns whether it waits for the disk."""
    synced = _is_true(request, "waitForSync") or bool(collection.properties["waitForSync"])
    changed, removed = collection.take_changes()
    if changed or removed:
        data.changed(Change(request.database, collection.name, documents=changed, removed=removed), synced=synced)
    return synced


def _index(data: Data, collection: Collection, asked: Json) -> Json:
    number = data.number()
    told = {"id": f"{collection.name}/{number}", "name": asked.get("name", f"idx_{number}"), "type": "persistent"}
    more = {"unique": False, "sparse": False, "deduplicate": True, "estimates": True, "cacheEnabled": False}
    return {**told, "fields": asked["fields"], **more, "selectivityEstimate": 1}


def _only(request: Request, *options: str, **fixed: str) -> None:
    """What is asked otherwise than with these options, or with these values, is out of scope."""
    for name, value in request.options.items():
        if name not in options and fixed.get(name) != value:
            raise OutOfScope(f"{request.call} with {name}={value}")


def _is_true(request: Request, option: str) -> bool:
    return request.options.get(option, "").lower() in _TRUE


def _of_system(request: Request) -> None:
    _only(request)
    if request.database != SYSTEM:
        fail(1230)


def _object(request: Request) -> Json:
    body: Json | Any = request.body
    return body if isinstance(body, dict) else fail(600)  # pyright: ignore[reportUnknownVariableType]


def _array(request: Request) -> list[Any]:
    body: list[Any] | Any = request.body
    return body if isinstance(body, list) else fail(600)  # pyright: ignore[reportUnknownVariableType]


def _many(status: int, items: list[Any], act: Write) -> Reply:
    """Each item on its own: HTTP API > Documents > Multiple document operations."""
    told: list[Json] = []
    numbers: Counter[str] = Counter()
    for item in items:
        try:
            told.append(act(item))
        except Failure as failure:
            told.append(failure.element)
            numbers[str(failure.number)] += 1
    headers = {"x-arango-error-codes": msgspec.json.encode(dict(numbers)).decode()} if numbers else {}
    return Reply(status, told, headers)


def _basics(properties: Json) -> Json:
    return {name: properties[name] for name in ("id", "name", "status", "type", "isSystem", "globallyUniqueId")}


def _properties(asked: Json, id: str) -> Json:
    known = {"name", "waitForSync", "isSystem", "keyOptions", "type", "replicationFactor", "writeConcern"}
    key_options = asked.get("keyOptions", {"type": "traditional", "allowUserKeys": True})
    if set(asked) - known or asked.get("isSystem") or key_options != {"type": "traditional", "allowUserKeys": True}:
        raise OutOfScope(f"a collection with {asked}")
    copies: Json = {name: asked[name] for name in ("replicationFactor", "writeConcern") if name in asked}
    return {
        "id": id,
        "name": asked["name"],
        "status": 3,
        "statusString": "loaded",
        "type": asked.get("type", 2),
        "isSystem": False,
        "waitForSync": bool(asked.get("waitForSync", False)),
        "keyOptions": {**key_options, "lastValue": 0},
        "cacheEnabled": False,
        "schema": None,
        "computedValues": None,
        "globallyUniqueId": f"h{id}/{asked['name']}",
        **copies,
    }


Route = Callable[[Data, Request], Reply]
ROUTES: Final[dict[tuple[str, str, int], Route]] = {
    ("GET", "version", 1): version,
    ("GET", "database", 1): list_databases,
    ("POST", "database", 1): create_database,
    ("DELETE", "database", 2): drop_database,
    ("GET", "collection", 1): list_collections,
    ("POST", "collection", 1): create_collection,
    ("GET", "collection", 3): get_properties,
    ("DELETE", "collection", 2): drop_collection,
    ("POST", "index", 1): create_index,
    ("GET", "document", 3): get_document,
    ("POST", "document", 2): create_documents,
    ("PUT", "document", 2): put_documents,
    ("DELETE", "document", 2): remove_documents,
    ("POST", "cursor", 1): create_cursor,
    ("POST", "cursor", 2): read_cursor,
    ("POST", "cursor", 3): read_cursor,
    ("DELETE", "cursor", 2): delete_cursor,
}
