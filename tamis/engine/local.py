"""What an engine does: the same piece of work on many blocks, results in the order of the blocks.

The local engine is a plain loop in this process, one block at a time in memory.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

from tamis.base.progress import Advance, ignore

State = TypeVar("State")
Block = TypeVar("Block")
Result = TypeVar("Result")


class Engine(Protocol):
    """Runs work on blocks.

    parts: in how many parts work is cut that could be cut anywhere; 1 where it is done in one go.
    """

    @property
    def parts(self) -> int: ...

    def map(
        self,
        work: Callable[[State, Block, Advance], Result],
        state: State,
        blocks: Iterable[Block],
        advance: Advance = ignore,
    ) -> Iterator[tuple[Block, Result]]:
        """Each block with `work(state, block, advance)`, in the order of the blocks.

        work: a function of a module, which may be called again for the same block. It leaves `state` as it
        is, and gets a copy of it, of the block, and of what they hold. Blocks are read as they are needed.
        """

    def rest(self) -> None:
        """Let go of what is held for the next `map`; called when a step is done."""


class LocalEngine:
    """One process, one block at a time; nothing is copied."""

    parts = 1

    def map(
        self,
        work: Callable[[State, Block, Advance], Result],
        state: State,
        blocks: Iterable[Block],
        advance: Advance = ignore,
    ) -> Iterator[tuple[Block, Result]]:
        """As `Engine.map`."""
        for block in blocks:
            yield block, work(state, block, advance)

    def rest(self) -> None:
        """Nothing is held."""


LOCAL = LocalEngine()
