"""Whether the code that runs may go forward: not inside of a saga's block that has failed."""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import Protocol


class Block(Protocol):
    """The block of a saga, as seen from the durable calls in it."""

    def check_forward(self) -> None:
        """Raise what the block failed with, if it did."""
        ...


_block: ContextVar[Block] = ContextVar("intendant.block")


def check_forward() -> None:
    """Called before something durable begins: raises what a block around it has failed with, at this run or before."""
    block = _block.get(None)
    if block is not None:
        block.check_forward()


def current_block() -> Block | None:
    """The innermost block that this task is in, or was started in."""
    return _block.get(None)


def enter(block: Block) -> Token[Block]:
    """From here on this task, and those it starts, are in that block."""
    return _block.set(block)


def leave(token: Token[Block]) -> None:
    """This task is where it was before `enter`; nothing is left of it in the context."""
    _block.reset(token)
