"""SQLite under Dagster: commits that do not wait for the disk, in the databases of DAGSTER_HOME alone.

These are in WAL mode, where that is safe; MLflow's is not, and those of other engines of this process are not
ours. Dagster opens and closes a connection for every event, and the last close of a file writes it out. A
connection to each of the last few files is kept open, and SQLite waits for the disk at checkpoints only. A
killed process loses nothing; a power cut may lose the last events, and these are logged again from the
manifests.

The process of the sensors opens an instance for each tick of each of them, and Dagster asks each database
whether its version is the newest. For that it reads some seventy migrations, which was most of what idle
sensors cost; they are read once a process.
"""

import os
import sqlite3
from collections import OrderedDict
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import dagster._core.storage.sql as dagster_sql
from sqlalchemy import event
from sqlalchemy.engine import Engine

KEPT_OPEN = 4
DATABASES = 3
"""Of runs, events and schedules: each has migrations of its own."""
_open: OrderedDict[str, sqlite3.Connection] = OrderedDict()


class Migrations(dagster_sql.ScriptDirectory):
    """Dagster's migrations; the configuration of a database is one object a process, as Dagster makes it."""

    @classmethod
    @lru_cache(maxsize=DATABASES)
    def from_config(cls, config: Any) -> "Migrations":
        """Return the migrations that a configuration names, read once."""
        return cast(Migrations, super().from_config(config))


dagster_sql.ScriptDirectory = Migrations  # type: ignore[misc]


@event.listens_for(Engine, "connect")
def lighten(connection: Any, _record: Any) -> None:
    """Prepare each new connection to a database of Dagster, and keep another one to the same file open."""
    home = os.environ.get("DAGSTER_HOME")
    if not home or not isinstance(connection, sqlite3.Connection):
        return
    (_number, _name, path) = connection.execute("PRAGMA database_list").fetchone()
    if path and _is_below(path, home):
        connection.execute("PRAGMA synchronous = NORMAL")
        _keep_open(path)


@lru_cache(maxsize=256)
def _is_below(path: str, home: str) -> bool:
    """Whether a file is in a folder; asked for each event, so the answer is kept."""
    return Path(path).resolve().is_relative_to(Path(home).resolve())


def _keep_open(path: str) -> None:
    if path not in _open:
        _open[path] = kept = sqlite3.connect(path, check_same_thread=False)
        kept.execute("SELECT count(*) FROM sqlite_master")  # only what has read holds the file's log
    _open.move_to_end(path)
    while len(_open) > KEPT_OPEN:
        _open.popitem(last=False)[1].close()


def let_go(folder: Path) -> None:
    """Close the connections that are kept open to files below a folder."""
    for path in [path for path in _open if Path(path).is_relative_to(folder)]:
        _open.pop(path).close()
