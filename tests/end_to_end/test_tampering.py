"""One thing changed anywhere behind the platform's back: the audit finds it and names where."""

import random
from pathlib import Path

import pytest
from small_project import SETTINGS, TRAINED, make_project, sentences, write_jsonl
from tampering import KINDS, copy_of, note_heads, tamper

from resources.events import logged_events
from resources.instance import open_instance
from tamis.lineage.audit import audit_graph
from tamis.lineage.audit_node import Audit
from tamis.lineage.heads import read_heads
from tamis.lineage.world import look
from tamis.project import open_project


@pytest.fixture(scope="module")
def trained(tmp_path_factory, encoder_cache):
    """A project with a checkpoint, near-duplicates, something in quarantine, and a selection gone back."""
    project = make_project(tmp_path_factory.mktemp("trained") / "project", encoder_cache, SETTINGS + TRAINED)
    project.tamis("materialize")
    added = sentences("sailing", 30, 3)
    write_jsonl(
        project.root / "landing" / "more.jsonl", [*added, f"{added[0]} again", f"{added[1]} again", " "]
    )
    project.tamis("restore", "near-algebra", "1")
    project.tamis("materialize", code=1)
    assert project.json("audit")["status"] == "amber", "the model was trained on what came first"
    note_heads(project.root)
    return project


def audited(root: Path) -> Audit:
    project = open_project(root)
    instance = open_instance(project)
    events = logged_events(instance)
    instance.dispose()
    return audit_graph(project.home, look(project), read_heads(project.home.store), events)


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


def test_each_of_twenty_changes_is_found_and_named(trained, tmp_path):
    assert_found(trained.root, tmp_path / "copy", range(20))


@pytest.mark.slow
def test_each_of_two_hundred_more_changes_is_found_and_named(trained, tmp_path):
    assert_found(trained.root, tmp_path / "copy", range(20, 220))
