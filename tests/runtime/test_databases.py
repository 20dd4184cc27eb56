"""Dagster's databases in a home: whole or made again, whatever moment of their making a kill hits."""

import os
import signal
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest
from forked import SERVER
from projects import SmallProject, corpus, plain_project, settings
from sqlalchemy import event
from sqlalchemy.engine import Engine

from tamis.base.trust import accept
from tamis.project import Project, open_project
from tamis.runtime import databases
from tamis.runtime.commands import findings
from tamis.runtime.databases import TABLES, incomplete_databases
from tamis.runtime.instance import DamagedStateError, dagster_state, open_instance
from tamis.runtime.instance_file import asked_by

KINDS = ("CREATE", "INSERT", "PRAGMA journal_mode")
INDEX = Path("history/runs/index.db")


@pytest.fixture(autouse=True)
def home_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / ".tamis" / "dagster"))  # undone at the end


def project_in(folder: Path) -> Project:
    made = plain_project(folder, settings(corpus("own", "texts")), {})
    (folder / "texts").mkdir()
    (folder / "texts" / "one.txt").write_text("A text of the corpus, long enough for one document.")
    return made.project


@pytest.fixture
def project(tmp_path):
    return project_in(tmp_path)


@pytest.fixture(scope="module")
def statements(tmp_path_factory) -> dict[Path, list[tuple[str, tuple]]]:
    """What Dagster does to make each database, in order."""
    made: dict[Path, list[tuple[str, tuple]]] = {path: [] for path in TABLES}

    def note(connection, _cursor, statement, parameters, _context, _many):
        place = Path(connection.engine.url.database)
        for path in made:
            if place.match(str(path)) and statement.strip().startswith(KINDS):
                made[path].append((statement, tuple(parameters)))

    event.listen(Engine, "before_cursor_execute", note)
    dg.DagsterInstance.from_config(str(tmp_path_factory.mktemp("dagster"))).dispose()
    event.remove(Engine, "before_cursor_execute", note)
    return made


def cut(folder: Path, path: Path, statements: list[tuple[str, tuple]]) -> None:
    """A database as a kill after these statements leaves it."""
    place = folder / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    with closing(sqlite3.connect(place)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        for statement, parameters in statements:
            connection.execute(statement, parameters).fetchall()
        connection.commit()


def stamped(statements: list[tuple[str, tuple]]) -> int:
    """How many statements there are until a database says its version, which comes after all tables."""
    return 1 + next(n for n, (text, _) in enumerate(statements) if "INSERT INTO alembic_version" in text)


def assert_works(project: Project) -> None:
    """Use each of the three databases as a materialization and the sensors do."""
    with open_instance(project) as instance:
        instance.add_dynamic_partitions("shards", ["own/one"])
        instance.report_runless_asset_event(dg.AssetMaterialization("raw_shards", partition="own/one"))
        assert instance.fetch_materializations(dg.AssetKey("raw_shards"), limit=1).records
        assert instance.get_runs_count() == 0
        assert instance.all_instigator_state() == []
    assert incomplete_databases(project.home.dagster) == []
    assert not (project.home.dagster / "unfinished").exists()


def test_every_moment_of_the_making_is_seen_until_the_version_is_there(tmp_path, statements):
    for path, made in statements.items():
        assert stamped(made) > 5
        for count in range(stamped(made)):
            cut(tmp_path, path, made[:count])
            (found,) = incomplete_databases(tmp_path)
            assert (found.path, found.rows) == (tmp_path / path, False), made[count]
        cut(tmp_path, path, made[: stamped(made)])
        assert incomplete_databases(tmp_path) == []
        (tmp_path / path).unlink()


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_a_half_made_database_is_told_and_made_again(project, statements, path):
    open_instance(project).dispose()
    cut(project.home.dagster, path, statements[path][: stamped(statements[path]) // 2])
    (found,) = findings(project, ["dagster"])
    assert not found.healthy
    assert path.name in found.seen
    assert "`tamis materialize`" in found.seen
    assert_works(project)
    assert findings(project, ["dagster"])[0].healthy


def test_an_empty_file_and_the_log_of_a_lost_database_are_no_database(project):
    open_instance(project).dispose()
    (project.home.dagster / INDEX).write_bytes(b"")
    runs = project.home.dagster / "history" / "runs.db"
    runs.unlink()
    runs.with_name("runs.db-journal").write_bytes(b"of another file")
    assert_works(project)


def test_what_holds_rows_is_never_replaced(project):
    assert_works(project)
    place = project.home.dagster / INDEX
    with closing(sqlite3.connect(place)) as connection:
        connection.execute("DROP TABLE asset_keys")
        connection.commit()
    (found,) = incomplete_databases(project.home.dagster)
    assert (found.lacks, found.rows) == (("asset_keys",), True)
    (finding,) = findings(project, ["dagster"])
    assert not finding.healthy
    assert f"move {project.home.dagster} away" in finding.seen
    with (
        pytest.raises(DamagedStateError, match="no such table: asset_keys"),
        dagster_state(project),
        open_instance(project) as instance,
    ):
        instance.all_asset_keys()
    with closing(sqlite3.connect(place)) as connection:
        assert connection.execute("SELECT count(*) FROM event_logs").fetchone() == (1,)


@pytest.mark.parametrize("moved", [0, 1, 2])
def test_a_kill_between_two_moves_is_completed(project, monkeypatch, moved):
    class Killed(BaseException):
        pass

    move, places = os.replace, []

    def dying(source, place):
        if Path(place).suffix == ".db":
            if len(places) == moved:
                raise Killed
            places.append(place)
        move(source, place)

    with monkeypatch.context() as patch:
        patch.setattr(databases.os, "replace", dying)
        with pytest.raises(Killed):
            open_instance(project)
    assert len(places) == moved
    assert_works(project)


def test_two_that_open_a_new_home_at_once_both_can(project):
    failed, opened = [], []

    def work() -> None:
        try:
            with open_instance(project) as instance:
                opened.append(instance.get_runs_count())
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert opened == [0, 0, 0]


def test_a_state_that_the_project_keeps_elsewhere_is_left_alone(project, tmp_path):
    project.home.dagster.mkdir(parents=True)
    elsewhere = f"storage:\n  sqlite:\n    base_dir: {tmp_path / 'elsewhere'}\n"
    (project.home.dagster / "dagster.yaml").write_text(elsewhere)
    accept(asked_by(project))
    open_instance(project).dispose()
    assert (tmp_path / "elsewhere").is_dir()
    assert not (project.home.dagster / "history").exists()


def die_while_opening(folder: Path, table: str, environment: dict[str, str]) -> None:
    """In a process of its own: kill -9 once Dagster has made a table of the log of events."""
    os.environ.clear()  # that of the test that first started the server of forks
    os.environ.update(environment)

    def kill(connection, _cursor, statement, _parameters, _context, _many):
        if "index" in str(connection.engine.url) and f"CREATE TABLE {table}" in statement:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "after_cursor_execute", kill)
    open_instance(open_project(folder))


@pytest.mark.slow  # two commands
def test_after_kill_9_the_next_command_materializes(tmp_path):
    killed = tmp_path / "killed"
    project_in(killed)
    process = SERVER.Process(target=die_while_opening, args=(killed, "asset_keys", dict(os.environ)))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    for verb in (["status"], ["materialize", "--only", "raw_shards"], ["health", "--only", "dagster"]):
        assert "Traceback" not in SmallProject(killed).tamis(*verb, timeout=120).stderr
