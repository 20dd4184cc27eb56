"""A section added to tamis.toml while `tamis ui` runs: Dagster has its assets and its sensor soon after."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from projects import TRAINED, SmallProject, small_settings

from resources.webserver import address

USED_WITHIN_SECONDS = 90.0
ASSETS = "{ assetNodes { assetKey { path } } }"
TICKS = """
query($given: SensorSelector!) {
  sensorOrError(sensorSelector: $given) { ... on Sensor { sensorState { ticks(limit: 20) { skipReason } } } }
}
"""
CHECK = """
{ assetNodes(assetKeys: [{path: ["raw_shards"]}]) { assetChecksOrError { ... on AssetChecks {
  checks { name executionForLatestMaterialization { evaluation { success description } } }
} } } }
"""
ADDED = ("[near_duplicates]\ncosine = 0.9\n", "[trial_budget]\nshare = 0.5\n")


@pytest.fixture
def url(small_project: SmallProject) -> Iterator[str]:
    """Serve a project in which nothing is made; ends as Ctrl-C ends it."""
    small_project.configure(small_settings())
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with (small_project.root / "server.log").open("w") as log:
        process = subprocess.Popen(
            small_project.command("ui", "--port", str(port)),
            cwd=small_project.root,
            env=small_project.environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_for(lambda: answers(port), 180, small_project)
        assert address(small_project.home) == ("127.0.0.1", port)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(60)
    assert address(small_project.home) is None


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/server_info", timeout=2):
            return True
    except (urllib.error.URLError, OSError):
        return False


def wait_for(condition: Callable[[], Any], seconds: float, project: SmallProject) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, (project.root / "server.log").read_text()[-4000:]
        time.sleep(0.5)
    return found


def ask(url: str, query: str, **variables: object) -> Any:
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(f"{url}/graphql", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())["data"]


def defined(url: str) -> set[str]:
    """Assets that the webserver shows."""
    return {node["assetKey"]["path"][-1] for node in ask(url, ASSETS)["assetNodes"]}


def ticks(url: str, sensor: str) -> list[str]:
    """What the latest ticks of a sensor said, which the daemon evaluated; none where there is no sensor."""
    place = {"repositoryLocationName": "definitions.py", "repositoryName": "__repository__"}
    found = ask(url, TICKS, given=place | {"sensorName": sensor})["sensorOrError"]
    return [tick["skipReason"] or "" for tick in found["sensorState"]["ticks"]] if found else []


def test_webserver_and_daemon_use_what_is_added_within_90_seconds_and_say_what_is_broken(small_project, url):
    wait_for(lambda: ticks(url, "arrivals"), 60, small_project)
    assert defined(url).isdisjoint({"near_copies", "trials"})
    assert ticks(url, "trial_budget") == []

    began = time.monotonic()
    small_project.configure(small_settings(TRAINED, *ADDED))

    def used() -> bool:
        return {"near_copies", "trials"} <= defined(url) and bool(ticks(url, "trial_budget"))

    wait_for(used, USED_WITHIN_SECONDS - (time.monotonic() - began), small_project)
    said = "\n".join(ticks(url, "arrivals"))
    assert "tamis.toml now uses near_copies, judge_sample" in said
    assert "was asked to load the definitions again" in said

    def check() -> dict[str, Any]:
        (node,) = ask(url, CHECK)["assetNodes"]
        checks = {one["name"]: one for one in node["assetChecksOrError"]["checks"]}
        return (checks["project_file"]["executionForLatestMaterialization"] or {}).get("evaluation") or {}

    wait_for(lambda: check().get("success") is True, 60, small_project)
    small_project.configure(small_project.text + "[retention]\nday = 3\n")
    wait_for(lambda: check().get("success") is False, 60, small_project)
    assert "retention.day" in check()["description"]
    assert "trials" in defined(url)
    log = (small_project.root / "server.log").read_text()
    assert "Traceback" not in log, log[-4000:]
