"""Repair: an unreadable value is forgotten, so that it is made again; a person's decisions are left alone."""

import os
import shutil
import time
from types import SimpleNamespace

import pyarrow as pa
import pytest
from projects import CORPUS, head_of, manifest_of, plain_project, rows_of, settings

from tamis.graph.repair import (
    UNLOCKED_SECONDS,
    find_damage,
    forget_damaged,
    lost_tables,
    sweep_unwritten,
)
from tamis.records.current_values import CurrentValue, CurrentValues, write_current_values
from tamis.records.manifest import ManifestError, ManifestFolder, NamedLists
from tamis.records.published import pin, read_pinned_versions
from tamis.store.digests import NO_ROWS
from tamis.store.home import Home
from tamis.store.retained import take_back
from tamis.store.schemas import schema_of
from tamis.store.tables import DamagedTableError
from tamis.verbs import health


def torn(home: Home, table: str) -> None:
    """Cut off the latest version of a table, so that it cannot even be opened."""
    folder = home.root / "lance" / f"{table}.lance" / "_versions"
    for file in folder.iterdir():
        file.write_bytes(file.read_bytes()[:20])


def taken_in(home: Home, shard: str, quarantine: str) -> CurrentValue:
    """Return the current value of a shard's documents, with this digest of its rows in quarantine."""
    manifest = manifest_of("documents", shard, row_count=0, rows={"quarantine": quarantine})
    folder = ManifestFolder(home.manifests)
    folder.write_rows(quarantine, b"a list of rows")
    folder.write(manifest)
    return head_of(manifest)


def cut(home: Home, table: str) -> None:
    for file in (home.root / "lance" / f"{table}.lance" / "data").iterdir():
        file.write_bytes(file.read_bytes()[:100])


@pytest.mark.parametrize(
    ("folder", "hours", "gone"),
    [
        ("manifests", 0, True),
        ("fitted", 0, True),
        ("exports", 0, False),
        ("exports", 2, True),
        ("cache", 2, True),
    ],
)
def test_a_draft_of_a_killed_process_is_removed_and_one_that_may_be_in_use_stays(
    tmp_path, folder, hours, gone
):
    home = Home(tmp_path)
    draft, file = (home.root / folder / "within" / name for name in (".3f.tmp", "a.tmp"))
    draft.parent.mkdir(parents=True)
    for path in (draft, file):
        path.touch()
        os.utime(path, (time.time() - 3_600 * hours,) * 2)
    sweep_unwritten(home)
    assert file.exists()
    assert draft.exists() is not gone


def test_a_draft_of_a_table_is_removed_and_its_files_stay(tmp_path):
    home = Home(tmp_path)
    row = {"shard": "bad", "row": 1, "reason": "giant_row", "detail": "", "excerpt": ""}
    home.store.append("quarantine", pa.Table.from_pylist([row], schema=schema_of("quarantine")))
    draft = home.root / "lance" / "quarantine.lance" / "data" / ".tmpAb12Cd"
    draft.touch()
    assert sweep_unwritten(home) == []
    assert not draft.exists()
    assert home.store.count("quarantine") == 1


def without_versions(home: Home, table: str, row: dict[str, object]) -> dict[str, bytes]:
    """Lose the versions of a table of one row, and return what its files of data hold."""
    home.store.append(table, rows_of(table, [row]))
    folder = home.root / "lance" / f"{table}.lance"
    shutil.rmtree(folder / "_versions")
    return {path.name: path.read_bytes() for path in (folder / "data").iterdir()}


@pytest.fixture
def hours_later(monkeypatch) -> None:
    """Let more time pass than a backup may take to be copied back from one file to the next."""
    now = time.time() + 2 * UNLOCKED_SECONDS
    monkeypatch.setattr(time, "time", lambda: now)


TEXT = {"doc_id": "a" * 32, "text": "a text"}
PIN = {"selection": "best", "version": 1, "decisions": "d", "subset": "s", "rows": "r"}
ANSWER = {"doc_id": "a" * 32, "margin": 1.0, "by_server": True, "fingerprint": "judge"}
RETAINED = ("retained_scores_judge", ANSWER)


@pytest.mark.parametrize(
    ("table", "row"), [("documents", TEXT), ("pins", PIN), ("scores_judge", ANSWER), RETAINED]
)
def test_data_without_a_version_that_came_within_the_hour_stays(tmp_path, table, row):
    """A backup that is being copied back looks so, whatever the dates that its files keep."""
    home = Home(tmp_path)
    content = without_versions(home, table, row)
    data = tmp_path / "lance" / f"{table}.lance" / "data"
    for path in data.iterdir():
        os.utime(path, (0, 0))
    assert sweep_unwritten(home) == []
    assert {path.name: path.read_bytes() for path in data.iterdir()} == content


