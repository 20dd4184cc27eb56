"""The notifications sensor on a real instance and a real server: told once, tried again, never in the way."""

import json

import dagster as dg
import pyarrow as pa
import pytest
from made_selections import made

from resources.failures import told
from resources.platform import Platform
from sensors import notifications as module
from sensors.notifications import notifications
from tamis.base.kept_errors import NOT_KEPT
from tamis.lineage.versions import note_version
from tamis.store.schemas import schema_of

SETTINGS = """
[automation]
settle_seconds = 0.0
WEBHOOK
[[corpus]]
name = "web"
kind = "files"
path = "documents"
[[selection]]
name = "best"
sampler = "random"
budget = 2
"""
TEXT = "a sentence that stands in a document"


class Watch:
    """A project with a webhook, and the sensor as the daemon calls it."""

    def __init__(self, root, port: int | None) -> None:
        self.root, self.cursor = root, None
        line = f'webhook = "http://127.0.0.1:{port}/x"' if port else ""
        (root / "documents").mkdir()
        (root / "tamis.toml").write_text(SETTINGS.replace("WEBHOOK", line))
        self.instance = dg.DagsterInstance.ephemeral()
        self.platform = Platform(project_file=str(root / "tamis.toml"))

    def tick(self) -> str:
        resources = {"platform": self.platform}
        context = dg.build_sensor_context(self.instance, cursor=self.cursor, resources=resources)
        found = notifications(context)
        self.cursor = context.cursor
        return str(found.skip_message)

    def quarantine(self, shard: str) -> None:
        row = {"shard": shard, "row": 1, "reason": "empty_text", "detail": "", "excerpt": TEXT}
        self.platform.store.merge("quarantine", pa.Table.from_pylist([row], schema=schema_of("quarantine")))

    def fail(self, error: Exception) -> None:
        @dg.asset
        def embeddings():
            raise error

        done = dg.materialize([embeddings], instance=self.instance, raise_on_error=False)
        assert not done.success


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.0)


def test_without_a_webhook_nothing_is_watched(tmp_path):
    assert "no webhook" in Watch(tmp_path, None).tick()


def test_quarantine_and_failures_are_told_once_and_without_text(tmp_path, receive):
    server = receive()
    watch = Watch(tmp_path, server.port)
    watch.quarantine("web__before")
    assert watch.tick() == "watching from now on"
    assert watch.tick() == "nothing to tell"
    watch.quarantine("web__bad")
    watch.fail(ValueError(TEXT))
    assert watch.tick() == "2 delivered"
    assert watch.tick() == "nothing to tell"
    seen = server.stop()
    grew, failed = (entry["body"] for entry in seen)
    assert (grew["event"], grew["rows_before"], grew["rows"]) == ("quarantine_grew", 1, 2)
    assert grew["reasons"] == {"empty_text": 2}
    assert (failed["event"], failed["asset"], failed["error"]) == ("failed", "embeddings", "ValueError")
    assert TEXT not in json.dumps(seen)


def test_a_selection_that_changed_is_told_in_counts(tmp_path, receive):
    server = receive()
    watch = Watch(tmp_path, server.port)
    home = watch.platform.home
    watch.tick()
    note_version(home, made(home, [1, 2], [3]), "best")
    assert watch.tick() == "1 delivered"
    note_version(home, made(home, [1, 3], [2]), "best")
    note_version(home, made(home, [3], [1, 2]), "best")
    assert watch.tick() == "1 delivered"
    note_version(home, made(home, [3], [1, 2, 4]), "best")
    assert watch.tick() == "nothing to tell", "the same choice"
    first, second = (entry["body"] for entry in server.stop())
    assert (first["selection"], first["from_version"], first["to_version"]) == ("best", None, 1)
    assert (second["from_version"], second["to_version"]) == (1, 3)
    assert second["counts"] == {"in": 1, "out": 2, "kept": 0}


def test_events_that_nobody_asked_for_are_not_told(tmp_path, receive):
    server = receive()
    watch = Watch(tmp_path, server.port)
    text = (
        (tmp_path / "tamis.toml").read_text().replace("webhook =", 'webhook_events = ["failed"]\nwebhook =')
    )
    (tmp_path / "tamis.toml").write_text(text)
    watch.platform = Platform(project_file=str(tmp_path / "tamis.toml"))
    watch.tick()
    watch.quarantine("web__one")
    assert watch.tick() == "nothing to tell"
    assert server.stop() == []


def test_what_a_server_refuses_waits_and_arrives_in_order(tmp_path, receive):
    server = receive("500", "500", "500")
    watch = Watch(tmp_path, server.port)
    watch.tick()
    watch.quarantine("web__one")
    assert "1 wait" in watch.tick()
    watch.quarantine("web__two")
    assert watch.tick() == "2 delivered"
    assert [entry["body"]["rows"] for entry in server.stop()] == [1, 1, 1, 1, 2]


def test_a_server_that_is_gone_is_given_up_and_nothing_else_waits_for_it(tmp_path, receive):
    server = receive()
    watch = Watch(tmp_path, server.port)
    watch.tick()
    server.stop()
    watch.quarantine("web__one")
    for _ in range(module.TRIES - 1):
        assert "1 wait" in watch.tick()
    assert "refused" in watch.tick()
    assert watch.tick() == "nothing to tell"


@pytest.mark.parametrize(
    ("name", "message", "expected"),
    [
        ("ValueError", f"ValueError: bad {TEXT}", "ValueError"),
        ("Failure", "dagster.Failure: ListingError: no folder", "ListingError: no folder"),
        ("Failure", f"dagster.Failure: {TEXT}: more", "Failure"),
        (
            "StepError",
            f"resources.work_errors.StepError: ValueError at a.py:1, {NOT_KEPT}",
            f"ValueError at a.py:1, {NOT_KEPT}",
        ),
        (
            "HomeLockedError",
            "tamis.store.home.HomeLockedError: it is locked",
            "HomeLockedError: it is locked",
        ),
    ],
)
def test_only_errors_of_our_own_are_quoted(name, message, expected):
    from dagster._utils.error import SerializableErrorInfo

    assert told(SerializableErrorInfo(message, [], name)) == expected
