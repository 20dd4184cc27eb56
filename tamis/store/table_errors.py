"""What can be wrong with a table: it was not made yet, or its files cannot be read."""

import contextlib
from collections.abc import Iterator

from tamis.base.errors import PermanentError, TamisError
from tamis.store.remote.objects import object_store_problem
from tamis.store.schemas import declared

PANICS = ("RustPanic", "PanicException")
"""What Python sees of a decoder that stopped at bytes it never wrote; the second is no `Exception`."""


class UnknownTableError(PermanentError):
    """A table that does not exist yet; names the table and what makes it."""

    def __init__(self, table: str) -> None:
        self.table = table
        super().__init__(
            f"table {table!r} does not exist; if it is one of Tamis's own tables, `tamis materialize` "
            "creates it"
        )


class DamagedTableError(PermanentError):
    """A table whose files cannot be read; names the table and the way back."""

    def __init__(self, table: str, problem: str) -> None:
        self.table, self.problem = table, problem
        cure = "`tamis materialize` rebuilds the table"
        if (known := declared(table)) and known.decided:
            cure = (
                f"the table cannot be rebuilt, so restore lance/{table}.lance in the home from a backup; "
                f"without a backup, run `tamis materialize --allow-removal table:{table}`: what it said is "
                "lost, and its files are moved aside"
            )
        first = next(iter(problem.strip().splitlines()), "it cannot be read")
        super().__init__(f"table {table!r} is damaged ({first[:160]}); {cure}")


@contextlib.contextmanager
def reading(table: str) -> Iterator[None]:
    """Turn what the storage layer raises on unreadable files into `DamagedTableError`.

    An object store that does not answer, or refuses, is no damage: `StorageUnavailableError` and the like.
    """
    try:
        yield
    except (RuntimeError, OSError, ValueError) as error:
        if isinstance(error, ValueError) and "was not found" in str(error):
            raise UnknownTableError(table) from error
        if problem := object_store_problem(error):
            raise problem from error
        raise DamagedTableError(table, str(error) or type(error).__name__) from error
    except BaseException as error:
        if type(error).__name__ not in PANICS:
            raise
        raise DamagedTableError(table, str(error)) from error


@contextlib.contextmanager
def decoding(table: str) -> Iterator[None]:
    """Turn whatever fails while rows are decoded and hashed into `DamagedTableError`.

    For an audit alone: damaged bytes that a decoder accepts may fail at any later line, while elsewhere such
    an error is a mistake in the program and no reason to call a table damaged.
    """
    try:
        with reading(table):
            yield
    except TamisError:
        raise
    except Exception as error:
        raise DamagedTableError(table, f"{type(error).__name__}: {error}") from error


@contextlib.contextmanager
def asking() -> Iterator[None]:
    """Turn an object store's failure while LanceDB connects to it or lists into ours; leave all else."""
    try:
        yield
    except (RuntimeError, OSError, ValueError) as error:
        if problem := object_store_problem(error):
            raise problem from error
        raise
