"""Where a command's log goes."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager


def logging_to_stderr(*, verbose: bool) -> None:
    """The log of a process that serves: warnings on stderr, or more; a program that has set up its own keeps it."""
    if not logging.getLogger().handlers:
        logging.basicConfig(
            level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
        )


@contextmanager
def library_log(*, verbose: bool) -> Generator[None]:
    """The library's log on stderr if it is wanted. If not, it is silent: what matters is part of the result."""
    logger = logging.getLogger("intendant")
    level, handler = logger.level, logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO if verbose else logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
