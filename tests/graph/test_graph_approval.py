"""Approval: inputs of a selection are made, the selection waits, and a person approves one state of it."""

import pytest

from tamis.base.errors import UnknownNameError
from tamis.graph.automation import (
    NotReadyError,
    approve,
    note_waiting,
    read_approvals,
    unattended_work,
    waiting,
)
from tamis.settings.config import Settings
from tamis.store.tables import Store


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "lance")


@pytest.fixture
def held(imagined):
    """A project whose selections were made by hand and have to be approved from now on."""
    settings: Settings = imagined.project.settings
    section = settings.automation.model_copy(update={"approve_selections": True})
    object.__setattr__(imagined.project, "settings", settings.model_copy(update={"automation": section}))
    imagined.materialize()
    return imagined


def unattended(project, store) -> list[str]:
    """Let the sensors do all they may, and return the assets made."""
    made = []
    for _ in range(40):
        work = unattended_work(project.snapshot(), project.current, read_approvals(store))
        found = project.materialize(work, refit=False)
        if not found:
            return made
        made += [asset for asset, _key in found]
    pytest.fail("never comes to rest")


def names(found) -> list[str]:
    return [one.selection for one in found]


def waits(project, store) -> list[str]:
    return names(waiting(project.snapshot(), project.current, read_approvals(store)))


def test_everything_before_a_selection_is_made_and_the_selection_waits(held, store):
    assert waits(held, store) == []
    held.contents["web__c"] = "1"
    assert waits(held, store) == []  # its inputs come first
    made = unattended(held, store)
    assert "transport_scores" in made
    assert "selected_subset" not in made
    assert waits(held, store) == ["near", "thin"]


def test_an_approved_selection_is_made_and_no_other(held, store):
    held.contents["web__c"] = "1"
    unattended(held, store)
    assert names(approve(store, held.snapshot(), held.current, ["near"])) == ["near"]
    assert waits(held, store) == ["thin"]
    assert unattended(held, store) == ["selected_subset"]
    assert names(approve(store, held.snapshot(), held.current, [])) == ["thin"]
    assert unattended(held, store) == ["selected_subset"]
    assert waits(held, store) == []


def test_an_approved_state_that_changes_again_waits_again(held, store):
    held.contents["web__c"] = "1"
    unattended(held, store)
    approve(store, held.snapshot(), held.current, ["near"])
    held.contents["web__d"] = "1"
    assert "selected_subset" not in unattended(held, store)
    assert "near" in waits(held, store)
    del held.contents["web__d"]
    for entry in [entry for entry in held.current if entry[1] == "web__d"]:
        del held.current[entry]
    assert "selected_subset" in unattended(held, store), "the state that was approved is there again"


def test_a_selection_made_by_hand_waits_no_more(held, store):
    held.contents["web__c"] = "1"
    unattended(held, store)
    held.materialize()
    assert waits(held, store) == []
    assert approve(store, held.snapshot(), held.current, []) == []


def test_the_time_since_when_it_waits_stays_until_the_state_changes(held, store):
    held.contents["web__c"] = "1"
    unattended(held, store)
    first = waiting(held.snapshot(), held.current, {})
    assert note_waiting(store, first)
    again = waiting(held.snapshot(), held.current, read_approvals(store))
    assert [one.made_at for one in again] == [one.made_at for one in first]
    version = store.version("approvals")
    assert not note_waiting(store, again)
    assert store.version("approvals") == version


def test_an_unknown_name_and_a_state_that_is_not_known_yet_are_refused(held, store):
    with pytest.raises(UnknownNameError, match="near, thin"):
        approve(store, held.snapshot(), held.current, ["far"])
    assert approve(store, held.snapshot(), held.current, ["near"]) == []
    held.contents["web__c"] = "1"
    with pytest.raises(NotReadyError, match="documents"):
        approve(store, held.snapshot(), held.current, ["near"])


def test_without_approve_selections_nothing_waits(imagined, store):
    imagined.materialize()
    imagined.contents["web__c"] = "1"
    assert "selected_subset" in unattended(imagined, store)
    assert waits(imagined, store) == []
