"""Dagster's SQLite databases in a home: each is there whole or not at all.

Dagster makes them table by table at first use, and takes a file that is there for a whole one: a kill within
that second would break the home for good. So they are made in a folder aside and moved into place.
"""

import contextlib
import fcntl
import os
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import yaml
from dagster._core.storage.event_log.schema import SqlEventLogStorageMetadata
from dagster._core.storage.runs.schema import RunStorageSqlMetadata
from dagster._core.storage.schedules.schema import ScheduleStorageSqlMetadata

from tamis.base.files import flush_one
from tamis.platform.resources.sqlite import let_go

TABLES = {
    Path("history/runs.db"): RunStorageSqlMetadata.tables,
    Path("history/runs/index.db"): SqlEventLogStorageMetadata.tables,
    Path("schedules/schedules.db"): ScheduleStorageSqlMetadata.tables,
}
STAMP = "alembic_version"
OF_MAKING = frozenset({STAMP, "secondary_indexes"})
"""Tables that hold rows before anything has happened."""
ELSEWHERE = frozenset({"storage", "run_storage", "event_log_storage", "schedule_storage"})
"""Keys of a dagster.yaml that keep the state somewhere else."""


@dataclass(frozen=True, kw_only=True)
class Incomplete:
    """A database that lacks tables, or the version that Dagster writes last; `rows`: it keeps something."""

    path: Path
    lacks: tuple[str, ...]
    rows: bool

    @property
    def line(self) -> str:
        """What is wrong, for a person."""
        tables = f"no table {', '.join(self.lacks)}" if self.lacks else "no version"
        return f"{self.path.name} is incomplete ({tables})"


def databases_of(folder: Path) -> list[Path]:
    """Return the paths of all databases of SQLite below DAGSTER_HOME, those of single runs included."""
    own = [folder / path for path in TABLES]
    runs = (folder / "history" / "runs").glob("*.db")
    return [*own, *(path for path in sorted(runs) if path not in own)]


def incomplete_databases(folder: Path) -> list[Incomplete]:
    """Databases below `folder`, DAGSTER_HOME, that are there but not whole; of one that is missing nothing.

    One that cannot be read as a database, or that somebody has locked, is left to whoever opens it.
    """
    found = (_look(folder / path, frozenset(tables)) for path, tables in TABLES.items())
    return [one for one in found if one is not None]


def _look(path: Path, tables: frozenset[str]) -> Incomplete | None:
    if not path.exists():
        return None
    with contextlib.suppress(sqlite3.DatabaseError), _connected(path) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        present = {name for (name,) in names if not name.startswith("sqlite_")}
        lacks = sorted({*tables, STAMP} - present)
        if not lacks and _has_rows(connection, STAMP):
            return None
        rows = any(_has_rows(connection, name) for name in sorted(present - OF_MAKING))
        return Incomplete(path=path, lacks=tuple(lacks), rows=rows)
    return None


@contextlib.contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that makes no file; it may write, since SQLite first undoes what a killed writer began."""
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)) as connection:
        yield connection


def _has_rows(connection: sqlite3.Connection, table: str) -> bool:
    return connection.execute(f'SELECT 1 FROM "{table}" LIMIT 1').fetchone() is not None


def make_databases(folder: Path) -> None:
    """Make the databases that are missing below DAGSTER_HOME, and again those that a kill left half-made.

    What holds any rows is never replaced.
    """
    if not _unmade(folder) or ELSEWHERE.intersection(yaml.safe_load(_configuration(folder)) or ()):
        return
    aside = folder / "unfinished"
    with (folder / "databases.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.rmtree(aside, ignore_errors=True)  # of one that was killed
        if unmade := _unmade(folder):
            aside.mkdir()
            (aside / "dagster.yaml").touch()  # without one Dagster advises a person to make it
            dg.DagsterInstance.from_config(str(aside)).dispose()
            let_go(aside)
            for path in unmade:
                with _connected(aside / path) as connection:
                    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                _put(aside / path, folder / path)
            shutil.rmtree(aside)


def _configuration(folder: Path) -> str:
    return (folder / "dagster.yaml").read_text()


def _unmade(folder: Path) -> list[Path]:
    missing = [path for path in TABLES if not (folder / path).exists()]
    return missing + [one.path.relative_to(folder) for one in incomplete_databases(folder) if not one.rows]


def _put(made: Path, place: Path) -> None:
    """Move a whole database into place; no log of an earlier one may be taken for its own."""
    place.parent.mkdir(parents=True, exist_ok=True)
    for suffix in ("-journal", "-wal", "-shm"):
        place.with_name(place.name + suffix).unlink(missing_ok=True)
    flush_one(made)
    os.replace(made, place)
    flush_one(place.parent)
