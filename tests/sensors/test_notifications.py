"""The notifications sensor on a real instance and a real server: sent once, tried again, never in the way."""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from made_selections import made
from projects import SmallProject, plain_project, rows_of, selection, settings

from tamis.base.kept_errors import NOT_KEPT
from tamis.history.versions import note_version
from tamis.platform.sensors import outbox as module
from tamis.platform.sensors.failures import error_line
from tamis.runtime.runs import COMMAND_LINE, DRIVER_TAG

TEXT = "a sentence of a document"


class Watch(SmallProject):
    """A project with a webhook, and the sensor as the daemon calls it."""

    def tell(self) -> str:
        """Let both sensors tick, in the order in which a failure is sent at once."""
        self.sense("failures")
        return self.tick("notifications")[1]

    def quarantine(self, shard: str) -> None:
        row = {"shard": shard, "row": 1, "reason": "empty_text", "detail": "", "excerpt": TEXT}
        self.store.merge("quarantine", rows_of("quarantine", [row]))

    def fail(self, error: Exception) -> None:
        @dg.asset
        def embeddings():
            raise error

        tags = {DRIVER_TAG: COMMAND_LINE}
        done = dg.materialize([embeddings], instance=self.instance, raise_on_error=False, tags=tags)
        assert not done.success


def new_watch(root: Path, port: int | None, **automation: Any) -> Watch:
    hook = {"webhook": f"http://127.0.0.1:{port}/x"} if port else {}
    return Watch(plain_project(root, settings(selection("best"), **hook, **automation), {}).root)


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.0)


def test_without_a_webhook_nothing_is_watched(tmp_path):
    assert "no webhook" in new_watch(tmp_path, None).tell()


def test_quarantine_and_failures_are_sent_once_and_without_text(tmp_path, receive):
    server = receive()
    watch = new_watch(tmp_path, server.port)
    watch.quarantine("web__before")
    assert watch.tell() == "watching starts now"
    assert watch.tell() == "nothing to send"
    watch.quarantine("web__bad")
    watch.fail(ValueError(TEXT))
    assert watch.tell() == "2 delivered"
    assert watch.tell() == "nothing to send"
    seen = server.stop()
    failed, grew = (entry["body"] for entry in seen)
    assert (grew["event"], grew["rows_before"], grew["rows"]) == ("quarantine_grew", 1, 2)
    assert grew["reasons"] == {"empty_text": 2}
    assert (failed["event"], failed["asset"], failed["error"]) == ("failed", "embeddings", "ValueError")
    assert TEXT not in json.dumps(seen)


def test_a_failure_that_the_server_refuses_is_sent_later_and_once(tmp_path, receive):
    server = receive("500", "500")
    watch = new_watch(tmp_path, server.port)
    watch.tell()
    before = watch.cursors["failures"]
    watch.fail(ValueError(TEXT))
    assert "1 wait" in watch.tell()
    watch.cursors["failures"] = before  # as after a daemon that died before it stored the cursor
    assert watch.tell() == "1 delivered"
    assert watch.tell() == "nothing to send"
    assert [entry["body"]["event"] for entry in server.stop()] == ["failed"] * 3


def test_a_run_whose_process_was_killed_is_reported(tmp_path, receive):
    server = receive()
    watch = new_watch(tmp_path, server.port)
    watch.tell()
    tags = {DRIVER_TAG: COMMAND_LINE}
    run = watch.instance.create_run_for_job(dg.GraphDefinition("g").to_job(), tags=tags)
    watch.instance.report_run_failed(run)
    assert watch.tell() == "1 delivered"
    assert server.stop()[0]["body"]["error"] == "the run ended early"


def test_a_selection_that_changed_is_reported_in_counts(tmp_path, receive):
    server = receive()
    watch = new_watch(tmp_path, server.port)
    home = watch.home
    watch.tell()
    note_version(home, made(home, [1, 2], [3]), "best")
    assert watch.tell() == "1 delivered"
    note_version(home, made(home, [1, 3], [2]), "best")
    note_version(home, made(home, [3], [1, 2]), "best")
    assert watch.tell() == "1 delivered"
    note_version(home, made(home, [3], [1, 2, 4]), "best")
    assert watch.tell() == "nothing to send", "the same choice"
    first, second = (entry["body"] for entry in server.stop())
    assert (first["selection"], first["from_version"], first["to_version"]) == ("best", None, 1)
    assert (second["from_version"], second["to_version"]) == (1, 3)
    assert second["counts"] == {"in": 1, "out": 2, "kept": 0}


def test_events_that_nobody_asked_for_are_not_sent(tmp_path, receive):
    server = receive()
    watch = new_watch(tmp_path, server.port, webhook_events=["failed"])
    watch.tell()
    watch.quarantine("web__one")
    assert watch.tell() == "nothing to send"
    assert server.stop() == []


def test_what_a_server_refuses_waits_and_arrives_in_order(tmp_path, receive):
    server = receive("500", "500", "500")
    watch = new_watch(tmp_path, server.port)
    watch.tell()
    watch.quarantine("web__one")
    assert "1 wait" in watch.tell()
    watch.quarantine("web__two")
    assert watch.tell() == "2 delivered"
    assert [entry["body"]["rows"] for entry in server.stop()] == [1, 1, 1, 1, 2]


@pytest.mark.parametrize("content", [b"", b'{"put": 1, "bo', b"[]", b'{"put": "early", "body": {}}', b"\xff"])
def test_a_message_that_cannot_be_read_holds_no_other_back(tmp_path, receive, capsys, content):
    server = receive()
    watch = new_watch(tmp_path, server.port)
    watch.tell()
    outbox = watch.home.cache / "outbox"
    outbox.mkdir(parents=True)
    (outbox / "damaged.json").write_bytes(content)
    watch.quarantine("web__one")
    watch.fail(ValueError(TEXT))
    assert watch.tell() == "2 delivered"
    assert [path.name for path in outbox.iterdir()] == ["damaged.unreadable"]
    assert "damaged.unreadable" in capsys.readouterr().err
    assert len(server.stop()) == 2


def test_of_too_many_messages_the_oldest_are_dropped(tmp_path, receive, monkeypatch):
    monkeypatch.setattr(module, "KEPT", 2)
    server = receive()
    watch = new_watch(tmp_path, server.port)
    watch.tell()
    for number in range(4):
        module.put(watch.home, {"number": number})
    assert watch.tell() == "2 delivered"
    assert [entry["body"]["number"] for entry in server.stop()] == [2, 3]


def test_a_server_that_is_gone_is_given_up_and_nothing_else_waits_for_it(tmp_path, receive):
    server = receive()
    watch = new_watch(tmp_path, server.port)
    watch.tell()
    server.stop()
    watch.quarantine("web__one")
    for _ in range(module.TRIES - 1):
        assert "1 wait" in watch.tell()
    assert "refused" in watch.tell()
    assert watch.tell() == "nothing to send"


@pytest.mark.parametrize(
    ("name", "message", "expected"),
    [
        ("ValueError", f"ValueError: bad {TEXT}", "ValueError"),
        ("Failure", "dagster.Failure: ListingError: no folder", "ListingError: no folder"),
        ("Failure", f"dagster.Failure: {TEXT}: more", "Failure"),
        (
            "StepError",
            f"tamis.runtime.failures.StepError: ValueError at a.py:1, {NOT_KEPT}",
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

    assert error_line(SerializableErrorInfo(message, [], name)) == expected
