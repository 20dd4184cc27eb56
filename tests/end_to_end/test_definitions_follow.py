"""A section added to tamis.toml while `tamis ui` runs: Dagster has its assets and its sensor soon after."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from projects import TRAINED, SmallProject, small_settings
from served import ask, served, wait_for

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
    """Serve a project in which nothing is made."""
    small_project.configure(small_settings())
    with served(small_project) as found:
        yield found


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
    assert "was asked to reload the definitions" in said

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
