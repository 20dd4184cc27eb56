"""Which engine is in force: that of the step's project, the local one where nobody has chosen."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from tamis.base.progress import silent
from tamis.engine.local import LOCAL, Engine

_CURRENT: ContextVar[tuple[Engine, Callable[[str], None]]] = ContextVar("engine", default=(LOCAL, silent))
"""The engine in force, and where its notes go."""


def current_engine() -> Engine:
    """The engine in force in this thread."""
    return _CURRENT.get()[0]


def note(line: str) -> None:
    """Say something about the engine to the log of the step."""
    _CURRENT.get()[1](line)


@contextmanager
def using(engine: Engine, log: Callable[[str], None] = silent) -> Iterator[Engine]:
    """Put an engine in force; `log` gets its notes: workers that came, were lost and replaced."""
    before = _CURRENT.get()
    _CURRENT.set((engine, log))
    try:
        yield engine
    finally:
        # Not by a token: a step that is given up may be closed in another context than it began in.
        _CURRENT.set(before)
        engine.rest()