def test_data_without_a_version_goes_after_an_hour(tmp_path, hours_later):
    home = Home(tmp_path)
    assert without_versions(home, "documents", TEXT)
    assert sweep_unwritten(home) == []
    assert list((tmp_path / "lance" / "documents.lance" / "data").iterdir()) == []


@pytest.mark.parametrize(("table", "row"), [("pins", PIN), ("scores_judge", ANSWER), RETAINED])
def test_data_that_nothing_can_make_again_is_moved_aside_and_named(tmp_path, hours_later, table, row):
    home = Home(tmp_path)
    content = without_versions(home, table, row)
    (said,) = sweep_unwritten(home)
    (aside,) = (tmp_path / "lance" / "damaged").iterdir()
    assert f"lance/damaged/{aside.name}" in said
    assert {path.name: path.read_bytes() for path in (aside / "data").iterdir()} == content
    assert sweep_unwritten(home) == []


def test_a_table_that_was_moved_aside_without_its_versions_can_be_put_back(tmp_path, hours_later):
    home, folder = Home(tmp_path), tmp_path / "lance" / "scores_judge.lance"
    home.store.append("scores_judge", rows_of("scores_judge", [ANSWER]))
    shutil.copytree(folder / "_versions", tmp_path / "backup")
    shutil.rmtree(folder / "_versions")
    sweep_unwritten(home)
    (aside,) = (tmp_path / "lance" / "damaged").iterdir()
    aside.rename(folder)
    shutil.copytree(tmp_path / "backup", folder / "_versions")
    assert home.store.read("scores_judge")["margin"].to_list() == [1.0]


def test_a_lost_table_is_damage_to_every_shard_that_had_rows_there(tmp_path):
    home = Home(tmp_path)
    row = {"shard": "bad", "row": 1, "reason": "giant_row", "detail": "", "excerpt": ""}
    home.store.append("quarantine", pa.Table.from_pylist([row], schema=schema_of("quarantine")))
    # The first shard, which has no bad row, must not speak for the others.
    current: CurrentValues = {
        ("documents", "good"): taken_in(home, "good", NO_ROWS),
        ("documents", "bad"): taken_in(home, "bad", "f" * 64),
    }
    assert find_damage(home, current) == {}
    cut(home, "quarantine")
    found = find_damage(home, current)
    assert found[("documents", "bad")] == "table quarantine is damaged"
    assert "table quarantine cannot be read and will be rebuilt" in forget_damaged(home, found)
    assert find_damage(home, current) == {("documents", "bad"): "table quarantine is missing"}


def test_health_names_a_lost_table(tmp_path):
    home = Home(tmp_path)
    taken_in(home, "good", NO_ROWS)
    current: CurrentValues = {("documents", "bad"): taken_in(home, "bad", "f" * 64)}
    assert lost_tables(home, current) == ["quarantine"]
    write_current_values(home.store, current.values())
    with pytest.raises(OSError, match="missing: quarantine; `tamis materialize` rebuilds"):
        health.tables(SimpleNamespace(home=home))
    row = {"shard": "bad", "row": 1, "reason": "giant_row", "detail": "", "excerpt": ""}
    home.store.append("quarantine", pa.Table.from_pylist([row], schema=schema_of("quarantine")))
    assert lost_tables(home, current) == []


def test_a_lost_list_of_rows_is_damage(tmp_path):
    home = Home(tmp_path)
    current: CurrentValues = {("documents", "a"): taken_in(home, "a", "e" * 64)}
    home.store.append("quarantine", schema_of("quarantine").empty_table())
    assert find_damage(home, current) == {}
    lost = ManifestFolder(home.manifests).rows_path("e" * 64)
    lost.unlink()
    assert find_damage(home, current) == {("documents", "a"): f"file {home.relative(lost)} is missing"}


