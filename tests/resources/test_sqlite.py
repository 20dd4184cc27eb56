"""Which databases commit without waiting for the disk: Dagster's under the home, and no others."""

import sqlite3
from contextlib import closing

import pytest
import sqlalchemy
from alembic.script.base import Script
from projects import plain_project, settings

from resources.instance import open_instance
from resources.sqlite import Migrations, let_go
from tamis.training.tracking import ensure_database

FULL, NORMAL = 2, 1


@pytest.fixture
def project(tmp_path, nowhere, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    return plain_project(tmp_path / "project", settings()).project


def synchronous(connection) -> int:
    return connection.execute(sqlalchemy.text("PRAGMA synchronous")).scalar()


def of_file(path) -> int:
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    try:
        with engine.connect() as connection:
            return synchronous(connection)
    finally:
        engine.dispose()


def test_every_database_of_dagster_under_the_home_commits_without_waiting(project):
    with open_instance(project) as instance:
        with instance.run_storage.connect() as connection:
            assert synchronous(connection) == NORMAL
        with instance.event_log_storage.index_connection() as connection:
            assert synchronous(connection) == NORMAL
        with instance.schedule_storage.connect() as connection:
            assert synchronous(connection) == NORMAL
        files = sorted(project.home.dagster.rglob("*.db"))
        assert len(files) >= 3
        for path in files:
            assert of_file(path) == NORMAL, path
            with sqlite3.connect(path) as plain:
                assert plain.execute("PRAGMA journal_mode").fetchone() == ("wal",), path


def test_mlflow_and_other_engines_of_the_process_wait_for_the_disk(project, tmp_path):
    with open_instance(project):
        tracked = project.home.mlflow / "mlflow.db"
        ensure_database(f"sqlite:///{tracked}")
        assert of_file(tracked) == FULL
        assert of_file(tmp_path / "of_another_program.db") == FULL
        assert of_file(project.home.root / "dagster.db") == FULL
        neighbour = project.home.dagster.parent / f"{project.home.dagster.name}-copy"
        neighbour.mkdir()
        assert of_file(neighbour / "runs.db") == FULL
        with sqlalchemy.create_engine("sqlite://").connect() as connection:
            assert synchronous(connection) == FULL


def test_the_migrations_of_dagster_are_read_once_a_process(project, monkeypatch):
    read = []
    listed = Script._list_py_dir.__func__
    monkeypatch.setattr(
        Script, "_list_py_dir", classmethod(lambda cls, *given: read.append(given) or listed(cls, *given))
    )
    with open_instance(project):  # makes the databases, and notes their version
        read.clear()
    Migrations.from_config.__func__.cache_clear()
    for _ in range(3):
        with open_instance(project) as instance:
            present, newest = instance.event_log_storage.alembic_version()
            assert present == newest == instance.schedule_storage.alembic_version()[0]
    assert len(read) == 3


def test_connections_are_kept_and_made_again_where_a_database_was_replaced(project, tmp_path):
    with open_instance(project) as instance:
        storage = instance.event_log_storage
        with storage.index_connection() as connection:
            first = connection.connection.driver_connection
        with storage.index_connection() as connection:
            assert connection.connection.driver_connection is first
            connection.execute(sqlalchemy.text("create table noted (word text)"))
        (index,) = project.home.dagster.rglob("index.db")
        for suffix in ("", "-wal", "-shm"):  # as where a home is moved away and another comes
            part = index.with_name(index.name + suffix)
            if part.exists():
                part.rename(tmp_path / part.name)
        with closing(sqlite3.connect(index)) as other:
            other.execute("create table noted (word text)")
            other.execute("insert into noted values ('other')")
            other.commit()
        with storage.index_connection() as connection:
            assert connection.connection.driver_connection is not first
            assert connection.execute(sqlalchemy.text("select word from noted")).scalar() == "other"


def test_what_a_transaction_that_failed_wrote_is_undone_before_the_next(project):
    with open_instance(project) as instance:
        storage = instance.event_log_storage

        def fail_half_way() -> None:
            with storage.index_connection() as connection:
                connection.execute(sqlalchemy.text("insert into asset_keys (asset_key) values ('half')"))
                raise RuntimeError

        with pytest.raises(RuntimeError):
            fail_half_way()
        with storage.index_connection() as connection:
            assert connection.execute(sqlalchemy.text("select count(*) from asset_keys")).scalar() == 0


def test_a_database_at_rest_is_read_in_a_folder_that_may_only_be_read(project, monkeypatch):
    open_instance(project)
    let_go(project.home.dagster)
    with closing(sqlite3.connect(project.home.dagster / "schedules" / "schedules.db")) as rests:
        rests.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    monkeypatch.setattr("resources.sqlite.os.access", lambda _path, _mode: False)
    engine = sqlalchemy.create_engine(f"sqlite:///{project.home.dagster}/schedules/schedules.db")
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM jobs").scalar() == 0
        with pytest.raises(sqlalchemy.exc.OperationalError, match="readonly"):
            connection.exec_driver_sql("DELETE FROM jobs")
    assert {path.name for path in (project.home.dagster / "schedules").iterdir()} == {"schedules.db"}
