"""Dagster's SQLite databases in a home: each is there whole or not at all, and commits wait for no disk.

Dagster makes them table by table at first use, and takes a file that is there for a whole one: a kill within
that second would break the home for good. So they are made in a folder aside and moved into place.

Those of DAGSTER_HOME are in WAL mode, where commits that do not wait for the disk are safe; MLflow's is not,
and those of other engines of this process are not ours. Dagster makes an engine for every statement or two,
compiles these again, and opens and closes a connection for them: most of what an event cost. The engines of
the last few files are kept, with their connections, and SQLite waits for the disk at checkpoints only. A
killed process loses nothing; a power cut may lose the last events, and these are logged again from the
manifests.

The process of the sensors opens an instance for each tick of each of them, and Dagster asks each database
whether its version is the newest. For that it reads some seventy migrations, which was most of what idle
sensors cost; they are read once a process.
"""

import contextlib
import fcntl
import os
import shutil
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import dagster as dg
import yaml
from sqlalchemy import create_engine, event
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import QueuePool

from tamis.base.files import flush_one
from tamis.base.sqlite import PATIENCE_SECONDS
from tamis.runtime.dagster_internals import (
    RunStorageSqlMetadata,
    ScheduleStorageSqlMetadata,
    SqlEventLogStorageMetadata,
    events_on_sqlite,
    runs_on_sqlite,
    schedules_on_sqlite,
    sql_storage,
)

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
KEPT_OPEN = 8
"""Three databases and the logs of a few runs."""
DATABASES = 3
"""Of runs, events and schedules: each has migrations of its own."""
_patience = PATIENCE_SECONDS


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


class Migrations(sql_storage.ScriptDirectory):
    """Dagster's migrations; the configuration of a database is one object a process, as Dagster makes it."""

    @classmethod
    @lru_cache(maxsize=DATABASES)
    def from_config(cls, config: Any) -> "Migrations":
        """Return the migrations that a configuration names, read once."""
        return cast(Migrations, super().from_config(config))


class _Engines:
    """Engines of the files used last, by address: most recent last."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Engine] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, address: str, **options: Any) -> Engine:
        """Return the engine of a database; it takes the place of the one that Dagster would make.

        Only files below DAGSTER_HOME have one that is kept.
        """
        path, home = make_url(address).database, os.environ.get("DAGSTER_HOME")
        if not path or not home or not _is_below(path, home):
            return create_engine(address, **options)
        with self._lock:
            if address not in self._kept:
                found = create_engine(address, **{**options, "poolclass": QueuePool})
                found.dispose = _keep_connections  # type: ignore[method-assign]
                event.listen(found, "connect", _note_file)
                event.listen(found, "checkout", _require_file)
                self._kept[address] = found
            self._kept.move_to_end(address)
            while len(self._kept) > KEPT_OPEN:
                Engine.dispose(self._kept.popitem(last=False)[1])
            return self._kept[address]

    def let_go(self, folder: Path) -> None:
        """Close the connections to files below a folder."""
        with self._lock:
            for address in [one for one in self._kept if _path_of(one).is_relative_to(folder)]:
                Engine.dispose(self._kept.pop(address))

    def leave_to_parent(self) -> None:
        """Forget, in a forked process, what its parent has open: a connection must not cross a fork."""
        for engine in self._kept.values():
            Engine.dispose(engine, close=False)
        self._kept.clear()
        self._lock = threading.Lock()


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


@event.listens_for(Engine, "connect")
def lighten(connection: Any, _record: Any) -> None:
    """Prepare each new connection to a database of Dagster."""
    home = os.environ.get("DAGSTER_HOME")
    if not home or not isinstance(connection, sqlite3.Connection):
        return
    path = _database_of(connection)
    if path and _is_below(path, home):
        connection.execute("PRAGMA synchronous = NORMAL")


@event.listens_for(Engine, "do_connect")
def open_patiently(dialect: Any, _record: Any, arguments: list[Any], options: dict[str, Any]) -> None:
    """Let SQLite wait for whoever has a database locked, and open one in a folder that may only be read.

    There SQLite cannot make the log of a database at rest.
    """
    if dialect.name == "sqlite":
        options.setdefault("timeout", _patience)
    home, path = os.environ.get("DAGSTER_HOME"), arguments[0] if arguments else ""
    if not home or not isinstance(path, str) or os.access(os.path.dirname(path), os.W_OK):
        return
    if os.path.isfile(path) and _is_below(path, home) and not os.path.exists(f"{path}-wal"):
        arguments[0], options["uri"] = f"{Path(path).resolve().as_uri()}?immutable=1", True


def patience() -> float:
    """Return how many seconds a locked database is waited for."""
    return _patience


def wait_at_most(seconds: float) -> None:
    """Have this process wait so long for a locked database, as probes that are asked again and again."""
    global _patience
    _patience = seconds


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


def _path_of(address: str) -> Path:
    return Path(make_url(address).database or "")


def _keep_connections(close: bool = True) -> None:
    """Do nothing where Dagster disposes of an engine: the next event needs its connections."""


def _note_file(connection: Any, record: Any) -> None:
    """Note which file a connection is to: another may take its place, as where a home is moved away."""
    path = _database_of(connection)
    record.info["file"] = path, _file_at(path)


def _require_file(_connection: Any, record: Any, _proxy: Any) -> None:
    """Have a connection made again whose file was replaced or removed."""
    path, file = record.info["file"]
    now = _file_at(path)
    if file is None:  # SQLite makes a file when it first writes
        record.info["file"] = path, now
    elif file != now:
        raise DisconnectionError("the file was replaced")


def _file_at(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _database_of(connection: sqlite3.Connection) -> str:
    (_number, _name, path) = connection.execute("PRAGMA database_list").fetchone()
    return str(path)


@lru_cache(maxsize=256)
def _is_below(path: str, home: str) -> bool:
    """Whether a file is in a folder; asked for each event, so the answer is kept."""
    return Path(path).resolve().is_relative_to(Path(home).resolve())


sql_storage.ScriptDirectory = Migrations  # type: ignore[misc]
_engines = _Engines()
let_go = _engines.let_go
os.register_at_fork(after_in_child=_engines.leave_to_parent)
for _module in (events_on_sqlite, runs_on_sqlite, schedules_on_sqlite):
    _module.create_engine = _engines.of  # type: ignore[attr-defined]
