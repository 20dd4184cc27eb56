"""Errors of the SQL layer: each names file, line, the text found there and the right form."""

import difflib
from collections.abc import Iterable
from pathlib import Path

from tamis.base.errors import PermanentError


class SqlProjectError(PermanentError):
    """Base: a problem at a line of a file of the SQL project."""

    def __init__(self, file: Path, line: int, problem: str, withheld: str = "") -> None:
        self.file, self.line, self.problem, self.withheld = file, line, problem, withheld
        super().__init__(f"{file}:{line}: {problem}")


class ProjectFileError(SqlProjectError):
    """A YAML file, a folder or a name is not what the project layout asks for."""


class TemplateError(SqlProjectError):
    """The Jinja part of a SQL file cannot be rendered."""


class SqlSyntaxError(SqlProjectError):
    """The rendered SQL is not one SELECT statement."""


class UnorderedModelError(SqlProjectError):
    """A mart has no ORDER BY, or one that does not name columns of its result."""


class ModelRunError(SqlProjectError):
    """DuckDB refused a model or a test although it parsed.

    What it says while it computes rows may quote one, and is `withheld`.
    """


class SlowModelError(SqlProjectError):
    """A model or one of its tests took longer than it may."""

    def __init__(self, file: Path, model: str, seconds: float) -> None:
        self.model, self.seconds = model, seconds
        super().__init__(
            file,
            1,
            f"model {model} and its tests took over {seconds:g} s and were ended; read fewer rows, or look "
            "for a join without a condition",
        )


class UnknownReferenceError(SqlProjectError):
    """ref() or source() of a name that does not exist; the message lists the valid ones."""

    def __init__(self, file: Path, line: int, kind: str, name: str, valid: Iterable[str]) -> None:
        self.kind, self.name, self.valid = kind, name, sorted(valid)
        super().__init__(file, line, f"unknown {kind} {name!r}{hint(name, self.valid)}")


class UnknownColumnError(SqlProjectError):
    """A column that none of the relations in scope has, or that the result of the model lacks."""

    def __init__(self, file: Path, line: int, column: str, valid: Iterable[str]) -> None:
        self.column, self.valid = column, sorted(valid)
        super().__init__(file, line, f"unknown column {column!r}{hint(column, self.valid)}")


class CycleError(SqlProjectError):
    """Models or tests that depend on each other in a circle."""

    def __init__(self, file: Path, line: int, cycle: Iterable[str]) -> None:
        self.cycle = tuple(cycle)
        super().__init__(file, line, f"models depend on each other in a cycle: {' -> '.join(self.cycle)}")


class MissingColumnsError(PermanentError):
    """A table that was read lacks columns that a model needs."""

    def __init__(self, table: str, missing: Iterable[str], present: Iterable[str]) -> None:
        self.table, self.missing, self.present = table, sorted(missing), sorted(present)
        super().__init__(
            f"columns missing from table {table!r}: {', '.join(self.missing)}; columns that the table has: "
            f"{', '.join(self.present)}"
        )


def hint(name: str, valid: list[str]) -> str:
    """Return the valid name that a wrong one is likely meant to be, and all valid names."""
    close = difflib.get_close_matches(name, valid, n=1)
    guess = f" (did you mean {close[0]!r}?)" if close else ""
    return f"{guess}; valid: {', '.join(valid) or 'none'}"
