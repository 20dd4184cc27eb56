"""One thing changed anywhere behind the platform's back: the audit finds it and names where."""

import random
from pathlib import Path

import pytest
from parts import in_parts
from projects import SMALL, TRAINED, SmallProject, sentences, write_jsonl
from tampering import KINDS, copy_of, note_heads, tamper

from tamis.audit.verdicts import Audit
from tamis.store import compaction


@pytest.fixture(scope="module")
def trained(tmp_path_factory, materialized):
    """A project with a checkpoint, near-duplicates, something in quarantine, and a selection gone back."""
    project = materialized(tmp_path_factory.mktemp("trained") / "project", SMALL + TRAINED)
    project.tamis("materialize")
    added = sentences("sailing", 30, 3)
    write_jsonl(
        project.root / "landing" / "more.jsonl", [*added, f"{added[0]} again", f"{added[1]} again", " "]
    )
    project.tamis("restore", "near-algebra", "1")
    project.tamis("materialize")
    assert project.json("audit")["status"] == "amber", "the model was trained on what came first"
    note_heads(project.root)
    return project


def audited(root: Path) -> Audit:
    project = SmallProject(root, durable=True)
    audit = project.audit(events=project.events())
    project.close()
    return audit


def assert_found(root: Path, place: Path, trials: range) -> None:
    missed = []
    for trial in trials:
        draw = random.Random(f"tampering {trial}")
        copied = copy_of(root, place)
        done = tamper(copied, draw, KINDS[trial % len(KINDS)])
        named = {node.name for node in audited(copied).lowest_broken()}
        if not named & done.expected:
            missed.append((trial, done.what, sorted(named)))
    assert missed == []


def test_each_of_ten_changes_is_found_and_named(trained, tmp_path):
    assert_found(trained.root, tmp_path / "copy", range(10))


def test_compaction_and_indexing_change_nothing_that_an_audit_sees(trained, tmp_path, monkeypatch):
    copied = copy_of(trained.root, tmp_path / "copy")
    before = audited(copied)
    for name in ("MOST_SMALL_FILES", "MOST_VERSIONS", "LEAST_INDEXED"):
        monkeypatch.setattr(compaction, name, 0)
    store = SmallProject(copied).store
    store.append("documents", store.read_arrow("documents").slice(0, 0))
    compaction.compact(store)
    assert [one.name for one in store.open("decisions").list_indices()] == ["doc_id_index"]
    after = audited(copied)
    assert {key: node.status for key, node in after.nodes.items()} == {
        key: node.status for key, node in before.nodes.items()
    }


def test_a_checkpoint_leads_back_to_its_documents_and_they_to_it(trained):
    found = trained.json("explain", "--checkpoint", "law__small__10")
    (tuned,) = [stage for stage in found["stages"] if stage["how"] == "fine-tuned on"]
    (pretrained,) = [stage for stage in found["stages"] if stage["how"] == "pre-trained on"]
    assert (tuned["checkpoint"], tuned["data"], len(tuned["documents"])) == ("law__small__10", "algebra", 10)
    assert pretrained["checkpoint"] == "small"
    assert all(document["occurrences"] for document in pretrained["documents"])
    one = pretrained["documents"][0]["doc_id"]
    trained_on = {"checkpoint": "small", "data": "pool", "training_count": 1}
    assert trained_on in trained.json("explain", one)["checkpoints"]
    assert "was pre-trained on" in trained.tamis("explain", "--checkpoint", "law__small__10").stdout
    said = trained.tamis("explain", "--checkpoint", "unknown", code=2).stderr
    assert "law__small__10" in said


@in_parts(3)
def test_each_of_two_hundred_more_changes_is_found_and_named(trained, tmp_path, part):
    assert_found(trained.root, tmp_path / "copy", range(10 + 70 * part, 80 + 70 * part))
