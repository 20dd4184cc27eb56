"""Pinned versions: a pin replaces the inputs of a selection until it is released or the selection leaves."""

from dataclasses import replace
from datetime import datetime

import pytest
from made_selections import doc, made
from projects import plain_project, rows_of, selection, settings

from tamis.base.errors import UnknownNameError
from tamis.graph.plan import full_plan, upstream
from tamis.graph.snapshot import ProjectSnapshot
from tamis.history.versions import UnknownVersionError, note_version, release, restore
from tamis.records.published import PinnedVersion, read_pinned_versions
from tamis.retention.reconciled import forget_gone


@pytest.fixture
def project(tmp_path):
    return plain_project(tmp_path, settings(selection("best"))).project


def test_a_selection_is_pinned_and_released(project):
    home = project.home
    first = note_version(home, made(home, [1, 2]), "best")
    note_version(home, made(home, [2, 3]), "best")
    pin, gone = restore(project, "best", 1)
    assert (pin.version, pin.decisions, pin.rows) == (1, first.decisions, first.rows)
    assert [int(doc_id, 16) for doc_id in gone] == [1, 2], "there are no documents in this store"
    assert set(gone.values()) == {"is no longer in any corpus"}
    assert read_pinned_versions(home.store) == {"best": pin}
    assert release(project, "best") == pin
    assert release(project, "best") is None


def test_restoring_names_what_became_a_held_out_example(project):
    home = project.home
    note_version(home, made(home, [1, 2, 3], [4]), "best")
    home.store.append("documents", rows_of("documents", [{"doc_id": doc(number)} for number in range(1, 5)]))
    examples = [(doc(1), "held_out"), (doc(2), "train"), (doc(4), "held_out")]
    rows = [{"target": "goal", "doc_id": doc_id, "split": split} for doc_id, split in examples]
    home.store.append("target_examples", rows_of("target_examples", rows))
    home.store.append("contamination", rows_of("contamination", [{"target": "goal", "doc_id": doc(3)}]))
    _pin, lacking = restore(project, "best", 1)
    assert list(lacking) == [doc(1), doc(3)]
    assert "held-out example of a target" in lacking[doc(1)]
    assert "long runs of words" in lacking[doc(3)]


def test_the_current_version_keeps_its_date_when_it_is_pinned(project):
    home = project.home
    first = note_version(home, made(home, [1, 2], inputs="a"), "best")
    again = note_version(home, made(home, [1, 2], inputs="b"), "best", pinned_to=1)
    assert (again.version, again.made_at) == (1, first.made_at)
    assert again.decisions != first.decisions


def test_an_unknown_selection_or_version_is_refused(project):
    home = project.home
    note_version(home, made(home, [1]), "best")
    with pytest.raises(UnknownVersionError, match="only version 1;"):
        restore(project, "best", 2)
    with pytest.raises(UnknownNameError, match="valid: best"):
        restore(project, "worst", 1)
    assert read_pinned_versions(home.store) == {}


def pinned(imagined, name: str) -> None:
    pin = PinnedVersion(
        selection=name, version=1, decisions="d" * 64, subset="s", rows="r", made_at=datetime(2026, 1, 1)
    )
    snapshot = imagined.snapshot
    imagined.snapshot = lambda: _with_pin(snapshot(), pin)


def _with_pin(snapshot, pin: PinnedVersion):
    return replace(snapshot, pinned={pin.selection: pin})


def test_a_pinned_selection_is_made_once_and_not_again_for_new_scores(imagined):
    imagined.materialize()
    before = imagined.versions()[("selected_subset", "thin")]
    pinned(imagined, "thin")
    assert ("selected_subset", "thin") in imagined.materialize()
    assert imagined.versions()[("selected_subset", "thin")] != before
    assert imagined.materialize() == []
    assert {asset for asset, _key in upstream(imagined.snapshot(), ("selected_subset", "thin"))} == {
        "contamination",
        "documents",
        "raw_shards",
        "target_examples",
    }


def test_a_pinned_selection_is_made_again_when_documents_come_or_go(imagined):
    imagined.materialize()
    pinned(imagined, "thin")
    imagined.materialize()
    imagined.contents["web__c"] = "1"
    due = {(one.asset, one.partition) for one in full_plan(imagined.snapshot(), imagined.current)}
    assert ("selected_subset", "thin") in due


def test_a_pin_is_removed_with_its_selection(project, tmp_path):
    home = project.home
    current = made(home, [1])
    note_version(home, current, "best")
    restore(project, "best", 1)
    snapshot = ProjectSnapshot(plain_project(tmp_path, settings()).project, {}, {}, {})
    assert ("selected_subset", "best") in forget_gone(home.store, snapshot, current)
    assert read_pinned_versions(home.store) == {}
