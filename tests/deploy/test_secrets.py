"""Nothing secret is written anywhere: each variable for a secret holds one that all bytes are searched for.

The project runs with its state in PostgreSQL, a corpus in a bucket, a judge that refuses the key and repeats
it, and a webhook that does not answer; then with a wrong password, and with the bucket gone.
"""

import subprocess
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.run_status_sensor_definition import RunStatusSensorCursor
from projects import corpus, make_project, selection, small_settings, watched
from stack import Database, ObjectStore

pytestmark = pytest.mark.slow
MARK = "5ecret"
SECRETS = {
    name: f"{MARK}of{name.lower().replace('_', '')}"
    for name in (
        "DATABASE",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "JUDGE_KEY",
        "TAMIS_WEBHOOK_KEY",
        "HF_TOKEN",
        "RAY_AUTH_TOKEN",
        "MLFLOW_TRACKING_PASSWORD",
    )
}
HOOK_PATH = f"{MARK}ofthewebhook"
MORE = """
[judge]
url = "http://127.0.0.1:{port}/v1"
key_env = "JUDGE_KEY"
model = "some-model"
sample = 40
"""


class Refuses(BaseHTTPRequestHandler):
    """A judge that does not take the key, and says which."""

    seen: list[str] = []  # noqa: RUF012

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        given = self.headers["Authorization"]
        self.seen.append(given)
        body = f"the key {given.removeprefix('Bearer ')} is not valid".encode()
        self.send_response(401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments):
        return


@pytest.fixture
def judge():
    server = HTTPServer(("127.0.0.1", 0), Refuses)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def database():
    with tempfile.TemporaryDirectory(prefix="tamis-secrets-") as name:
        Path(name).chmod(0o755)
        found = Database(Path(name), SECRETS["DATABASE"])
        yield found
        found.control("stop")


@pytest.fixture
def objects():
    found = ObjectStore("key", SECRETS["AWS_SECRET_ACCESS_KEY"])
    body = "".join(f'{{"text": "Of a bucket, document {number}."}}\n' for number in range(20))
    found.client.put_object(Bucket="tamis", Key="texts/some.jsonl", Body=body.encode())
    yield found
    if found.process.poll() is None:
        found.process.communicate("", timeout=20)


@pytest.fixture
def project(tmp_path, encoder_cache, judge, database, objects, monkeypatch):
    given = SECRETS | {
        "TAMIS_POSTGRES_URL": database.url(),
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{objects.port}",
        "AWS_REGION": "us-east-1",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    hook = {"webhook": f"http://127.0.0.1:1/{HOOK_PATH}", "webhook_key_env": "TAMIS_WEBHOOK_KEY"}
    bucket = corpus("bucket", "s3://tamis/texts", text_column="text")
    parts = (bucket, MORE.format(port=judge.server_port), selection("good", "ask-llm", 20))
    text = small_settings(*parts, settle_seconds=1.0, **hook)
    return make_project(tmp_path / "project", encoder_cache, text)


def dump(database: Database) -> bytes:
    """Everything that the database holds, as text: runs, events, ticks, cursors."""
    program = database.server.bin_path / "pg_dump"
    return subprocess.run([program, database.url()], check=True, capture_output=True).stdout


def found_in(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        if path.is_file() and MARK.encode() in path.read_bytes():
            yield str(path.relative_to(folder))


def messages_of_runs(project) -> list[str]:
    with dg.DagsterInstance.from_config(str(project.home.dagster)) as instance:
        return [str(entry) for run in instance.get_runs() for entry in instance.all_logs(run.run_id)]


def tell_the_webhook(project, monkeypatch, capfd) -> str:
    """A tick of the sensor that cannot deliver; what it says, keeps and logs."""
    for daemon in watched(project, monkeypatch):
        daemon.cursors["failures"] = RunStatusSensorCursor(record_id=0).to_json()
        daemon.cursors["notifications"] = '{"mark": {"versions": {}, "quarantine": 0}}'
        daemon.sense("failures")
        _requests, said = daemon.tick("notifications")
        assert "not delivered" in said, said
    kept = capfd.readouterr()
    return f"{said} {daemon.cursors['notifications']} {kept.out} {kept.err}"


def test_secrets_are_in_no_byte_of_home_database_output_and_events(
    project, database, objects, monkeypatch, capfd
):
    failed = project.tamis("materialize", code=1)
    assert failed.stderr.count("failed: judge_scores: ") == 1
    assert "the key in JUDGE_KEY was not accepted" in failed.stderr, "what the answer says is not quoted"
    assert f"Bearer {SECRETS['JUDGE_KEY']}" in Refuses.seen, "it was sent"
    assert project.home.root.joinpath("lance").exists()
    said = [failed.stdout, failed.stderr]
    for verb in (["status"], ["plan"], ["health"], ["audit"], ["materialize", "--only", "mistaken"]):
        done = project.tamis(*verb, code=None)
        said += [done.stdout, done.stderr]
    said += [tell_the_webhook(project, monkeypatch, capfd), *messages_of_runs(project)]

    monkeypatch.setenv("TAMIS_POSTGRES_URL", database.url().replace(SECRETS["DATABASE"], f"{MARK}wrong"))
    refused = [project.tamis(verb, code=None) for verb in ("status", "materialize", "health")]
    assert "password authentication failed" in refused[1].stderr
    assert refused[2].returncode == 1
    said += [text for one in refused for text in (one.stdout, one.stderr)]

    monkeypatch.setenv("TAMIS_POSTGRES_URL", database.url())
    objects.process.communicate("", timeout=20)
    gone = project.tamis("materialize", code=None)
    assert "cannot list s3://tamis/texts" in gone.stderr
    said += [gone.stdout, gone.stderr]

    assert [text[max(0, text.find(MARK) - 300) :][:700] for text in said if MARK in text] == []
    assert list(found_in(project.home.root)) == []
    kept = dump(database)
    assert b"judge_scores" in kept
    assert MARK.encode() not in kept
