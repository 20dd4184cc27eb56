"""The Dagster instance of a home, and where its state is kept.

The state is SQLite in the home, or PostgreSQL where `TAMIS_POSTGRES_URL` names a database.
"""

import contextlib
import glob
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DatabaseError, OperationalError

from tamis.base.errors import PermanentError, TamisError, TransientError
from tamis.base.sqlite import DatabaseLockedError, is_locked, wait_until_free
from tamis.project import Project, quiet_environment
from tamis.runtime.dagster_internals import instance_configuration
from tamis.runtime.databases import TABLES, databases_of, make_databases, patience
from tamis.runtime.instance_file import NAME, POSTGRES_URL, DamagedConfigurationError, prepare_folder
from tamis.runtime.runs import register_partitions
from tamis.scan.sources import scan_files
from tamis.store.home import claim, writing

_SAID_OF_DAMAGE = ("malformed", "not a database", "no such table")
_read_by_pattern = instance_configuration.load_yaml_from_globs


class DatabaseUnreachableError(TransientError):
    """PostgreSQL does not answer; names the database without its password."""

    def __init__(self, url: str, problem: str) -> None:
        self.url = make_url(url).render_as_string(hide_password=True)
        first = next((line.strip() for line in problem.splitlines() if line.strip()), "no answer")
        super().__init__(
            f"PostgreSQL at {self.url} cannot be used: {first}; start the database or correct {POSTGRES_URL}"
        )


class UnusableStateError(TransientError):
    """A database of Dagster cannot be used; says what it says, without the statement and its values."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(f"Dagster's database cannot be used: {problem}")


class DamagedStateError(PermanentError):
    """A database of Dagster in the home cannot be read; says the way back."""

    def __init__(self, folder: Path, problem: str) -> None:
        self.folder, self.problem = folder, problem
        super().__init__(
            f"Dagster's state in {folder} is damaged ({problem}); move that folder away and run "
            "`tamis materialize`, which logs all results again; nothing else is stored there"
        )


def open_instance(project: Project) -> dg.DagsterInstance:
    """The instance of the project's home, configured at first use; `DAGSTER_HOME` is set to it.

    Raises what `prepare_folder` raises, and `DatabaseUnreachableError` where a database is named.
    """
    quiet_environment(project)
    name_driver()
    folder = prepare_folder(project)
    os.environ["DAGSTER_HOME"] = str(folder)
    url = os.environ.get(POSTGRES_URL)
    if not url:
        make_databases(folder)
        return _configured_instance(folder)
    from dagster_postgres.utils import DagsterPostgresException

    try:
        return _configured_instance(folder)
    except (OperationalError, DagsterPostgresException) as error:
        raise DatabaseUnreachableError(url, str(error.__cause__ or error)) from error


@contextlib.contextmanager
def dagster_state(project: Project) -> Iterator[None]:
    """Raise `DamagedStateError` for what SQLite says of a file that is cut off, not whole or no database.

    Raises `DatabaseLockedError` and `UnusableStateError` for what else a database says of itself.
    """
    try:
        yield
    except DatabaseError as error:
        problem = str(error.orig)
        if any(words in problem for words in _SAID_OF_DAMAGE):
            raise DamagedStateError(project.home.dagster, problem) from error
        if is_locked(error):
            raise DatabaseLockedError.of(databases_of(project.home.dagster), patience()) from error
        if isinstance(error, OperationalError):
            raise UnusableStateError(problem.strip().split("\n", 1)[0]) from error
        raise


def prepare(project: Project) -> None:
    """Make the instance of a project, and register what its corpora hold: a click may come before a sensor.

    Where files cannot be listed, the arrivals sensor says so.
    """
    with contextlib.suppress(TamisError), writing(project.home, "tamis ui"):
        if project.home.url is None:  # an object store is asked when something is written to it
            claim(project.home, project.settings.project.name)
    with dagster_state(project):
        wait_until_free(project.home.dagster / path for path in TABLES)
        with open_instance(project) as instance, contextlib.suppress(TamisError):
            register_partitions(instance, scan_files(project), remove=False)


def name_driver() -> None:
    """Name the driver in the URL for this process and those it starts, unless one is named.

    SQLAlchemy 2.1 takes psycopg where none is, dagster-postgres 0.29.27 works with psycopg2 alone.
    """
    scheme, separator, rest = os.environ.get(POSTGRES_URL, "").partition("://")
    if scheme in ("postgres", "postgresql"):
        os.environ[POSTGRES_URL] = f"postgresql+psycopg2{separator}{rest}"


def _read_by_name(*paths: str) -> dict[Any, Any]:
    """Read instance files by their names, with telemetry off whatever they say.

    Dagster takes the names for patterns: that of a folder `data [v2]` would match nothing, so that Dagster's
    defaults would hold, or the file of another folder.
    """
    found: dict[Any, Any] = dict(_read_by_pattern(*map(glob.escape, paths)) or {})
    telemetry = found.get("telemetry") or {}
    if not isinstance(telemetry, dict):  # Dagster names what is wrong
        return found
    return {**found, "telemetry": {**telemetry, "enabled": False}}


def _configured_instance(folder: Path) -> dg.DagsterInstance:
    try:
        return dg.DagsterInstance.from_config(str(folder))
    except dg.DagsterInvalidConfigError as error:
        problem = str(error).partition("Error 1: ")[2] or str(error)
        raise DamagedConfigurationError(folder / NAME, problem) from error


instance_configuration.load_yaml_from_globs = _read_by_name  # type: ignore[assignment]
