"""Health of all parts, Dagster's included: what `tamis health` and the probes of containers ask.

Where the state is on PostgreSQL a daemon belongs to the home, so one that is not there is a fault; on
SQLite it comes and goes with `tamis ui`.
"""

import contextlib
import os
import time
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from pathlib import Path

import dagster as dg
from sqlalchemy.exc import DatabaseError

from tamis.base.errors import PermanentError, TransientError
from tamis.base.numbers import brief, counted
from tamis.health import Finding, Look, lock, looked_at, object_store, tables, tracking
from tamis.platform.resources.databases import Incomplete, incomplete_databases
from tamis.platform.resources.instance import dagster_state, open_instance
from tamis.platform.resources.instance_file import NAME, POSTGRES_URL
from tamis.platform.resources.sqlite import wait_at_most
from tamis.project import Project
from tamis.store.served import served

PATIENCE_SECONDS = 5
SILENT_SECONDS = 180.0
"""A daemon's heartbeat comes every 30 seconds."""


class DaemonSilentError(TransientError):
    """Dagster's daemon, which runs the sensors and the queue, is not there."""

    def __init__(self, seen: str) -> None:
        super().__init__(
            f"{seen}; start the daemon with `tamis ui` or `dagster-daemon run`; until then, sensors and "
            "queued runs wait"
        )


class IncompleteDatabasesError(PermanentError):
    """Databases of Dagster lack tables; names them, and the way back."""

    def __init__(self, folder: Path, found: Sequence[Incomplete]) -> None:
        self.folder, self.found = folder, list(found)
        cure = "run `tamis materialize` to repair this"
        if any(one.rows for one in found):
            cure = f"move {folder} away and run `tamis materialize`, which logs all results again"
        super().__init__(f"{'; '.join(one.line for one in found)}; {cure}")


def findings(project: Project, only: Collection[str] = ()) -> list[Finding]:
    """What was seen of each part, or of those in `only`."""
    os.environ.setdefault("PGCONNECT_TIMEOUT", str(PATIENCE_SECONDS))  # libpq waits for ever by default
    wait_at_most(PATIENCE_SECONDS)
    return [looked_at(part, look) for part, look in looks(project, only).items() if part in only or not only]


def looks(project: Project, only: Collection[str]) -> dict[str, Look]:
    """How to look at each part."""
    return {
        "tables": partial(tables, project),
        "writer": partial(lock, project),
        "dagster": partial(state, project),
        "daemon": partial(daemon, project, "daemon" in only or bool(os.environ.get(POSTGRES_URL))),
        "tracking": partial(tracking, project),
        "object_store": partial(storage, project),
    }


def state(project: Project) -> str:
    """Whether Dagster's databases are whole and its runs can be read; a home without them is well.

    Raises `IncompleteDatabasesError`, and what `opened` raises.
    """
    if not started(project):
        return "no run yet"
    if not os.environ.get(POSTGRES_URL) and (found := incomplete_databases(project.home.dagster)):
        raise IncompleteDatabasesError(project.home.dagster, found)
    with opened(project) as instance:
        kept = "PostgreSQL" if os.environ.get(POSTGRES_URL) else "SQLite"
        return f"{counted(instance.get_runs_count(), 'run')} in {kept}"


@contextlib.contextmanager
def opened(project: Project) -> Iterator[dg.DagsterInstance]:
    """The home's instance; what its database says goes on without the statement and its values."""
    try:
        with dagster_state(project):
            instance = open_instance(project)
            try:
                yield instance
            finally:
                instance.dispose()
    except DatabaseError as error:
        raise TransientError(f"Dagster's database cannot be read: {error.orig}") from None


def started(project: Project) -> bool:
    """Whether the home has an instance: looking must not make one."""
    return (project.home.dagster / NAME).exists()


def daemon(project: Project, required: bool) -> str:
    """How long ago the daemon gave a sign of life.

    Raises `DaemonSilentError` for one that gives none where it is `required` or a `tamis ui` should run it.
    """
    age = heartbeat_age(project) if started(project) else None
    if age is not None and age <= SILENT_SECONDS:
        return f"last seen {brief(age)} ago"
    seen = "not running, " + ("never seen" if age is None else f"last seen {brief(age)} ago")
    if required or served(project.home):
        raise DaemonSilentError(seen)
    return f"{seen}; `tamis ui` starts the daemon; until then, only `tamis materialize` processes new files"


def heartbeat_age(project: Project) -> float | None:
    """Seconds since the most silent of the daemon's required parts was heard; None before the first."""
    with opened(project) as instance:
        heard = instance.get_daemon_heartbeats()
        required = [kind for kind in instance.get_required_daemon_types() if kind in heard]
        return max((time.time() - heard[kind].timestamp for kind in required), default=None)


def storage(project: Project) -> str:
    """The object store that holds the results, where one does."""
    return object_store(project.home.url) if project.home.url else "no object store is configured"
