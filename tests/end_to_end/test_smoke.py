"""The four runs of the whole graph that `make test` affords; the UI is the fifth (test_user_interface.py)."""

import json

import pyarrow as pa
import pytest
from projects import VECTORS, sentences, write_jsonl
from soundness import state, versions

pytestmark = pytest.mark.smoke
PER_DOCUMENT = ("documents", VECTORS, "scores_density", "transport_algebra")


def rows(project) -> dict[str, int]:
    return {table: project.store.count(table) for table in PER_DOCUMENT}


def test_a_build_makes_every_asset_and_gives_every_document_a_reason(built):
    made = {asset for asset, _partition in versions(built)}
    assert {"documents", "transport_scores", "selected_subset", "decisions", "mart_reasons"} <= made
    status = built.json("status")
    assert status["documents"] == 180
    assert status["quarantine"] == status["failed_checks"] == status["due"] == []
    decisions = built.store.read("decisions")
    assert decisions.group_by("selection").len()["len"].to_list() == [180, 180]
    assert decisions["reason"].null_count() == 0
    chosen = built.store.read("selected_subset", ["doc_id"], "selection = 'near-algebra'")
    shards = built.store.read("occurrences", ["doc_id", "shard"]).join(chosen, on="doc_id", how="semi")
    assert len(chosen) == 20
    assert shards["shard"].str.contains("algebra").mean() >= 0.9


def test_with_nothing_changed_nothing_is_made(built):
    before = state(built)
    assert "everything is current" in built.tamis("materialize").stderr
    assert state(built) == before
    assert built.json("plan") == []


def test_a_file_that_changes_and_one_that_goes_change_what_depends_on_them_and_nothing_else(project):
    """What its return restores is in graph/scenarios/test_graph_changes.py and test_changing_files.py."""
    before = versions(project)
    write_jsonl(project.root / "landing" / "cooking.jsonl", sentences("algebra", 60, 9))
    (project.root / "landing" / "sailing.jsonl").unlink()
    project.tamis("materialize", "--allow-removal", "landing")  # a third of the documents
    after = versions(project)
    changed = {key for key in before if after.get(key) != before[key]}
    assert {("documents", "landing__cooking.jsonl"), ("selected_subset", "near-algebra")} <= changed
    assert ("documents", "landing__sailing.jsonl") not in after
    assert ("documents", "landing__algebra.jsonl") not in changed
    assert rows(project) == dict.fromkeys(PER_DOCUMENT, 120)
    assert project.store.count("occurrences", "shard LIKE '%sailing%'") == 0
    assert project.store.count("decisions") == 240
    assert project.json("audit")["status"] == "green"
    found = project.json("diff", "near-algebra")
    assert (found["from"]["version"], found["to"]["version"]) == (1, 2)
    assert found["causes"]["in"]["new_document"] > 0
    assert found["counts"]["in"] == found["counts"]["out"] == 20 - found["counts"]["kept"] > 0


def test_an_altered_row_turns_the_audit_red_and_is_named(project):
    store = project.store
    rows = store.read_arrow("transport_algebra").sort_by("doc_id").slice(0, 1)
    store.merge("transport_algebra", rows.set_column(2, rows.schema.field(2), pa.array([-9.0])))
    found = json.loads(project.tamis("audit", "--json", code=1).stdout)
    assert found["status"] == "red"
    assert found["lowest_broken"] == ["transport_scores[algebra]"]
