"""Restoring: a pin replaces what a selection depends on, is let go of, and goes with the selection."""

from dataclasses import replace
from datetime import datetime

import pytest
from made_selections import made
from projects import plain_project, selection, settings

from tamis.base.errors import UnknownNameError
from tamis.lineage.pins import Pin, read_pins
from tamis.lineage.plan import full_plan, upstream
from tamis.lineage.reconcile import forget_gone
from tamis.lineage.restoring import release, restore
from tamis.lineage.versions import UnknownVersionError, note_version
from tamis.lineage.world import World


@pytest.fixture
def project(tmp_path):
    return plain_project(tmp_path, settings(selection("best"))).project


def test_a_selection_is_pinned_and_let_go_of(project):
    home = project.home
    first = note_version(home, made(home, [1, 2]), "best")
    note_version(home, made(home, [2, 3]), "best")
    pin, gone = restore(project, "best", 1)
    assert (pin.version, pin.decisions, pin.rows) == (1, first.decisions, first.rows)
    assert [int(doc_id, 16) for doc_id in gone] == [1, 2], "there are no documents in this store"
    assert read_pins(home.store) == {"best": pin}
    assert release(project, "best") == pin
    assert release(project, "best") is None


def test_what_is_not_there_is_refused(project):
    home = project.home
    note_version(home, made(home, [1]), "best")
    with pytest.raises(UnknownVersionError, match="there is 1 alone"):
        restore(project, "best", 2)
    with pytest.raises(UnknownNameError, match="valid: best"):
        restore(project, "worst", 1)
    assert read_pins(home.store) == {}


def pinned(imagined, name: str) -> None:
    pin = Pin(
        selection=name, version=1, decisions="d" * 64, subset="s", rows="r", made_at=datetime(2026, 1, 1)
    )
    world = imagined.world
    imagined.world = lambda: _with_pin(world(), pin)


def _with_pin(world, pin: Pin):
    return replace(world, pins={pin.selection: pin})


def test_a_pin_is_made_once_and_new_scores_do_not_call_for_it(imagined):
    imagined.materialize()
    before = imagined.versions()[("selected_subset", "thin")]
    pinned(imagined, "thin")
    assert ("selected_subset", "thin") in imagined.materialize()
    assert imagined.versions()[("selected_subset", "thin")] != before
    assert imagined.materialize() == []
    assert {asset for asset, _key in upstream(imagined.world(), ("selected_subset", "thin"))} == {
        "documents",
        "raw_shards",
    }


def test_documents_that_come_or_go_call_for_it_again(imagined):
    imagined.materialize()
    pinned(imagined, "thin")
    imagined.materialize()
    imagined.contents["web__c"] = "1"
    due = {(one.asset, one.partition) for one in full_plan(imagined.world(), imagined.heads)}
    assert ("selected_subset", "thin") in due


def test_a_pin_goes_with_its_selection(project, tmp_path):
    home = project.home
    heads = made(home, [1])
    note_version(home, heads, "best")
    restore(project, "best", 1)
    world = World(plain_project(tmp_path, settings()).project, {}, {}, {})
    assert ("selected_subset", "best") in forget_gone(home.store, world, heads)
    assert read_pins(home.store) == {}
