"""What a working copy knows of the object store: the tag of each object, and the state of its file.

An SQLite file in the cache, so that two processes may note things at once. Without it everything is fetched
again.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_TABLE = "CREATE TABLE IF NOT EXISTS objects (name TEXT PRIMARY KEY, tag TEXT, state TEXT) WITHOUT ROWID"
ABSENT = ""
DROPPED = "dropped"
"""The state of a file that is not here and is not to be in the store either."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """An object, and the state of its file when both were the same; `ABSENT` while there is no file."""

    name: str
    tag: str
    state: str


class CopyIndex:
    """All that is known, by name under the home."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def is_lost(self) -> bool:
        """Whether nothing is known any more; a file that is no database goes."""
        if not self.path.exists():
            return True
        try:
            self.read()
        except sqlite3.OperationalError:  # in use, or a full disk: nothing is lost
            raise
        except sqlite3.DatabaseError:
            self.path.unlink()
            return True
        return False

    def read(self) -> dict[str, Known]:
        """Everything."""
        with self._open() as database:
            rows = database.execute("SELECT name, tag, state FROM objects").fetchall()
        return {name: Known(name=name, tag=tag, state=state) for name, tag, state in rows}

    def of(self, names: Iterable[str]) -> dict[str, Known]:
        """What is known of these."""
        with self._open() as database:
            query = "SELECT name, tag, state FROM objects WHERE name = ?"
            rows = [row for name in names for row in database.execute(query, (name,))]
        return {name: Known(name=name, tag=tag, state=state) for name, tag, state in rows}

    def below(self, folder: str) -> list[str]:
        """Names of the known objects of a folder."""
        with self._open() as database:
            query = "SELECT name FROM objects WHERE name > ? AND name < ?"
            return [name for (name,) in database.execute(query, (f"{folder}/", f"{folder}0"))]  # 0 follows /

    def note(self, known: Iterable[Known]) -> None:
        """Remember these, in place of what was known of them."""
        rows = [(one.name, one.tag, one.state) for one in known]
        with self._open() as database:
            database.executemany("INSERT OR REPLACE INTO objects VALUES (?, ?, ?)", rows)

    def forget(self, names: Iterable[str]) -> None:
        """Remember nothing of these."""
        with self._open() as database:
            database.executemany("DELETE FROM objects WHERE name = ?", [(name,) for name in names])

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(self.path, timeout=30)
        try:
            with database:
                database.execute(_TABLE)
                yield database
        finally:
            database.close()


def state_of(path: Path) -> str:
    """What changes with a file's content: size, time of writing, and number; `ABSENT` where there is none."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return ABSENT
    return f"{found.st_size}.{found.st_mtime_ns}.{found.st_ino}"
