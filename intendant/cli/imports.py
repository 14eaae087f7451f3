"""What `module:name` on the command line names."""

from __future__ import annotations

import difflib
import importlib
import sys
import traceback
from pathlib import Path
from typing import Any

from intendant.cli.exits import USAGE, Refusal


def imported(what: str, target: str) -> Any:
    """The object that `target` names, looked for from the current directory on. Raises Refusal that says what to do.

    `what` is the option or argument that named it.
    """
    module_name, colon, attribute = target.partition(":")
    if not (colon and module_name and attribute):
        raise Refusal(f"{what}: {target!r} names no object; say module:name, such as shop.main:runtime", USAGE)
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    module = _module(what, module_name)
    found: Any = module
    for name in attribute.split("."):
        if not hasattr(found, name):
            raise Refusal(f"{what}: {module_name} has no {attribute!r}{_instead(module, attribute)}", USAGE)
        found = getattr(found, name)
    return found


def _module(what: str, name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            here = f"looked in {Path.cwd()} and in what is installed"
            hint = f"; a file is named as a module: {_as_module(name)}" if name.endswith(".py") or "/" in name else ""
            raise Refusal(f"{what}: there is no module {error.name!r}; {here}{hint}", USAGE) from None
        raise Refusal(f"{what}: {name} needs {error.name}, which is not installed", USAGE) from error
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}, line {place.lineno}"
        raise Refusal(f"{what}: {name} can't be imported: {type(error).__name__}: {error} ({where})", USAGE) from error


def _as_module(name: str) -> str:
    return name.removesuffix(".py").strip("./").replace("/", ".")


def _instead(module: Any, attribute: str) -> str:
    """What may have been meant."""
    names: list[str] = [name for name in dir(module) if not name.startswith("_")]
    near = difflib.get_close_matches(attribute, names, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
