"""The Dagster instance of a home: where its state is kept, and its dagster.yaml.

The state is SQLite in the home, or PostgreSQL where `TAMIS_POSTGRES_URL` names a database.

A dagster.yaml may name handlers, launchers, storages and other classes, which Dagster imports and calls. So
one that came with somebody's project is refused until a person of this machine has accepted it.
"""

import contextlib
import glob
import hashlib
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DatabaseError, OperationalError

from tamis.base.errors import MissingPackageError, PermanentError, TamisError, TransientError
from tamis.base.files import write_atomically
from tamis.base.installation import PLATFORM
from tamis.base.sqlite import DatabaseLockedError, is_locked, wait_until_free
from tamis.base.trust import Consent, require_accepted
from tamis.project import Project, quiet_environment
from tamis.runtime.dagster_internals import instance_configuration
from tamis.runtime.databases import TABLES, databases_of, make_databases, patience
from tamis.runtime.runs import register_partitions
from tamis.scan.sources import scan_files
from tamis.store.home import claim, writing

NAME = "dagster.yaml"
SHOWN_CHARACTERS = 200
"""Of a problem with dagster.yaml: after that Dagster lists all keys that it knows."""
POSTGRES_URL = "TAMIS_POSTGRES_URL"
ON_POSTGRES = (PLATFORM / "deploy" / NAME).resolve()
ON_SQLITE = """\
telemetry:
  enabled: false
nux:
  enabled: false
concurrency:
  runs:
    max_concurrent_runs: 1
  pools:
    granularity: run
run_queue:
  dequeue_interval_seconds: 2
run_monitoring:
  enabled: true
  start_timeout_seconds: 300
  free_slots_after_run_end_seconds: 60
python_logs:
  python_log_level: INFO  # the event log has all; the terminal of `tamis ui` not each event of each step
"""
_SLOWER = ON_SQLITE.replace("run_queue:\n  dequeue_interval_seconds: 2\n", "")
_LOGS = _SLOWER.index("python_logs:")
EARLIER = {_SLOWER, _SLOWER[:_LOGS], _SLOWER[:_LOGS].replace("  pools:\n    granularity: run\n", "")}
"""What earlier versions wrote: it is replaced, unless somebody has changed it."""
WRITTEN_ON_POSTGRES = frozenset(
    {
        "e410ada3a0bbcfb775c82ef5a1e5fb89a157dc462c1f938469ceb83027f453f2",
        "e569ae44477adaedf64bfc9ec44a5255c80a1ee5d2591af738ba3810c4b0247b",
        "b648d1eebfee4b0963d91cb02b916a50c0501363a3c3ca3b057b51a380dd4f83",
        "1d60cb5ade1dc7e14e6506423cdcaa9c4eace8eaa0585faa3c4ed5a273acdddd",
        "38fb87904fe1da50ebfac329e7973cb895b4dc8db5f63e8cec847da0f1d47d9b",
    }
)
"""SHA-256 of the files for PostgreSQL that this version and earlier ones wrote."""
EFFECT = "was not written by Tamis, and such a file can run commands on this machine"
CURE = "remove that file, and the same command will write a new one"
_SAID_OF_DAMAGE = ("malformed", "not a database", "no such table")
_read_by_pattern = instance_configuration.load_yaml_from_globs


class StorageMismatchError(PermanentError):
    """The home's dagster.yaml keeps the state elsewhere than the environment says."""

    def __init__(self, path: Path, url_is_set: bool) -> None:
        self.path, self.url_is_set = path, url_is_set
        where = f"outside the database that {POSTGRES_URL} names"
        if not url_is_set:
            where = f"in a database, but {POSTGRES_URL} is not set"
        cure = f"replace that file with {ON_POSTGRES}, or unset {POSTGRES_URL}" if url_is_set else "set it"
        super().__init__(f"{path} keeps Dagster's state {where}; {cure}")


class DamagedConfigurationError(PermanentError):
    """The home's dagster.yaml is no configuration of Dagster."""

    def __init__(self, path: Path, problem: str) -> None:
        self.path, self.problem = path, " ".join(problem.split())[:SHOWN_CHARACTERS]
        super().__init__(
            f"{path} is not a valid configuration of Dagster ({self.problem}); correct it, or remove it, and "
            "the same command will write a new one"
        )


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


def prepare_folder(project: Project) -> Path:
    """Return DAGSTER_HOME of the project, with a dagster.yaml, which is ours or accepted.

    Raises `UntrustedError`, `DamagedConfigurationError`, `StorageMismatchError`, `MissingPackageError`.
    """
    folder = project.home.dagster
    folder.mkdir(parents=True, exist_ok=True)
    path, url = folder / NAME, os.environ.get(POSTGRES_URL)
    if url and importlib.util.find_spec("dagster_postgres") is None:
        needed_for = f"storing Dagster's state in PostgreSQL ({POSTGRES_URL} is set)"
        command = "pip install -c constraints.txt -e '.[postgres]'"
        raise MissingPackageError("dagster-postgres", needed_for, command)
    present = path.read_bytes() if path.exists() else b""
    if _of_sqlite(present) or (url and _of_postgres(present)):
        ours = ON_POSTGRES.read_bytes() if url else ON_SQLITE.encode()
        if present != ours:  # one that is right already is left: the home may be read-only
            write_atomically(path, ours)
        return folder
    if (POSTGRES_URL in _text_of(path, present)) != bool(url):
        raise StorageMismatchError(path, bool(url))
    require_accepted(asked_by(project), CURE)
    return folder


def asked_by(project: Project) -> list[Consent]:
    """Return what the home's dagster.yaml wants accepted: nothing where Tamis wrote it or will write it."""
    path = project.home.dagster / NAME
    present = path.read_bytes() if path.exists() else b""
    ours = _of_sqlite(present) or _of_postgres(present)
    return [] if ours else [Consent.of(path, EFFECT, present)]


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


def _of_sqlite(present: bytes) -> bool:
    return present in {text.encode() for text in ("", ON_SQLITE, *EARLIER)}


def _of_postgres(present: bytes) -> bool:
    return hashlib.sha256(present).hexdigest() in WRITTEN_ON_POSTGRES or present == ON_POSTGRES.read_bytes()


def _text_of(path: Path, present: bytes) -> str:
    """Return the text of a dagster.yaml. Raises `DamagedConfigurationError`."""
    try:
        text = present.decode("utf-8")
        found = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DamagedConfigurationError(path, str(error)) from error
    if not isinstance(found, dict | None):
        raise DamagedConfigurationError(path, f"expected keys and values, found {text.strip()!r}")
    return text


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
