"""`tamis health`: each part is seen to be well, and seen to be ill when it is; no answer holds a secret."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import boto3
import psutil
import pytest
from dagster._daemon.types import DaemonHeartbeat
from projects import plain_project, settings

from tamis.cli import main
from tamis.cli.serving import PARTS
from tamis.project import open_project
from tamis.runtime.commands import SILENT_SECONDS, findings
from tamis.runtime.instance import open_instance
from tamis.runtime.instance_file import ON_POSTGRES, POSTGRES_URL
from tamis.runtime.services import noted
from tamis.store.home import writing
from tamis.training.tracking import ensure_database

SERVER = Path(__file__).parents[1] / "corpus" / "object_server.py"
SECRET = "hunter2-not-to-be-seen"


@pytest.fixture
def project(tmp_path, monkeypatch):
    made = plain_project(tmp_path, settings(), {})
    monkeypatch.setenv("TAMIS_PROJECT", str(made.file))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / ".tamis" / "dagster"))  # undone at the end
    return made.project


@pytest.fixture
def bucket(monkeypatch):
    """A bucket of an S3 server process; the environment names it."""
    process = subprocess.Popen(
        [sys.executable, str(SERVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    values = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{int(process.stdout.readline())}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket="tamis")
    yield process
    process.communicate("", timeout=20)


def seen(project, part: str):
    (found,) = findings(project, [part])
    assert found.part == part
    return found


def beat(project, age: float) -> None:
    instance = open_instance(project)
    for kind in instance.get_required_daemon_types():
        instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - age, kind, "some-daemon"))
    instance.dispose()


def test_a_new_home_is_well_and_looking_makes_nothing(project, capsys):
    assert main(["health", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["healthy"]
    assert [one["part"] for one in found["parts"]] == list(PARTS)
    assert main(["health"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(PARTS)
    assert [path for path in project.home.root.rglob("*") if path.is_file()] == []


def test_a_table_that_is_cut_off_is_named(project, capsys):
    import pyarrow as pa

    project.home.store.overwrite("quarantine", pa.table({"shard": ["a"]}))
    assert seen(project, "tables").seen == "1 table can be read"
    for path in (project.home.root / "lance").rglob("*.manifest"):
        path.write_bytes(b"")
    found = seen(project, "tables")
    assert not found.healthy
    assert "quarantine" in found.seen
    assert main(["health", "--only", "tables"]) == 1
    assert "BAD  tables" in capsys.readouterr().out


def test_a_writer_is_named_and_no_fault(project):
    assert seen(project, "writer").seen == "idle"
    code = (
        "import sys; from tamis.project import open_project; from tamis.store.home import writing\n"
        "with writing(open_project().home, 'a test'): print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    found = seen(project, "writer")
    holder.communicate("", timeout=20)
    assert (found.healthy, found.seen) == (True, f"process {holder.pid} (a test) is writing")
    with writing(project.home, "again"):
        pass


def test_a_daemon_is_missed_on_a_server_and_where_it_was_asked_for(project, monkeypatch):
    (found,) = [one for one in findings(project) if one.part == "daemon"]
    assert (found.healthy, found.seen.partition(";")[0]) == (True, "not running, never seen")
    assert not seen(project, "daemon").healthy
    beat(project, 5)
    assert seen(project, "daemon").healthy
    assert seen(project, "dagster").seen == "0 runs in SQLite"
    beat(project, SILENT_SECONDS + 30)
    found = seen(project, "daemon")
    assert not found.healthy
    assert "dagster-daemon run" in found.seen
    (found,) = [one for one in findings(project) if one.part == "daemon"]
    assert (found.healthy, found.seen.partition(";")[0]) == (True, "not running, last seen 4 min ago")
    with noted(project.home, "127.0.0.1", 3456):
        (found,) = [one for one in findings(project) if one.part == "daemon"]
    assert not found.healthy, "a `tamis ui` runs, and its daemon is silent"


def test_a_database_that_does_not_answer_is_told_without_its_password(project, monkeypatch):
    """Dagster asks it six times, ever later; the test does not wait for that."""
    clock = SimpleNamespace(**vars(time) | {"sleep": lambda _seconds: None})
    monkeypatch.setattr("dagster_postgres.utils.time", clock)
    project.home.dagster.mkdir(parents=True)
    (project.home.dagster / "dagster.yaml").write_text(ON_POSTGRES.read_text())
    monkeypatch.setenv(POSTGRES_URL, f"postgresql://tamis:{SECRET}@127.0.0.1:1/tamis")
    found = findings(project, ["dagster", "daemon"])
    assert [one.healthy for one in found] == [False, False]
    assert "127.0.0.1:1" in found[0].seen
    assert SECRET not in json.dumps([one.to_json() for one in found])


def test_a_damaged_database_is_named(project):
    open_instance(project).dispose()
    for path in (project.home.dagster / "history").rglob("*.db"):
        path.write_bytes(b"no database, but long enough to be read as the head of one" * 20)
    found = seen(project, "dagster")
    assert not found.healthy
    assert "damaged" in found.seen


def test_a_tracking_server_that_is_not_there_is_told_without_its_password(project, tmp_path, monkeypatch):
    assert seen(project, "tracking").seen == "nothing tracked yet"
    monkeypatch.setenv("TAMIS_MLFLOW_URL", f"http://me:{SECRET}@127.0.0.1:1")
    found = seen(open_project(tmp_path), "tracking")
    assert not found.healthy
    assert found.seen.startswith("http://127.0.0.1:1 does not answer")


def test_databases_are_within_a_home_whose_path_has_signs_of_addresses(tmp_path, monkeypatch):
    project = plain_project(tmp_path / "a#b 5%, c:d;e&f", settings(), {}).project
    monkeypatch.setenv("DAGSTER_HOME", str(project.home.dagster))  # undone at the end
    open_instance(project).dispose()
    ensure_database(project.tracking_uri)
    databases = {path.name for path in project.home.root.rglob("*.db")}
    assert databases == {"runs.db", "index.db", "schedules.db", "mlflow.db"}
    assert [path.name for path in tmp_path.iterdir()] == [project.root.name]
    assert seen(project, "tracking").seen == "0 runs in the Tamis home folder"


def test_the_object_store_answers_or_is_told_without_its_key(project, bucket, monkeypatch, tmp_path):
    assert seen(project, "object_store").seen == "no object store is configured"
    storage = '[storage]\nurl = "s3://tamis/home"\n'
    project = plain_project(tmp_path, settings(storage), {}).project
    assert seen(project, "object_store").seen == "s3://tamis/home answers"
    monkeypatch.setenv("TAMIS_STORAGE_URL", "s3://another/home")
    assert not seen(open_project(tmp_path), "object_store").healthy
    assert "the bucket does not exist" in seen(open_project(tmp_path), "tables").seen
    bucket.communicate("", timeout=20)
    began, found = time.monotonic(), seen(project, "object_store")
    assert not found.healthy
    assert time.monotonic() - began < 20
    assert SECRET not in found.seen


def test_a_store_that_is_silent_is_told_within_seconds(project, bucket, monkeypatch):
    monkeypatch.setenv("TAMIS_STORAGE_URL", "s3://tamis/home")
    monkeypatch.setattr("tamis.verbs.health.OBJECT_STORE_SECONDS", 1)
    silent = open_project(project.file.parent)
    bucket.send_signal(signal.SIGSTOP)
    while psutil.Process(bucket.pid).status() != psutil.STATUS_STOPPED:  # a busy server still answers
        time.sleep(0.01)
    began = time.monotonic()
    try:
        for part in ("tables", "writer"):
            assert "does not answer" in seen(silent, part).seen
    finally:
        bucket.send_signal(signal.SIGCONT)
    assert time.monotonic() - began < 30
