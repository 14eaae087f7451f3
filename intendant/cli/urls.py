"""Stores by what was said on the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from intendant.adapters.files import NoFileStore
from intendant.adapters.sqlite import SqliteStore
from intendant.adapters.urls import open_cold, open_files, open_store
from intendant.cli.exits import USAGE, Refusal
from intendant.domain.errors import InvalidValue
from intendant.domain.ports import ColdStore, FileStore, Store

T = TypeVar("T")


def named(open: Callable[[str], T], option: str, url: str) -> T:
    """What a URL names. Raises Refusal, which names the option."""
    try:
        return open(url)
    except InvalidValue as error:
        raise Refusal(f"{option}: {problem_of(error)}", USAGE) from None


def problem_of(error: InvalidValue) -> str:
    """What is wrong, without what it is wrong with."""
    return str(error).removeprefix(f"{error.what}: ")


def hot_of(option: str, url: str, *, there: bool) -> Store:
    """A hot store; with `there` it must be one that can hold something already."""
    store = named(open_store, option, url)
    if there and url.startswith("memory:"):
        raise Refusal(f"{option}: memory: holds nothing of another process", USAGE)
    if there and isinstance(store, SqliteStore) and not Path(store.path).is_file():
        raise Refusal(f"{option}: there is no file {store.path}", USAGE)
    return store


def cold_of(option: str, url: str | None) -> ColdStore | None:
    """A cold store, if one is named."""
    return None if url is None else named(open_cold, option, url)


def files_of(option: str, hot: Store, url: str | None) -> FileStore | None:
    """The files of a hot store, where it has a place for them or one is named."""
    files = named(lambda each: open_files(hot.name, each), option, url) if url else open_files(hot.name)
    return None if isinstance(files, NoFileStore) else files
