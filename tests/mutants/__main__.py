"""`make mutants`: whether the tests that a promise names fail when it does not hold.

Each mutant is planted in a copy of the sources, and the tests that its promise names run there, as in `make test`. One
that they all pass with has survived, and is told.
"""

from __future__ import annotations

import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from tests.mutants.mutant import ROOT, Mutant, mutants, promises

AT_A_TIME: Final = 2
SECONDS_MAX: Final = 600.0  # for all tests of a promise; what hangs longer is found by that,
TEST_SECONDS_MAX: Final = 60  # as one is of which a single test does
FAILED: Final = 1  # pytest's exit code when tests failed; others are no finding
NOTHING_RAN: Final = 5
_OPTIONS: Final = ("-p", "no:cacheprovider", "-o", f"timeout={TEST_SECONDS_MAX}")
_COPIED: Final = ("intendant", "tests", "docs", "examples", "benchmarks", "pyproject.toml", "_intendant_pytest.py")


@contextmanager
def copied() -> Generator[Path]:
    """A copy of what tests need, to plant mutants in."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as directory:
        for name in _COPIED:
            source, target = ROOT / name, Path(directory) / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        yield Path(directory)


@contextmanager
def planted(mutant: Mutant, root: Path) -> Generator[None]:
    """Meanwhile it stands in the copy."""
    path, sound, mutated = mutant.edit(root)
    path.write_text(mutated)
    try:
        yield
    finally:
        path.write_text(sound)


def runs(named: list[tuple[str, str]]) -> Iterator[list[str]]:
    """What pytest is told, for tests and for parts of conformance suites, which every adapter has to pass."""
    parts = [name for file, name in named if file.startswith("intendant/")]
    if parts:
        yield ["tests/adapters", "-k", " or ".join(parts)]
    tests = [f"{file}::{name}" for file, name in named if file.startswith("tests/")]
    if tests:
        yield tests


def found_by(root: Path, named: list[tuple[str, str]]) -> str | None:
    """The first of these tests that fails; None when all pass. Raises RuntimeError when they could not be run."""
    ran = False
    for told in runs(named):
        command = [sys.executable, "-m", "pytest", "-x", "-q", *_OPTIONS, *told]
        environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            done = subprocess.run(
                command, cwd=root, env=environment, capture_output=True, text=True, timeout=SECONDS_MAX, check=False
            )
        except subprocess.TimeoutExpired:
            return f"whoever waited {SECONDS_MAX:g} s for it to end"
        if done.returncode == FAILED:
            failed = re.search(r"^(?:FAILED|ERROR) (tests/.+?)(?: - .*)?$", done.stdout, re.MULTILINE)
            return failed[1] if failed else f"a test that did not end within {TEST_SECONDS_MAX} s"
        if done.returncode not in (0, NOTHING_RAN):
            raise RuntimeError(f"pytest ended with {done.returncode}:\n{done.stdout[-2_000:]}{done.stderr[-2_000:]}")
        ran = ran or done.returncode == 0
    if not ran:
        raise RuntimeError(f"none of {named} runs in `make test`")
    return None


def main() -> int:
    """Plant each that is named in the arguments, or all; returns how many survived.

    Before that the tests must pass as they are: where one fails anyway, everything would seem to be found.
    """
    chosen = [each for each in mutants() if not sys.argv[1:] or each.name in sys.argv[1:]]
    named, free = dict(promises()), queue.SimpleQueue[Path]()
    survived = 0

    def pass_without(promise: int) -> None:
        root = free.get()
        try:
            if failed := found_by(root, named[promise]):
                raise SystemExit(f"promise {promise}: {failed} fails with no mutant planted; mend that first")
        finally:
            free.put(root)

    def look_at(mutant: Mutant) -> tuple[str | None, float]:
        root, began = free.get(), time.monotonic()
        try:
            with planted(mutant, root):
                return found_by(root, named[mutant.promise]), time.monotonic() - began
        finally:
            free.put(root)

    with ExitStack() as stack, ThreadPoolExecutor(AT_A_TIME) as pool:
        for _ in range(AT_A_TIME):
            free.put(stack.enter_context(copied()))
        list(pool.map(pass_without, sorted({each.promise for each in chosen})))
        for mutant, (finder, seconds) in zip(chosen, pool.map(look_at, chosen), strict=True):
            if finder is None:
                survived += 1
            print(f"{mutant.promise:>2}  {mutant.name:<40} {seconds:4.0f} s  {finder or 'SURVIVED'}", flush=True)
    print(f"{len(chosen) - survived} of {len(chosen)} mutants were found")
    return survived


if __name__ == "__main__":
    sys.exit(min(main(), 1))
