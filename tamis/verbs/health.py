"""Health of a home: what can be looked at without Dagster. Reads only, and tells addresses without secrets.

Each look ends within seconds: probes of a container platform ask this again and again.
"""

import sqlite3
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tamis.base.errors import MissingPackageError, TamisError, without_secrets
from tamis.base.installation import install_command
from tamis.base.numbers import counted
from tamis.base.sqlite import DatabaseLockedError, is_locked
from tamis.graph.repair import lost_tables, unreadable_tables
from tamis.project import Project
from tamis.records.current_values import read_current_values
from tamis.store.home import writer
from tamis.store.remote.objects import StorageRefusedError, problem_of, require_endpoint
from tamis.training.errors import TrackerUnavailableError
from tamis.training.tracking import require_tracker

OBJECT_STORE_SECONDS = DATABASE_SECONDS = 5
Look = Callable[[], str]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One part of the platform: whether it does its work, and what was seen."""

    part: str
    healthy: bool
    seen: str

    @property
    def line(self) -> str:
        """The finding for a person."""
        return f"{'ok ' if self.healthy else 'BAD'}  {self.part}: {self.seen}"

    def to_json(self) -> dict[str, Any]:
        """The finding as JSON values."""
        return asdict(self)


def looked_at(part: str, look: Look) -> Finding:
    """What `look` says of a part that is well; it raises `TamisError` or `OSError` where it is not."""
    try:
        return Finding(part=part, healthy=True, seen=look())
    except (TamisError, OSError, sqlite3.Error) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return Finding(part=part, healthy=False, seen=first)


def tables(project: Project) -> str:
    """Whether each table can be opened and read, and none is missing that values state rows in."""
    _require_store(project)
    store = project.home.store
    names = store.names()
    if broken := unreadable_tables(store):
        raise OSError(
            f"cannot read {', '.join(sorted(broken))}; `tamis materialize` rebuilds what cannot be read"
        )
    # Manifests in an object store may have to be fetched, one request each.
    if not project.home.url and (lost := lost_tables(project.home, read_current_values(store))):
        raise OSError(f"missing: {', '.join(lost)}; `tamis materialize` rebuilds what is missing")
    return f"{counted(len(names), 'table')} can be read" if names else "none yet"


def lock(project: Project) -> str:
    """Who writes to the home; a writer is no fault."""
    _require_store(project)
    return f"{holder} is writing" if (holder := writer(project.home)) else "idle"


def _require_store(project: Project) -> None:
    """Raise `OSError` at once where the object store does not answer; work waits longer."""
    if project.home.url:
        object_store(project.home.url)


def tracking(project: Project) -> str:
    """Whether MLflow's server answers, or its database in the home can be read."""
    uri = project.tracking_uri
    shown, path = without_secrets(uri), project.home.mlflow / "mlflow.db"
    if uri.startswith(("http://", "https://")):
        try:
            require_tracker(uri)
        except TrackerUnavailableError as error:
            raise OSError(
                f"{shown} does not answer ({error.problem}); start the server or correct the address"
            ) from None
        return f"{shown} answers"
    if uri.startswith("sqlite:") and path.exists():
        return f"{counted(_runs_in(path), 'run')} in the Tamis home folder"
    return "nothing tracked yet" if uri.startswith("sqlite:") else f"{shown}, not checked"


def _runs_in(path: Path) -> int:
    """Return how many runs MLflow's database in the home holds; raises `DatabaseLockedError`."""
    try:
        with sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=DATABASE_SECONDS) as connection:
            return int(connection.execute("SELECT count(*) FROM runs").fetchone()[0])
    except sqlite3.Error as error:
        if is_locked(error):
            raise DatabaseLockedError.of([path], DATABASE_SECONDS) from error
        raise


def object_store(url: str) -> str:
    """Whether the store at a URL lists what is under it."""
    try:
        import obstore
        from obstore.store import from_url
    except ImportError as error:
        raise MissingPackageError("obstore", "an object store", install_command("object-store")) from error
    limits: Any = {
        "client_options": {
            "connect_timeout": "3s",
            "timeout": f"{OBJECT_STORE_SECONDS}s",
            "allow_http": True,
        },
        "retry_config": {"max_retries": 0},
    }
    shown = without_secrets(url)
    require_endpoint()
    try:
        obstore.list_with_delimiter(from_url(url, **limits))
    except (obstore.exceptions.BaseError, ValueError) as error:
        # The store's words may repeat the request; its kind, or the setting that is wrong, says enough.
        problem = problem_of(shown, "list", error)
        said = problem.cure if isinstance(problem, StorageRefusedError) else type(error).__name__
        raise OSError(f"{shown} does not answer: {said}") from None
    return f"{shown} answers"
