"""Materialize all, as the button above Dagster's graph calls it, on a project of own files."""

import urllib.request
from typing import Any

import pytest
from projects import TOPICS, SmallProject, make_project, selection, sentences, settings, target, write_jsonl
from served import ask, served, wait_for
from soundness import versions_in

from tamis.runtime.checks import CURRENT
from tamis.runtime.runs import HOME_TAG

NEW = "zz_new.jsonl"
SELECTED_WITHIN_SECONDS = 180.0  # 60 where nothing else runs
DONE_SECONDS = 600.0
ASSETS = "{ assetNodes { assetKey { path } } }"
MATERIALIZE_ALL = """
mutation($given: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $given) {
  ... on LaunchBackfillSuccess { backfillId } ... on Error { message }
} }
"""
BACKFILL = """
query($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } } }
"""
RUNS = """
query($id: String!) { runsOrError(filter: {tags: [{key: "dagster/backfill", value: $id}]}) {
  ... on Runs { results { runId status assetSelection { path } tags { key } } }
} }
"""
CANCEL = "mutation($id: String!) { cancelPartitionBackfill(backfillId: $id) { __typename } }"
CHECKS = """
{ assetNodes { assetKey { path } assetChecksOrError { ... on AssetChecks {
  checks { name executionForLatestMaterialization { status evaluation { success severity description } } }
} } } }
"""

LINKS = """
{ assetNodes(assetKeys: [{path: ["selected_subset"]}]) { assetMaterializations(limit: 1) {
  metadataEntries { label ... on UrlMetadataEntry { url } }
} } }
"""


@pytest.fixture
def project(tmp_path, encoder_cache) -> SmallProject:
    """Files of nobody else, a target, two selections, no filters and no judge; nothing is made."""
    text = settings(
        target(train=30, held_out=15),
        selection("best", "got-d", 20, target="goal"),
        selection("any", budget=20),
        interval_seconds=5,
        settle_seconds=1.0,
    )
    made = make_project(tmp_path / "project", encoder_cache, text)
    for number, topic in enumerate([*TOPICS] * 2):
        write_jsonl(made.root / "documents" / f"{topic}{number}.jsonl", sentences(topic, 20, 100 + number))
    return made


def begin(url: str, *but: str) -> str:
    """Click the button, with all assets chosen but these; returns the backfill."""
    keys = [node["assetKey"] for node in ask(url, ASSETS)["assetNodes"]]
    given = {"assetSelection": [key for key in keys if key["path"] != [*but]], "allPartitions": True}
    return str(ask(url, MATERIALIZE_ALL, given=given)["launchPartitionBackfill"]["backfillId"])


def status(url: str, backfill: str) -> str:
    return str(ask(url, BACKFILL, id=backfill)["partitionBackfillOrError"]["status"])


def ended(url: str, backfill: str) -> str:
    found = status(url, backfill)
    return "" if found in ("REQUESTED", "CANCELING", "COMPLETING", "FAILING") else found


def runs(url: str, backfill: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ask(url, RUNS, id=backfill)["runsOrError"]["results"]
    return found


def at_its_end(project: SmallProject, url: str, backfill: str) -> list[dict[str, Any]]:
    """Wait for the end of a backfill; returns its runs, which are green as it is."""
    how = wait_for(lambda: ended(url, backfill), DONE_SECONDS, project)
    found = runs(url, backfill)
    assert not [(run["status"], assets_of(run)) for run in found if run["status"] != "SUCCESS"]
    assert how == "COMPLETED_SUCCESS", [assets_of(run) for run in found]
    return found


def assets_of(run: dict[str, Any]) -> set[str]:
    return {key["path"][-1] for key in run["assetSelection"]}


def amber(url: str) -> dict[str, str]:
    """Return the assets whose check `current` is not green, with what it says."""
    found = {}
    for node in ask(url, CHECKS)["assetNodes"]:
        (check,) = [one for one in node["assetChecksOrError"]["checks"] if one["name"] == CURRENT]
        execution = check["executionForLatestMaterialization"] or {}
        evaluation = execution.get("evaluation") or {"success": False, "description": execution.get("status")}
        if not evaluation["success"]:
            assert evaluation.get("severity") != "ERROR"
            found[node["assetKey"]["path"][-1]] = str(evaluation["description"])
    return found


def at_its_link(project: SmallProject, url: str) -> None:
    """Follow the link of a selection in Dagster's page to the selection's own, which is served as it is."""
    (node,) = ask(url, LINKS)["assetNodes"]
    (link,) = [
        entry["url"] for entry in node["assetMaterializations"][0]["metadataEntries"] if "url" in entry
    ]
    with urllib.request.urlopen(link, timeout=20) as answer:
        page = answer.read()
    assert page == (project.home.reports / link.rpartition("/")[2]).read_bytes()


def selected(project: SmallProject) -> bool:
    """Return whether the selection holds documents of the new file."""
    new = project.store.read("occurrences", ["doc_id"], f"shard LIKE '%{NEW}'")
    chosen = project.store.read("selected_subset", ["doc_id"], "selection = 'best'")
    return len(chosen.join(new, on="doc_id", how="semi")) > 0


def test_materialize_all_is_green_makes_what_is_due_and_loses_no_file_that_comes(project):
    with served(project) as url:
        wait_for(lambda: ask(url, ASSETS)["assetNodes"], 60, project)
        first = begin(url)
        wait_for(lambda: len(runs(url, first)) >= 3, 120, project)
        write_jsonl(project.root / "documents" / NEW, sentences("algebra", 40, 777))
        made = at_its_end(project, url, first)
        wait_for(lambda: selected(project), SELECTED_WITHIN_SECONDS, project)
        for asset in ("raw_shards", "selected_subset"):
            assert len([run for run in made if asset in assets_of(run)]) == 1, "all partitions are one run"
        ours = {tag["key"] for run in made for tag in run["tags"] if tag["key"].startswith("tamis/")}
        assert ours <= {HOME_TAG}, "no sensor asked for them"
        wait_for(lambda: "selected_subset" not in amber(url), SELECTED_WITHIN_SECONDS, project)

        at_its_end(project, url, begin(url))  # what sensors leave: pages, marts, the audit
        wait_for(lambda: not amber(url), 60, project)
        assert project.json("status")["due"] == []
        at_its_link(project, url)
        before = versions_in(project.store)
        at_its_end(project, url, begin(url))
        assert versions_in(project.store) == before
        assert not amber(url)

        last = begin(url)
        wait_for(lambda: runs(url, last), 120, project)
        assert ask(url, CANCEL, id=last)["cancelPartitionBackfill"]["__typename"] == "CancelBackfillSuccess"
        assert wait_for(lambda: ended(url, last), 180, project) == "CANCELED"
        assert versions_in(project.store) == before
    said = (project.root / "server.log").read_text()
    assert "Traceback" not in said
    assert " - DEBUG - " not in said, "the event log has each event; the terminal does not"
