"""`intendant demo`: finds the realms example and runs it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import intendant
from intendant.cli.exits import Refusal

EXAMPLE = "examples.realms.demo"


def demo(folder: Path | None, *, crash: bool, out: Path) -> int:
    """Run the example; returns its exit code. Raises Refusal when it, or what it needs, is not there."""
    checkout = Path(intendant.__file__).resolve().parents[1]
    if (checkout / "examples" / "realms" / "demo.py").is_file() and str(checkout) not in sys.path:
        sys.path.insert(0, str(checkout))
    try:
        example = importlib.import_module(EXAMPLE)
    except ModuleNotFoundError as error:
        raise Refusal(_missing(error.name or "")) from None
    code: int = example.main(folder, crash=crash, out=out)
    return code


def _missing(module: str) -> str:
    if EXAMPLE.startswith(module):
        return "the demo is not part of the installed package: clone the repository, and run `make run` in it"
    return f"the demo needs {module}, which is not installed: pip install 'intendant[demo]'"
