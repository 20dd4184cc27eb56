"""What may be stored of an error: in Dagster's log, in the tables of failures, in messages to a webhook.

Messages of Tamis quote no document, and neither do those of MLflow and of SQL databases, which hold none. Any
other library may quote one: a parser names the value that it cannot convert, a dictionary a missing key.
"""

import hashlib
import os
import sqlite3
import traceback
from pathlib import Path

from tamis.base.errors import TamisError, without_secrets
from tamis.base.installation import PACKAGE, ROOT
from tamis.base.limits import limit_reached

NOT_KEPT = "message not kept since it may quote a document"
RAN_OUT = "out of memory"
OF_DATABASES = frozenset(
    {
        *("MlflowException", "RestException", "DatabaseError", "OperationalError", "IntegrityError"),
        *("ProgrammingError", "InterfaceError", "InternalError", "DataError", "NotSupportedError"),
    }
)
"""Classes of MLflow, of SQLite and of SQLAlchemy whose messages are kept."""
SHOWN_CHARACTERS = 500
"""Of what a server answers; it may answer with a page."""


class ReducedError(Exception):
    """An error whose `description` is what `kept_message` made of another one."""

    description: str | None


def kept_message(error: BaseException) -> str:
    """Return what may be stored of an error: its class, and a message that quotes no document.

    Messages of Tamis are kept, what the operating system, MLflow and SQL databases say, and that memory or a
    limit ran out. Any other library may quote the text that it failed at, so of its error the class, the
    place and a digest of the message stay.
    """
    name = type(error).__name__
    if isinstance(error, ReducedError) and error.description:
        return error.description
    if isinstance(error, TamisError | ImportError):
        return f"{name}: {error}"
    if limited := limit_reached(error):
        return f"{name}: {limited}"
    if isinstance(error, OSError) and error.errno is not None:
        named = f": {str(error.filename)!r}" if error.filename is not None else ""
        return f"{name}: [Errno {error.errno}] {os.strerror(error.errno)}{named}"
    if (plain := said_by_database(error)) is not None:
        return f"{name}: {plain}"
    said = " ".join(str(error).split())
    if RAN_OUT in said.lower() or "allocate memory" in said:
        return f"{name}: {RAN_OUT}"
    return f"{name}{_place(error)}, {not_kept(str(error))}" if said else f"{name}{_place(error)}"


def said_by_database(error: BaseException) -> str | None:
    """Return what MLflow, SQLite or a database behind SQLAlchemy says, None for other errors.

    Without the statement and its values, which SQLAlchemy adds in lines of their own.
    """
    original, names = getattr(error, "orig", None), {base.__name__ for base in type(error).__mro__}
    if type(error).__name__ not in OF_DATABASES:
        return None
    if "DBAPIError" in names and isinstance(original, BaseException):
        error = original
    elif "MlflowException" not in names and not isinstance(error, sqlite3.Error):
        return None
    first = str(error).strip().split("\n[", 1)[0]
    return without_secrets(" ".join(first.split()))[:SHOWN_CHARACTERS]


def not_kept(message: str) -> str:
    """Return what is stored in place of a message that may quote a document."""
    digest = hashlib.sha256(message.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{NOT_KEPT} (sha256 {digest}); `tamis materialize` shows it"


def _place(error: BaseException) -> str:
    """Return the innermost line of the platform that the error passed."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_relative_to(PACKAGE):
            return f" at {path.resolve().relative_to(ROOT).as_posix()}:{frame.lineno}"
    return ""
