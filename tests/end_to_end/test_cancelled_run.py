"""A run started and cancelled in Dagster: its progress is in the log, and the next run goes on from there."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import dagster as dg
import pytest
from projects import CHECKOUT, SMALL, make_project

JUDGE = """
[judge]
sample = 150
max_tokens = 64

[[selection]]
name = "good"
sampler = "ask-llm"
budget = 20
"""
INSTANCE = """\
telemetry:
  enabled: false
run_coordinator:
  module: dagster.core.run_coordinator
  class: DefaultRunCoordinator
"""
LAUNCH = """
mutation($given: ExecutionParams!) {
  launchRun(executionParams: $given) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
  }
}
"""
STATUS = "query($run: ID!) { runOrError(runId: $run) { ... on Run { status } } }"
TERMINATE = "mutation($run: String!) { terminateRun(runId: $run) { __typename } }"


@pytest.fixture
def project(tmp_path, encoder_cache):
    """A project in which all is made that comes before the judge's answers."""
    made = make_project(tmp_path / "project", encoder_cache)
    made.home.dagster.mkdir(parents=True, exist_ok=True)
    (made.home.dagster / "dagster.yaml").write_text(INSTANCE)  # without a daemon, so without sensors
    made.tamis("trust")
    made.configure(SMALL + JUDGE)
    before = ("documents", "near_duplicates", "raw_shards", "embeddings", "judge_sample")
    made.tamis("materialize", "--only", *before, code=None)
    assert made.store.count("judge_sample") == 150
    return made


@pytest.fixture
def server(project):
    """Dagster's webserver; answers GraphQL."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    environment = project.environment | {"DAGSTER_HOME": str(project.home.dagster)}
    command = [sys.executable, "-m", "dagster_webserver", "-w", "workspace.yaml", "-h", "127.0.0.1"]
    with (project.root / "server.log").open("w") as log:
        process = subprocess.Popen(
            [*command, "-p", str(port)],
            cwd=CHECKOUT,
            env=environment | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: answers(url), 120, project)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(60)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/server_info", timeout=2):
            return True
    except (urllib.error.URLError, OSError):
        return False


def wait_for(condition, seconds: float, project):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, (project.root / "server.log").read_text()[-4000:]
        time.sleep(0.5)
    return found


def ask(url: str, query: str, **variables):
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(f"{url}/graphql", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())["data"]


def messages(project, run: str) -> list[str]:
    with dg.DagsterInstance.from_config(str(project.home.dagster)) as instance:
        return [entry.user_message for entry in instance.all_logs(run)]


def shown(project, run: str) -> bool:
    """Whether the log says how far the judge has come."""
    said = [line for line in messages(project, run) if line.startswith("asking the judge: ")]
    return any("/150 documents, " in line and line.endswith(" left") for line in said)


def test_a_run_that_is_cancelled_in_dagster_goes_on_where_it_was(project, server):
    store = project.store
    selector = {
        "repositoryLocationName": "definitions.py",
        "repositoryName": "__repository__",
        "jobName": "__ASSET_JOB",
        "assetSelection": [{"path": ["judge_scores"]}],
    }
    launched = ask(server, LAUNCH, given={"selector": selector, "runConfigData": {}, "mode": "default"})
    run = launched["launchRun"]["run"]["runId"]
    wait_for(lambda: store.count("scores_judge") and shown(project, run), 1_200, project)
    assert ask(server, TERMINATE, run=run)["terminateRun"]["__typename"] == "TerminateRunSuccess"
    wait_for(lambda: ask(server, STATUS, run=run)["runOrError"]["status"] == "CANCELED", 1_200, project)
    kept = store.count("scores_judge")
    assert 0 < kept < 150
    assert len([line for line in messages(project, run) if line.startswith("asking the judge: ")]) < 20

    resumed = project.tamis("materialize", "--verbose")
    assert f"asking the judge: 0/{150 - kept}" not in resumed.stderr
    assert f"/{150 - kept} documents, " in resumed.stderr
    with dg.DagsterInstance.from_config(str(project.home.dagster)) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey("judge_scores"))
        facts = {name: value.value for name, value in event.asset_materialization.metadata.items()}
        logged = [entry.user_message for entry in instance.all_logs(event.run_id)]
    assert (facts["asked"], facts["reused"]) == (150 - kept, kept)
    assert any(f"/{150 - kept} documents, " in line for line in logged)  # the command line's run logs too
    assert store.count("scores_judge") == 150
    assert project.json("plan") == []
    assert project.json("audit")["status"] == "green"
