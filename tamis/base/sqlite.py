"""SQLite databases that another program has locked: waited for, and named where waiting was in vain.

So does a browser of databases with a transaction open, or a backup. SQLite says "database is locked" and no
more.
"""

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

from tamis.base.errors import TransientError
from tamis.base.progress import say

PATIENCE_SECONDS = 60.0
"""How long a locked database is waited for."""
SAID_AFTER_SECONDS, PAUSE_SECONDS = 3.0, 0.2
LOCKED = "is locked"


class DatabaseLockedError(TransientError):
    """Another program has kept a database locked; names both, as far as is known."""

    def __init__(self, paths: Iterable[Path], holders: Iterable[str], seconds: float) -> None:
        what = " and ".join(map(str, paths))
        super().__init__(
            f"the database {what} has been locked by {', '.join(holders) or 'another program'} for "
            f"{seconds:.0f} s; close the program that uses it, then run the same command again"
        )

    @classmethod
    def of(cls, paths: Iterable[Path], seconds: float) -> "DatabaseLockedError":
        """Return the error for those of these databases that are locked now; for all where none is."""
        paths = list(paths)
        locked = [path for path in paths if is_locked_now(path)] or paths
        return cls(locked, users_of(locked), seconds)


def is_locked(error: BaseException | None) -> bool:
    """Return whether an error, or what caused it, says that a database of SQLite is locked."""
    while error is not None:
        if LOCKED in str(error) and ("database" in str(error) or "table" in str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def is_locked_now(path: Path) -> bool:
    """Return whether a database that exists cannot be written at this moment since somebody has it locked."""
    if not path.is_file():
        return False
    try:
        address = f"{path.absolute().as_uri()}?mode=rw"
        with contextlib.closing(sqlite3.connect(address, 0, isolation_level=None, uri=True)) as opened:
            opened.execute("BEGIN IMMEDIATE")
            opened.execute("ROLLBACK")
    except sqlite3.Error as error:
        return LOCKED in str(error)
    return False


def wait_until_free(paths: Iterable[Path]) -> None:
    """Wait until nobody has any of these databases locked; raises `DatabaseLockedError` after 60 s."""
    paths, began, said = list(paths), time.monotonic(), False
    while locked := [path for path in paths if is_locked_now(path)]:
        waited = time.monotonic() - began
        if waited > PATIENCE_SECONDS:
            raise DatabaseLockedError(locked, users_of(locked), PATIENCE_SECONDS)
        if waited > SAID_AFTER_SECONDS and not said:
            said = True
            say(f"waiting up to {PATIENCE_SECONDS:.0f} s for {locked[0]}, which another program has locked")
        time.sleep(PAUSE_SECONDS)


def users_of(paths: Iterable[Path]) -> list[str]:
    """Return the other processes of this user that have one of these files open, each with its name."""
    files, users = {str(path.resolve()) for path in paths}, set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and files.intersection(one.path for one in process.open_files()):
                users.add(f"process {process.pid} ({process.name()})")
    return sorted(users)