@pytest.mark.parametrize("looked_before", [False, True])
def test_a_lost_list_of_rows_of_one_shard_among_many_is_damage(tmp_path, looked_before):
    home, shards = Home(tmp_path), {"a": "a" * 64, "b": "b" * 64, "c": "c" * 64}
    current: CurrentValues = {
        ("documents", key): taken_in(home, key, digest) for key, digest in shards.items()
    }
    home.store.append("quarantine", schema_of("quarantine").empty_table())
    if looked_before:
        assert find_damage(home, current) == {}
    lost = ManifestFolder(home.manifests).rows_path(shards["b"])
    lost.unlink()
    expected = {("documents", "b"): f"file {home.relative(lost)} is missing"}
    assert find_damage(home, current) == find_damage(home, current) == expected
    lost.write_bytes(b"a list of rows")
    assert find_damage(home, current) == {}


def test_a_manifest_that_cannot_be_read_among_many_is_damage(tmp_path):
    home = Home(tmp_path)
    current: CurrentValues = {("documents", key): taken_in(home, key, NO_ROWS) for key in ("a", "b")}
    ManifestFolder(home.manifests).path(current["documents", "b"].manifest).write_text("{")
    assert "cannot be read" in find_damage(home, current)["documents", "b"]


def test_the_cache_of_rows_files_keeps_the_manifests_of_the_last_check(tmp_path):
    home, folder = Home(tmp_path), ManifestFolder(tmp_path / "manifests")
    first, second = (taken_in(home, key, 64 * key).manifest for key in ("a", "b"))
    cache = NamedLists(home, folder)
    assert (cache.of(first), cache.of(second)) == (["a" * 64], ["b" * 64])
    cache.save()
    folder.path(first).unlink()
    again = NamedLists(home, folder)
    assert again.of(first) == ["a" * 64], "it is not read again"
    again.save()
    assert again.of(first) == NamedLists(home, folder).of(first)
    folder.path(second).unlink()
    with pytest.raises(ManifestError):
        NamedLists(home, folder).of(second)


def test_a_table_of_a_persons_decisions_is_not_dropped(tmp_path):
    home = Home(tmp_path)
    pin(home.store, "best", 1, "d" * 64, "s" * 64, "r" * 64)
    cut(home, "pins")
    assert forget_damaged(home, {("documents", "a"): "the manifest is missing"}) == [
        "documents: the manifest is missing; values to be rebuilt: 1"
    ]
    with pytest.raises(DamagedTableError, match="the table cannot be rebuilt, so restore lance"):
        read_pinned_versions(home.store)


@pytest.mark.parametrize("table", ["heads", "attempts"])
@pytest.mark.parametrize("damage", [cut, torn])
def test_an_index_of_current_values_that_cannot_be_read_is_made_again(tmp_path, table, damage):
    graph = plain_project(tmp_path, settings())
    graph.make(CORPUS)
    versions = graph.versions()
    damage(graph.home, table)
    graph.make(CORPUS)
    assert any("the index of current values cannot be read" in line for line in graph.said)
    assert graph.versions() == versions


def answer(number: int) -> dict[str, object]:
    return {"doc_id": f"{number:032x}", "margin": 1.0, "by_server": True, "fingerprint": "judge"}


def test_answers_that_were_paid_for_are_kept_where_a_file_of_them_is_damaged(tmp_path):
    home, table = Home(tmp_path), "scores_judge"
    data = tmp_path / "lance" / f"{table}.lance" / "data"
    for numbers in (range(20), range(20, 23), range(23, 40)):
        before = set(data.iterdir()) if data.is_dir() else set()
        home.store.append(table, rows_of(table, map(answer, numbers)))
        if len(numbers) == 3:
            (bad,) = set(data.iterdir()) - before
    bad.write_bytes(bad.read_bytes()[:100])
    content = {path.name: path.read_bytes() for path in data.iterdir()}
    (said,) = forget_damaged(home, {})
    assert "37 of its answers were saved" in said
    (aside,) = (tmp_path / "lance" / "damaged").iterdir()
    assert f"lance/damaged/{aside.name}" in said
    assert {path.name: path.read_bytes() for path in (aside / "data").iterdir()} == content
    assert table not in home.store.names()
    ids = [f"{number:032x}" for number in range(40)]
    assert take_back(home.store, table, ids, "judge") == 37
    assert home.store.count(table, "by_server") == 37


def test_of_paid_answers_that_cannot_be_opened_the_files_are_kept(tmp_path):
    home, table = Home(tmp_path), "scores_judge_again"
    home.store.append(table, rows_of(table, [answer(1)]))
    torn(home, table)
    (said,) = forget_damaged(home, {})
    assert "0 of its answers were saved" in said
    assert [path.name.startswith(table) for path in (tmp_path / "lance" / "damaged").iterdir()] == [True]
    assert home.store.names() == []
