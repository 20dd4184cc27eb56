"""Versions of a selection: one for each choice, read back and verified, and pruned."""

from dataclasses import replace

import pytest
from made_selections import made

from tamis.base.errors import NotMadeError, UnknownNameError
from tamis.history.versions import (
    UnknownVersionError,
    VersionLostError,
    decisions_of,
    find_version,
    is_kept,
    note_version,
    prune_versions,
    read_versions,
)
from tamis.records.current_values import CurrentValues, read_current_values
from tamis.records.manifest import ManifestFolder
from tamis.records.published import DECISIONS, pin, read_pinned_versions, unpin
from tamis.store.home import Home


@pytest.fixture
def home(tmp_path) -> Home:
    return Home(tmp_path / "home")


def note(home: Home, current: CurrentValues, pinned_to: int | None = None):
    return note_version(home, current, "best", pinned_to)


def numbers(home: Home, version) -> list[int]:
    return sorted(int(doc_id, 16) for doc_id in decisions_of(home, version)["doc_id"])


def test_another_choice_is_a_new_version_and_the_same_choice_updates_the_last(home):
    assert note(home, read_current_values(home.store)) is None
    first = note(home, made(home, [1, 2], [3]))
    assert note(home, made(home, [1, 2], [3])) == first, "noted again by a resumed run"
    updated = note(home, made(home, [1, 2], [3, 4]))
    assert (updated.version, updated.pool) == (1, 4)
    second = note(home, made(home, [2, 1], [3, 4]))
    assert second.version == 2, "another order is another choice"
    assert [version.version for version in read_versions(home.store, "best")] == [1, 2]
    assert numbers(home, updated) == numbers(home, second) == [1, 2, 3, 4]
    back = note(home, made(home, [1, 2], [3, 4]), pinned_to=1)
    assert (back.version, back.pinned_to, back.rows) == (3, 1, updated.rows)
    again = note(home, made(home, [1, 2], [3, 4, 5]))
    assert (again.version, again.pinned_to) == (3, 1)


def test_a_version_that_a_killed_run_did_not_note_is_noted_by_the_next(home):
    note(home, made(home, [1]))
    current = made(home, [2])  # killed before it was noted
    note(home, current)
    note(home, made(home, [3]))
    assert [numbers(home, version) for version in read_versions(home.store, "best")] == [[1], [2], [3]]


def test_rows_of_a_later_choice_are_not_kept_for_an_earlier_version(home):
    current = made(home, [1])
    made(home, [2])  # the table has moved on
    lost = note(home, current)
    assert not is_kept(home, lost)
    with pytest.raises(VersionLostError, match=r"no longer kept.*`tamis restore best --latest` unpins it"):
        decisions_of(home, lost)


def test_rows_that_were_just_hashed_are_kept_without_hashing_them_again(home, monkeypatch):
    current = made(home, [1, 2])
    monkeypatch.setattr("tamis.records.published.rows_digest", None)
    noted = note_version(home, current, "best", just_hashed=True)
    monkeypatch.undo()
    assert numbers(home, noted) == [1, 2]


def test_rows_of_a_refused_choice_are_not_kept_for_the_version_that_passed(home):
    current = made(home, [1])
    refused = made(home, [2])[DECISIONS, "best"]  # its rows are in the table
    passed = current[DECISIONS, "best"]
    current[DECISIONS, "best"] = replace(refused, passed=False, last_passed=passed.manifest)
    lost = note_version(home, current, "best", just_hashed=True)
    assert lost.decisions == passed.manifest
    assert not is_kept(home, lost)


def test_altered_decisions_are_refused(home):
    first = note(home, made(home, [1, 2]))
    other = note(home, made(home, [1, 3]))
    folder = ManifestFolder(home.manifests)
    folder.kept_path(first.rows).write_bytes(folder.kept_path(other.rows).read_bytes())
    with pytest.raises(VersionLostError, match="altered"):
        decisions_of(home, first)
    folder.kept_path(first.rows).write_bytes(b"nothing")
    with pytest.raises(VersionLostError, match="cannot be read"):
        decisions_of(home, first)


def test_all_versions_but_the_last_and_the_pinned_ones_are_pruned(home):
    versions = [note(home, made(home, [number])) for number in range(5)]
    pin(home.store, "best", 1, versions[0].decisions, versions[0].subset, versions[0].rows)
    pinned = read_pinned_versions(home.store)
    assert prune_versions(home, 2, [found.rows for found in pinned.values()]) == 2
    kept = [True, False, False, True, True]
    assert [is_kept(home, version) for version in versions] == kept
    lists = [ManifestFolder.of(home).rows_path(version.rows).exists() for version in versions]
    assert lists == kept
    assert numbers(home, pinned["best"]) == [0]
    assert unpin(home.store, "best")
    assert not unpin(home.store, "best")
    assert prune_versions(home, 2, []) == 1


def test_an_unknown_version_is_refused_with_the_known_ones(home):
    for number in range(2):
        note(home, made(home, [number]))
    with pytest.raises(UnknownVersionError, match="only versions 1 to 2"):
        find_version(home.store, "best", 3)
    with pytest.raises(NotMadeError):
        find_version(home.store, "later", None, ["later"])
    with pytest.raises(UnknownNameError, match="best, later"):
        find_version(home.store, "none", None, ["later"])
