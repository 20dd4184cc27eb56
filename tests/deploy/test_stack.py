"""The whole stack on loopback, from the compose file: runs asked for as in the UI, killed runs, health."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest
import yaml
from projects import TOPICS, make_project
from stack import HOME_ON_OBJECT_STORE, TERMINATE, Stack, wait_for

from tamis.runtime.runs import PROCESS_TAG
from tamis.store.tables import Store

pytestmark = pytest.mark.slow
TRACKED = '\n[tracking]\nuri = "http://127.0.0.1:{port}"\n'
SECRETS = {
    name: f"secretof{name.lower().replace('_', '')}"
    for name in ("TAMIS_DB_PASSWORD", "AWS_SECRET_ACCESS_KEY", "JUDGE_KEY", "TAMIS_WEBHOOK_KEY", "HF_TOKEN")
}
SHARDS = [f"landing__{topic}.jsonl" for topic in sorted(TOPICS)]
HOLDER = """
import sys
from pathlib import Path
from tamis.store.home import Home, writing
with writing(Home(Path(sys.argv[1])), "a test", 60.0):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def stack(encoder_cache):
    """All services, started in the order of the compose file."""
    with tempfile.TemporaryDirectory(prefix="tamis-stack-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL runs as another user than root
        project = make_project(folder / "project", encoder_cache)
        project.home.root.rename(folder / "home")
        found = Stack(folder, project.root, variables=dict(SECRETS))
        with (project.root / "tamis.toml").open("a") as settings:
            settings.write(TRACKED.format(port=found.ports["mlflow"]))
        try:
            prepared = found.run("prepare")
            assert prepared.returncode == 0, prepared.stderr
            for service in ("mlflow", "code", "webserver", "daemon"):
                found.start(service)
            yield found
        finally:
            found.close()


def test_the_instance_is_the_shipped_one_and_the_devices_are_counted(stack):
    assert (stack.home / "dagster" / "dagster.yaml").read_text() == (
        Path(__file__).parents[2] / "deploy" / "dagster.yaml"
    ).read_text()
    assert stack.database.rows('SELECT concurrency_key, "limit" FROM concurrency_limits') == [("gpu", 1)]


def test_a_run_asked_for_in_the_ui_ends_well_in_postgresql(stack):
    wait_for(lambda: registered(stack), 120, lambda: stack.tail("code") + stack.tail("daemon"))
    run = stack.launch(SHARDS[0], "raw_shards", "documents")
    wait_for(lambda: ended(stack, run), 240, lambda: stack.tail("code") + stack.tail("daemon"), pause=2)
    state = stack.database.rows(f"SELECT status FROM runs WHERE run_id = '{run}'")
    assert state == [("SUCCESS",)], stack.events(run)
    if HOME_ON_OBJECT_STORE:
        kept = stack.objects.names("tamis")
        assert any("/lance/documents.lance/" in name for name in kept)
        assert any("/manifests/" in name for name in kept)
        assert not (stack.home / "lance").exists()
    else:
        assert Store(stack.home / "lance").count("documents") >= 60
    assert list((stack.home / "dagster").rglob("*.db")) == [], "the state is in the database"


def registered(stack: Stack) -> bool:
    """Whether the sensors, in the code server and asked by the daemon, have seen the files."""
    rows = stack.database.rows(
        "SELECT partition FROM dynamic_partitions WHERE partitions_def_name = 'shards'"
    )
    return {name for (name,) in rows} >= set(SHARDS)


def ended(stack: Stack, run: str) -> bool:
    return stack.status(run) in ("SUCCESS", "FAILURE", "CANCELED")


def test_health_sees_every_part_of_the_stack(stack):
    answer = stack.run("code", "tamis", "health", "--json")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    parts = {one["part"]: one["seen"] for one in json.loads(answer.stdout)["parts"]}
    assert parts["dagster"].endswith("in PostgreSQL")
    assert parts["daemon"].startswith("last seen ")
    assert parts["tracking"] == f"http://127.0.0.1:{stack.ports['mlflow']} answers"
    assert parts["object_store"].startswith("s3://tamis/home") == HOME_ON_OBJECT_STORE
    assert not any(secret in answer.stdout + answer.stderr for secret in SECRETS.values())


def test_mlflow_keeps_runs_in_postgresql_and_artifacts_in_the_object_store(stack):
    code = (
        "from mlflow import MlflowClient; import sys\n"
        "client = MlflowClient(sys.argv[1]); run = client.create_run('0')\n"
        "client.log_text(run.info.run_id, 'kept', 'note.txt'); print(run.info.run_id)"
    )
    uri = f"http://127.0.0.1:{stack.ports['mlflow']}"
    done = stack.run("webserver", sys.executable, "-c", code, uri)
    assert done.returncode == 0, done.stderr + stack.tail("mlflow")
    run = done.stdout.split()[-1]
    assert any(name.endswith(f"{run}/artifacts/note.txt") for name in stack.objects.names("mlflow"))


def test_everything_listens_on_loopback_alone(stack):
    """The compose file's 0.0.0.0 is the container's; no part opens another port of its own."""
    found = {
        (service, place) for service, process in stack.running.items() for place in listening(process.pid)
    }
    assert {place for _service, place in found} <= {"127.0.0.1", "::1"}, found
    assert {service for service, _place in found} >= {"webserver", "code", "mlflow"}


def listening(process: int) -> set[str]:
    """Addresses at which a process and those it started listen."""
    places = set()
    for one in [psutil.Process(process), *psutil.Process(process).children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):  # ended meanwhile
            sockets = one.net_connections("inet")
            places |= {
                found.laddr.ip.removeprefix("::ffff:")
                for found in sockets
                if found.status == psutil.CONN_LISTEN
            }
    return places


def test_as_many_runs_as_devices_go_on_and_a_killed_one_frees_its_place(stack):
    # More runs at once than the shipped one, so that it is the pool alone that holds the second back.
    path = stack.home / "dagster" / "dagster.yaml"
    shipped = path.read_text()
    changed = yaml.safe_load(shipped)
    changed["concurrency"]["runs"]["max_concurrent_runs"] = 4
    stack.stop("daemon")
    wait_for(lambda: at_rest(stack), 240, lambda: stack.tail("code"), pause=2)
    holder = hold(stack)  # from here each step waits for the home's lock, and the sensors ask for nothing
    try:
        path.write_text(yaml.safe_dump(changed))
        stack.start("daemon")
        first = stack.launch(SHARDS[0], "embeddings")
        process = wait_for(lambda: process_of(stack, first), 120, lambda: stack.tail("code"))
        second = stack.launch(SHARDS[1], "raw_shards", "documents", "embeddings")
        other = stack.launch("", "near_duplicates")  # of no pool
        wait_for(lambda: stack.status(other) == "STARTED", 120, lambda: stack.tail("daemon"))
        assert stack.status(second) == "QUEUED", "there is one device"
        os.kill(process, signal.SIGKILL)
    finally:
        holder.communicate(timeout=20)
        path.write_text(shipped)
    wait_for(lambda: ended(stack, second), 240, lambda: stack.tail("daemon") + stack.tail("code"), pause=2)
    assert (stack.status(first), stack.status(second)) == ("FAILURE", "SUCCESS"), stack.events(second)
    answer = stack.events(
        first
    )  # by the code server that started it, or by the sensors: whoever sees it first
    assert "terminated by signal 9" in answer or "the process that ran it has died" in answer, answer


def hold(stack: Stack) -> subprocess.Popen[str]:
    """Hold the home's lock from another process."""
    command = [sys.executable, "-c", HOLDER, str(stack.home)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    holder = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert holder.stdout.readline() == "held\n"
    return holder


def at_rest(stack: Stack) -> bool:
    """Whether no run goes on; what waits in the queue, without a daemon, is cancelled."""
    ends = "('SUCCESS', 'FAILURE', 'CANCELED')"
    left = stack.database.rows(f"SELECT run_id, status FROM runs WHERE status NOT IN {ends}")
    for run, status in left:
        if status == "QUEUED":
            stack.ask(TERMINATE, run=run)
    return not left


def process_of(stack: Stack, run: str) -> int:
    """The process that a step of the run has named; 0 before."""
    rows = stack.database.rows(f"SELECT value FROM run_tags WHERE run_id = '{run}' AND key = '{PROCESS_TAG}'")
    return int(rows[0][0].rsplit(":", 2)[1]) if rows else 0


def test_no_secret_is_in_logs_home_databases_or_what_the_ui_tells(stack):
    answer = json.dumps(stack.ask("query { instance { info } }"))
    assert "free_slots_after_run_end_seconds" in answer, "this is the page of the configuration"
    answer += "".join(stack.events(run) for (run,) in stack.database.rows("SELECT run_id FROM runs"))
    program = stack.database.server.bin_path / "pg_dump"
    for database in ("tamis", "mlflow"):
        dumped = subprocess.run([program, stack.database.url(database)], check=True, capture_output=True)
        answer += dumped.stdout.decode(errors="replace")
    assert [name for name, secret in SECRETS.items() if secret in answer] == []
    for path in (*stack.folder.glob("*.log"), *stack.home.rglob("*")):
        held = path.read_bytes() if path.is_file() else b""
        assert not any(secret.encode() in held for secret in SECRETS.values()), path


def test_each_service_ends_when_it_is_told_to(stack):
    for service in ("daemon", "webserver", "code", "mlflow"):
        process = stack.running[service].pid
        stack.stop(service)
        assert not psutil.pid_exists(process)
