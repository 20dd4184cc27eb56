"""Definitions follow tamis.toml: what it uses newly is loaded, and while it is broken a check fails."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import dagster as dg
import pytest
from projects import SmallProject, names, note_made, plain_project, selection, settings, target

from tamis.base.processes import this_process
from tamis.runtime.checks import PROJECT_FILE
from tamis.runtime.services import ask_reload, noted
from tamis.store.served import NOTE, served

COPIES = "[near_duplicates]\ncosine = 0.9\n"
BROKEN = "[judge]\nsamples = 40\n"
CHECK = dg.AssetCheckKey(dg.AssetKey("raw_shards"), PROJECT_FILE)
LOADED = {"data": {"reloadRepositoryLocation": {}}}


class Webserver(ThreadingHTTPServer):
    """Answers as Dagster's webserver does, and keeps what it was asked."""

    def __init__(self, said: object = LOADED, after: float = 0.0) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.said, self.after = said, after
        self.asked: list[tuple[str, dict]] = []
        self.go_on = threading.Event()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        self.go_on.set()
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, json.loads(body)))
        self.server.go_on.wait(self.server.after)
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):  # who asked has not waited
            self.wfile.write(json.dumps(self.server.said).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def serve():
    started: list[Webserver] = []

    def start(*given: object, **named: float) -> Webserver:
        started.append(Webserver(*given, **named))
        return started[-1]

    yield start
    for one in started:
        one.stop()


@pytest.fixture
def project(tmp_path, nowhere, monkeypatch):
    monkeypatch.setattr("tamis.platform.sensors.requests.SETTLED_SECONDS", 0)
    made = plain_project(tmp_path, settings())
    yield made
    made.close()


def said(project: SmallProject, sensor: str = "arrivals", loaded: str | None = None) -> str:
    found = project.sense(sensor, loaded)
    assert isinstance(found, dg.SkipReason)
    return str(found.skip_message)


def use_more(project: SmallProject) -> str:
    """Have tamis.toml use another stage; returns what definitions were loaded with."""
    before = project.text
    project.configure(before + COPIES)
    return before


def test_the_webserver_is_asked_once_and_the_tick_says_so(project, serve):
    server, before = serve(), use_more(project)
    with noted(project.home, "127.0.0.1", server.server_port):
        for _ in range(2):
            asked = said(project, loaded=before)
            assert "tamis.toml now uses near_copies" in asked
            assert "was asked to reload the definitions" in asked
        ((path, body),) = server.asked
        assert path == "/graphql"
        assert body["variables"] == {"location": "definitions.py"}
        assert project.instance.get_dynamic_partitions("shards") == []
        assert said(project) == "registered 1 shard"
        assert len(server.asked) == 1


def test_what_changed_again_and_what_took_too_long_is_asked_for_again(project, serve, monkeypatch):
    server, before = serve(), use_more(project)
    with noted(project.home, "127.0.0.1", server.server_port):
        said(project, loaded=before)
        project.configure(before + COPIES + "[judge]\n")
        assert "quality_scores" in said(project, loaded=before)
        assert len(server.asked) == 2
        monkeypatch.setattr("tamis.platform.sensors.reloading.LOADING_SECONDS", -1.0)
        said(project, loaded=before)
        assert len(server.asked) == 3


def test_what_is_used_no_longer_and_what_only_the_definitions_state_is_loaded_too(project, serve):
    server = serve()
    with noted(project.home, "127.0.0.1", server.server_port):
        assert "no longer uses near_copies" in said(project, loaded=project.text + COPIES)
        before = project.text
        project.reconfigure('name = "small"', 'name = "small"\nowner = "team:ours"')
        assert "changed owner in [project]" in said(project, loaded=before)
        assert len(server.asked) == 2


def test_a_webserver_that_is_loading_is_not_waited_for(serve, monkeypatch):
    monkeypatch.setattr("tamis.runtime.services.BEGUN_SECONDS", 0.2)
    server = serve(after=20.0)
    began = time.monotonic()
    assert ask_reload("127.0.0.1", server.server_port, "definitions.py") == ""
    assert time.monotonic() - began < 10
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"data": {"reloadRepositoryLocation": {"message": "Authorization failed"}}}, "Authorization failed"),
        ({"errors": [{"message": "no such field"}]}, "does not answer like Dagster's webserver"),
    ],
)
def test_a_webserver_that_refuses_is_quoted_and_what_arrived_is_registered(project, serve, answer, expected):
    server, before = serve(answer), use_more(project)
    with noted(project.home, "127.0.0.1", server.server_port):
        found = said(project, loaded=before)
    assert expected in found
    assert "Reload" in found
    assert "registered 1 shard" in found


