"""Which databases commit without waiting for the disk: Dagster's under the home, and no others."""

import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager

import dagster as dg
import duckdb
import pytest
import sqlalchemy
from alembic.script.base import Script
from mlflow.exceptions import MlflowException
from projects import plain_project, settings

from tamis.base import sqlite as locks
from tamis.base.kept_errors import kept_message
from tamis.base.sqlite import DatabaseLockedError, wait_until_free
from tamis.runtime import databases
from tamis.runtime.commands import findings
from tamis.runtime.databases import Migrations, let_go
from tamis.runtime.instance import UnusableStateError, dagster_state, open_instance
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
    monkeypatch.setattr("tamis.runtime.databases.os.access", lambda _path, _mode: False)
    engine = sqlalchemy.create_engine(f"sqlite:///{project.home.dagster}/schedules/schedules.db")
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM jobs").scalar() == 0
        with pytest.raises(sqlalchemy.exc.OperationalError, match="readonly"):
            connection.exec_driver_sql("DELETE FROM jobs")
    assert {path.name for path in (project.home.dagster / "schedules").iterdir()} == {"schedules.db"}


@contextmanager
def locked(path, kind: str = "EXCLUSIVE"):
    """Another program's open transaction; gives what ends it, which another thread may call."""
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute(f"BEGIN {kind}")
        yield lambda: other.execute("ROLLBACK")


@pytest.mark.parametrize("kind", ["EXCLUSIVE", "IMMEDIATE"])
def test_a_locked_database_is_waited_for_and_that_is_said(project, monkeypatch, capsys, kind):
    open_instance(project).dispose()
    path = project.home.dagster / "history" / "runs" / "index.db"
    monkeypatch.setattr(locks, "SAID_AFTER_SECONDS", 0.0)
    wait_until_free([path, path.with_name("missing.db")])
    with locked(path, kind) as end:
        threading.Timer(0.7, end).start()
        began = time.monotonic()
        wait_until_free([path])
        assert time.monotonic() - began > 0.5
    assert f"for {path}, which another program has locked" in capsys.readouterr().err
    assert not path.with_name("missing.db").exists()


def test_a_database_that_stays_locked_is_named_with_who_uses_it(project, monkeypatch):
    open_instance(project).dispose()
    path = project.home.dagster / "history" / "runs.db"
    monkeypatch.setattr(locks, "PATIENCE_SECONDS", 0.3)
    code = (
        "import sqlite3, sys; held = sqlite3.connect(sys.argv[1], isolation_level=None); "
        "held.execute('BEGIN IMMEDIATE'); print('held', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(DatabaseLockedError, match=f"process {other.pid} ") as found:
            wait_until_free([path])
        other.communicate(b"\n")
    assert str(path) in str(found.value)


@pytest.mark.parametrize("name", ["history/runs.db", "history/runs/index.db"])
def test_a_lock_that_begins_later_ends_in_a_line_that_names_the_database(project, monkeypatch, name):
    monkeypatch.setattr(databases, "_patience", 0.2)

    def write(instance: dg.DagsterInstance) -> None:
        with dagster_state(project):
            instance.add_run(dg.DagsterRun(job_name="any"))
            instance.report_runless_asset_event(dg.AssetMaterialization("documents"))

    with open_instance(project) as instance, locked(project.home.dagster / name):  # noqa: SIM117
        with pytest.raises(DatabaseLockedError, match=name):
            write(instance)


def test_other_words_of_a_database_are_shown_without_the_statement(project):
    refused = sqlalchemy.exc.OperationalError(
        "INSERT INTO x", {"body": "a document"}, sqlite3.OperationalError("disk I/O error")
    )
    with pytest.raises(UnusableStateError, match=r"cannot be used: disk I/O error$"), dagster_state(project):
        raise refused
    assert kept_message(refused) == "OperationalError: disk I/O error"
    assert kept_message(sqlite3.OperationalError("no such table: runs")).endswith("no such table: runs")
    said = kept_message(MlflowException("INVALID_STATE: the experiment 1 must be in the 'active' state"))
    assert said == "MlflowException: INVALID_STATE: the experiment 1 must be in the 'active' state"
    hidden = MlflowException("cannot reach https://user:password@host/api?token=x")
    assert kept_message(hidden) == "MlflowException: cannot reach https://host/api"


def test_an_error_that_only_has_the_name_of_one_of_a_database_is_not_shown():
    assert "whale" not in kept_message(duckdb.DataError("could not convert 'whale' to a number"))


def test_a_look_at_the_health_names_a_locked_database_within_seconds(project, monkeypatch):
    ensure_database(project.tracking_uri)
    path = project.home.mlflow / "mlflow.db"
    monkeypatch.setattr("tamis.verbs.health.DATABASE_SECONDS", 0.2)
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "1")  # whole seconds, which would stay for the tests after this
    monkeypatch.setattr("tamis.runtime.commands.DATABASE_SECONDS", 0.2)
    before = databases.patience()
    with locked(path):
        (found,) = findings(project, ["tracking"])
    assert databases.patience() == 0.2
    databases.wait_at_most(before)
    assert not found.healthy
    assert str(path) in found.seen
    assert "locked" in found.seen
