"""A document that models were trained on: they are named and their checks fail, and nothing is ever red."""

import subprocess
import time

import dagster as dg
import pytest
from marked_documents import COUNT, add_marked, marked, shown_in
from projects import NEAR_ALGEBRA, make_project, selection, small_settings, watched
from soundness import versions

from tamis.corpus import document_id
from tamis.runtime.checks import UNTAINTED

TRAINED = """
[[base_model]]
name = "small"
preset = "llama-0.8m"

[pretraining]
tokens = 8_000
vocabulary = 512
sequence_length = 32

[comparison]
model = "small"
selections = ["uniform"]
"""
BASE, TRIAL = "base_models[small]", "trials[warm-up__small__uniform]"


@pytest.fixture
def project(tmp_path, encoder_cache):
    wide = small_settings(TRAINED, selections=[NEAR_ALGEBRA, selection("uniform", budget=120)])
    project = make_project(tmp_path / "project", encoder_cache, wide)
    add_marked(project)
    project.tamis("materialize")
    return project


def seen_by_both(project) -> int:
    """A marked document that the base model and the trial were trained on."""
    rows = project.store.read("trained_on", ["checkpoint", "doc_id"])
    by_checkpoint = {one: set(some["doc_id"]) for (one,), some in rows.group_by("checkpoint")}
    both = set.intersection(*by_checkpoint.values())
    return next(number for number in range(COUNT) if document_id(marked(number)) in both)


def current(found: list[dict]) -> dict[str, str]:
    return {
        f"{one['asset']}[{one['partition']}]" if one["partition"] else one["asset"]: one["taint"]
        for one in found
        if one["current"]
    }


def test_checkpoints_are_named_by_their_taint_and_fail_their_checks(project, monkeypatch):
    number = seen_by_both(project)
    doc_id = document_id(marked(number))
    shown = shown_in(project.home.root, number)
    assert shown
    assert not [place for place in shown if place.startswith(("dagster/", "mlflow/", "checkpoints/"))]
    tainted = current(project.json("withdraw", doc_id)["tainted"])
    assert tainted[BASE] == "pre-trained on it"
    assert tainted[TRIAL] == "fine-tuned on it"
    assert tainted["tokenizer"] == tainted["target_potential[algebra]"] == "influenced by it"
    assert project.json("audit", code=0)["status"] == "amber"
    assert failing(project, monkeypatch) >= {"base_models", "trials", "tokenizer", "target_potential"}
    explained = project.json("explain", doc_id)
    assert {one["checkpoint"] for one in explained["checkpoints"]} == {"small", "warm-up__small__uniform"}

    project.tamis("materialize")
    assert shown_in(project.home.root, number) == []
    assert current(project.json("status")["tainted"]) == {
        BASE: "pre-trained on it",
        TRIAL: "pre-trained on it",
        "tokenizer": "influenced by it",
    }
    assert failing(project, monkeypatch) == {"base_models", "trials", "tokenizer"}
    audit = project.json("audit")
    assert audit["status"] == "amber"
    (base,) = [node for node in audit["nodes"] if node["name"] == BASE]
    assert (base["withdrawn"], base["intact"]) == (1, True)
    before = versions(project)
    assert "everything is current" in project.tamis("materialize").stderr
    assert versions(project) == before


def failing(project, monkeypatch) -> set[str]:
    """Assets whose check failed when it was last evaluated."""
    for platform in watched(project, monkeypatch):
        keys = [
            dg.AssetCheckKey(dg.AssetKey(name), UNTAINTED)
            for name in ("tokenizer", "base_models", "trials", "target_potential", "density_sketch")
        ]
        records = platform.instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
        return {
            key.asset_key.to_user_string()
            for key, record in records.items()
            if not record.event.asset_check_evaluation.passed
        }
    raise AssertionError("no platform")


def test_a_killed_withdrawal_is_completed_by_the_next_materialization(project):
    number = seen_by_both(project)
    for seconds in (1.0, 1.5, 2.0, 2.5, 3.0):
        running = subprocess.Popen(
            project.command("withdraw", document_id(marked(number))),
            cwd=project.root,
            env=project.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(seconds)
        running.kill()
        running.wait()
        if project.store.count("withdrawals"):
            break
    else:
        project.tamis("withdraw", document_id(marked(number)))
    project.tamis("materialize")
    assert shown_in(project.home.root, number) == []
    assert project.json("withdraw", "--verify")["holds"]
    assert project.json("audit")["status"] == "amber"