@pytest.mark.parametrize("note", ["none", "of a process that ended", "of another machine", "unreadable"])
def test_without_a_webserver_the_tick_says_how_to_load_them(project, serve, note):
    server, before = serve(), use_more(project)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    host, number, began = this_process().rsplit(":", 2)
    process = {
        "of a process that ended": f"{host}:{ended.pid}:{began}",
        "of another machine": f"another:{number}:{began}",
    }
    text = json.dumps({"host": "127.0.0.1", "port": server.server_port, "process": process.get(note, "")})
    if note != "none":
        project.home.dagster.mkdir(parents=True)
        (project.home.dagster / NOTE).write_text(text if note in process else text[:9])
    found = said(project, loaded=before)
    assert "no `tamis ui` is running here" in found
    assert "Reload" in found
    assert server.asked == []


def test_a_webserver_that_ended_without_a_word_is_named(project):
    with noted(project.home, "127.0.0.1", 9):
        assert "http://127.0.0.1:9 does not answer" in said(project, loaded=use_more(project))


def test_the_note_goes_with_who_wrote_it_alone(project):
    with noted(project.home, "127.0.0.1", 1):
        assert served(project.home).port == 1
        with noted(project.home, "127.0.0.1", 2):
            assert served(project.home).port == 2
        assert served(project.home) is None
        other = noted(project.home, "127.0.0.1", 3)
        other.__enter__()
    assert served(project.home).port == 3
    other.__exit__(None, None, None)
    assert os.listdir(project.home.dagster) == []


def test_nothing_is_requested_of_what_is_not_defined_yet(project):
    before = settings()
    project.configure(settings(target(), selection("near", "got-d", target="goal")))
    project.arrive()
    (request,), _ = project.tick()
    assert names(request)[0] == "target_examples"
    made: list[str] = []
    while not isinstance(found := project.sense("reselection", before), dg.SkipReason):
        for name in names(found.run_requests[0]):
            note_made(project.project, name, *project.partitions(name), ready=True)
            made.append(name)
    assert made[:2] == ["raw_shards", "documents"]
    assert "target_examples" in str(found.skip_message)
    assert "not defined yet" in str(found.skip_message)


def evaluations(project: SmallProject) -> list[tuple[bool, str]]:
    records = project.instance.event_log_storage.get_asset_check_execution_history(CHECK, limit=10)
    found = [record.event.asset_check_evaluation for record in reversed(records)]
    return [(one.passed, one.description or "") for one in found]


def test_a_broken_file_fails_a_check_once_until_it_is_right(project, capsys):
    good = project.text
    said(project)
    assert evaluations(project) == [(True, "")]
    project.configure(good + BROKEN)
    for sensor in ("arrivals", "arrivals", "reselection", "trial_budget", "notifications"):
        assert "judge.samples" in said(project, sensor, good)
    project.file.unlink()
    assert "No such file" in said(project, loaded=good)
    project.configure(good)
    said(project)
    lines = capsys.readouterr().err.splitlines()
    assert ["judge.samples" in line for line in lines] == [True, False, False]
    assert lines[2] == "tamis.toml can be used again; the sensors continue"
    passed = [passed for passed, _ in evaluations(project)]
    assert passed == [True, False, False, True]
    assert "judge.samples" in evaluations(project)[1][1]


def test_the_check_is_defined(project):
    keys = project.definitions().resolve_asset_graph().asset_check_keys
    assert CHECK in keys
