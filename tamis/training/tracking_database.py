"""A fresh MLflow database in SQLite, complete or absent, without an absolute path in it.

MLflow builds its tables by 68 migrations, each flushed to disk: 6.3 s. Building them in a draft file without
flushing takes 1.2 s; the draft is then flushed once and linked to its place, so a kill leaves no half-built
database and of two processes that race one wins.
"""

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tamis.base.errors import MissingPackageError
from tamis.base.files import flush
from tamis.training.errors import TrackerUnavailableError

SQLITE = "sqlite:///"
POSTGRESQL = "postgresql"
PATIENCE_SECONDS = 5
ARTIFACT_ROOT = "mlflow-artifacts:/"  # resolved by whoever serves the database; never a path of one machine


def ensure_database(uri: str) -> None:
    """Create the file of an `sqlite:///` address and its folder when missing; leave other addresses alone."""
    if not uri.startswith(SQLITE):
        return
    path = Path(uri.removeprefix(SQLITE))
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".mlflow-", dir=path.parent) as folder:
        draft = Path(folder) / path.name
        with _quiet_migrations(), _unflushed_connections():
            _build(draft)
        flush(Path(folder))
        try:
            os.link(draft, path)
        except FileExistsError:
            return


def require_database(uri: str) -> None:
    """Connect to a PostgreSQL database; raises `TrackerUnavailableError`, `MissingPackageError`."""
    import sqlalchemy

    try:
        engine = sqlalchemy.create_engine(uri, connect_args={"connect_timeout": PATIENCE_SECONDS})
    except ModuleNotFoundError as error:
        needed_for = "tracking in a PostgreSQL database"
        raise MissingPackageError(
            "psycopg2", needed_for, "pip install -c constraints.txt -e '.[postgres]'"
        ) from error
    try:
        engine.connect().close()
    except sqlalchemy.exc.OperationalError as error:
        raise TrackerUnavailableError(uri, str(error.orig).strip().splitlines()[0]) from error
    finally:
        engine.dispose()


def _build(path: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore(f"{SQLITE}{path}", ARTIFACT_ROOT)
    store.engine.dispose()


@contextmanager
def _unflushed_connections() -> Iterator[None]:
    """SQLite connections opened inside do not wait for the disk."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def relax(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA synchronous=OFF")

    event.listen(Engine, "connect", relax)
    try:
        yield
    finally:
        event.remove(Engine, "connect", relax)


@contextmanager
def _quiet_migrations() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("mlflow.store.db.utils", "alembic")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
