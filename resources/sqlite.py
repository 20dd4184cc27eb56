"""SQLite under Dagster: commits that do not wait for the disk, in the databases of DAGSTER_HOME alone.

These are in WAL mode, where that is safe; MLflow's is not, and those of other engines of this process are not
ours. Dagster makes an engine for every statement or two, compiles these again, and opens and closes a
connection for them: most of what an event cost. The engines of the last few files are kept, with their
connections, and SQLite waits for the disk at checkpoints only. A killed process loses nothing; a power cut
may lose the last events, and these are logged again from the manifests.

The process of the sensors opens an instance for each tick of each of them, and Dagster asks each database
whether its version is the newest. For that it reads some seventy migrations, which was most of what idle
sensors cost; they are read once a process.
"""

import os
import sqlite3
import threading
from collections import OrderedDict
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import dagster._core.storage.event_log.sqlite.sqlite_event_log as events_on_sqlite
import dagster._core.storage.runs.sqlite.sqlite_run_storage as runs_on_sqlite
import dagster._core.storage.schedules.sqlite.sqlite_schedule_storage as schedules_on_sqlite
import dagster._core.storage.sql as dagster_sql
from sqlalchemy import create_engine, event
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import QueuePool

from tamis.base.sqlite import PATIENCE_SECONDS

KEPT_OPEN = 8
"""Three databases and the logs of a few runs."""
DATABASES = 3
"""Of runs, events and schedules: each has migrations of its own."""


class Migrations(dagster_sql.ScriptDirectory):
    """Dagster's migrations; the configuration of a database is one object a process, as Dagster makes it."""

    @classmethod
    @lru_cache(maxsize=DATABASES)
    def from_config(cls, config: Any) -> "Migrations":
        """Return the migrations that a configuration names, read once."""
        return cast(Migrations, super().from_config(config))


dagster_sql.ScriptDirectory = Migrations  # type: ignore[misc]


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


@lru_cache(maxsize=256)
def _is_below(path: str, home: str) -> bool:
    """Whether a file is in a folder; asked for each event, so the answer is kept."""
    return Path(path).resolve().is_relative_to(Path(home).resolve())


def patience() -> float:
    """Return how many seconds a locked database is waited for."""
    return _patience


def wait_at_most(seconds: float) -> None:
    """Have this process wait so long for a locked database, as probes that are asked again and again."""
    global _patience
    _patience = seconds


_patience = PATIENCE_SECONDS
_engines = _Engines()
let_go = _engines.let_go
os.register_at_fork(after_in_child=_engines.leave_to_parent)
for _module in (events_on_sqlite, runs_on_sqlite, schedules_on_sqlite):
    _module.create_engine = _engines.of  # type: ignore[attr-defined]
