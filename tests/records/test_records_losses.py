"""Losses of a home: tables that nothing makes again are missed, and records that are lost are counted."""

import shutil
from datetime import datetime

import pytest
from projects import CORPUS, SmallProject, manifest_of, plain_project, record, settings

from tamis.audit.events import LoggedEvent
from tamis.audit.verdicts import audit_lines
from tamis.graph.repair import find_damage, lost_index
from tamis.records.losses import (
    ALLOWED,
    MISSING,
    AnswersLostError,
    found_again,
    go_on_without,
    lost_tables,
    note_records,
    note_tables,
    read_losses,
    require_answers,
)
from tamis.records.manifest import ManifestFolder
from tamis.records.published import read_pinned_versions, restore_pins, unpin
from tamis.retention.held_back import held_back
from tamis.store.tables import DamagedTableError
from tamis.verbs.status import read_status

EARLY, LATE = datetime(2024, 1, 1), datetime(2099, 1, 1)


@pytest.fixture
def graph(tmp_path) -> SmallProject:
    return plain_project(tmp_path, settings())


def approve(graph: SmallProject, when: datetime = EARLY) -> None:
    row = {"selection": "near", "input_key": "k", "approved": True, "made_at": when}
    graph.store.merge_values("approvals", [row])


def test_a_table_of_decisions_is_missed_until_it_is_back_or_let_go(graph):
    note_tables(graph.home)
    assert lost_tables(graph.home) == []
    approve(graph)
    note_tables(graph.home)
    folder = graph.home.root / "lance" / "approvals.lance"
    away = shutil.move(folder, graph.root / "away")
    assert lost_tables(graph.home) == ["approvals"], "already before it is noted"
    note_tables(graph.home)
    (found,) = held_back(graph.snapshot, graph.current)
    assert (found.kind, found.allow) == ("table", "table:approvals")
    assert "which selections were approved" in found.line
    assert [found.line] == read_status(graph.project).problems()
    approve(graph, LATE)
    assert lost_tables(graph.home) == ["approvals"], "a new one says nothing of what was in it"
    shutil.rmtree(folder)
    shutil.copytree(away, folder)
    note_tables(graph.home)
    assert lost_tables(graph.home) == []
    shutil.rmtree(folder)
    note_tables(graph.home)
    go_on_without(graph.home, ["approvals"])
    assert lost_tables(graph.home) == []
    assert held_back(graph.snapshot, graph.current) == []


@pytest.mark.parametrize("table", ["approvals", "withdrawals"])
def test_a_table_of_decisions_that_cannot_be_read_is_moved_aside_by_a_person_alone(graph, table):
    """A home of an earlier version has not noted that there was such a table."""
    rows = {"approvals": {"selection": "near"}, "withdrawals": {"doc_id": "d", "withdrawn_at": EARLY}}
    graph.store.merge_values(table, [rows[table]])
    for path in (graph.home.root / "lance" / f"{table}.lance" / "_versions").iterdir():
        path.write_bytes(b"")
    assert lost_tables(graph.home) == [table]
    with pytest.raises(DamagedTableError, match=f"--allow-removal table:{table}`"):
        graph.store.read(table)
    if table == "approvals":
        (found,) = held_back(graph.snapshot, graph.current)
        assert "table 'approvals' cannot be read" in found.line
    go_on_without(graph.home, [table])
    assert lost_tables(graph.home) == []
    assert not graph.store.exists(table)
    assert list((graph.home.root / "lance" / "damaged").iterdir())


def test_a_table_that_was_emptied_or_whose_answers_were_salvaged_is_not_missed(graph):
    approve(graph)
    note_tables(graph.home)
    graph.store.delete("approvals", "true")
    note_tables(graph.home, recount=True)
    assert read_losses(graph.home).tables == []
    answers = {"doc_id": "a", "fingerprint": "f", "by_server": True, "left_at": EARLY}
    graph.store.merge_values("retained_scores_judge", [answers])
    note_tables(graph.home)
    assert read_losses(graph.home).tables == ["retained_scores_judge"]
    graph.store.move_aside("retained_scores_judge")
    assert lost_tables(graph.home) == [], "what could be read of it was retained"


@pytest.mark.parametrize(("by_server", "noted"), [(True, ["scores_judge"]), (False, [])])
def test_answers_are_missed_where_a_server_gave_some(graph, by_server, noted):
    graph.store.merge_values("scores_judge", [{"doc_id": "a", "fingerprint": "f", "by_server": by_server}])
    note_tables(graph.home)
    assert read_losses(graph.home).tables == noted
    graph.store.move_aside("scores_judge")
    note_tables(graph.home)
    assert read_losses(graph.home).tables == []


def test_answers_that_are_gone_are_not_asked_for_again_until_a_person_allows_it(graph):
    graph.store.merge_values("scores_judge", [{"doc_id": "a", "fingerprint": "f", "by_server": True}])
    note_tables(graph.home)
    require_answers(graph.home, ["scores_judge"])
    graph.store.drop("scores_judge")
    require_answers(graph.home, ["documents"])
    with pytest.raises(AnswersLostError, match="--allow-removal table:scores_judge"):
        require_answers(graph.home, ["judge_sample", "scores_judge"])
    entry = {("judge_scores", ""): record(graph.home, "judge_scores", rows={"scores_judge": "d" * 64})}
    assert find_damage(graph.home, graph.current).keys() == entry.keys()
    assert find_damage(graph.home, graph.current, ["scores_judge"]) == {
        entry: reason for entry, reason in find_damage(graph.home, graph.current).items() if "file" in reason
    }
    go_on_without(graph.home, ["scores_judge"])
    require_answers(graph.home, ["scores_judge"])


def test_pins_are_written_again_as_the_records_of_decisions_say(graph):
    version = {"selection": "near", "version": 3, "decisions": "d", "subset": "s", "rows": "r"}
    graph.store.merge_values("selection_versions", [version | {"documents": 1, "made_at": EARLY}])
    graph.store.merge_values("pins", [version | {"made_at": EARLY}])
    note_tables(graph.home)
    record(graph.home, "decisions", "near", config={"pinned": "d"})
    record(graph.home, "decisions", "thin")
    graph.store.drop("pins")
    note_tables(graph.home)
    assert restore_pins(graph.home, graph.current) == ["near"]
    assert lost_tables(graph.home) == []
    assert (read_pinned_versions(graph.store)["near"].version, len(read_pinned_versions(graph.store))) == (
        3,
        1,
    )
    assert restore_pins(graph.home, graph.current) == []
    unpin(graph.store, "near")
    note_tables(graph.home, recount=True)
    graph.store.drop("pins")
    assert restore_pins(graph.home, graph.current) == [], "it was released"
    found_again(graph.home, "pins")
    assert read_losses(graph.home).lost == {}


def test_an_index_that_is_gone_is_no_new_project(graph):
    assert lost_index(graph.home) == ""
    graph.make(CORPUS)
    assert lost_index(graph.home) == ""
    shutil.rmtree(graph.home.root / "lance")
    assert "`tamis materialize`, which makes everything again" in lost_index(graph.home)
    assert read_status(graph.project).problems()[0] == lost_index(graph.home)
    graph.make(CORPUS)
    assert lost_index(graph.home) == ""


def event(manifest) -> LoggedEvent:
    return LoggedEvent(asset=manifest.asset, partition=manifest.partition, manifest=manifest.id, tags={})


def test_a_record_that_is_lost_is_red_with_a_cure_and_green_once_it_is_noted(graph):
    """The record of an earlier value, and that of an input which was made again under another id."""
    graph.make(CORPUS)
    folder, events = ManifestFolder.of(graph.home), graph.events()
    earlier = manifest_of("near_duplicates", data_version="earlier")
    raw = folder.read(graph.current["documents", "web__a.jsonl"].manifest).inputs[0]
    folder.path(raw.manifest).unlink()
    audit = graph.audit(events=[*events, event(earlier)])
    details = {node.name: node.details for node in audit.nodes.values() if node.status == "red"}
    assert "`tamis materialize` makes this value again" in " ".join(details["raw_shards[web__a.jsonl]"])
    assert "`tamis materialize --allow-removal records`" in " ".join(details["near_duplicates"])
    lost = {earlier.id: ("near_duplicates", ""), raw.manifest: ("raw_shards", "web__a.jsonl")}
    assert note_records(graph.home, lost, ALLOWED) == 2
    assert note_records(graph.home, lost, MISSING) == 0
    audit = graph.audit(events=[*events, event(earlier)])
    assert audit.lost == {"near_duplicates": 1, "raw_shards": 1}
    assert audit.to_json()["lost_records"] == audit.lost
    assert any("2 records of earlier results noted as lost" in line for line in audit_lines(audit))
    assert "red" not in {node.status for node in audit.nodes.values() if node.asset != "raw_shards"}


@pytest.mark.parametrize("harm", ["empty", "cut", "altered"])
def test_a_torn_file_is_written_again(tmp_path, harm):
    folder, manifest = ManifestFolder(tmp_path), manifest_of("documents", "a")
    folder.write(manifest)
    folder.write_rows("0" * 64, b"rows" * 12)
    for path in (folder.path(manifest.id), folder.rows_path("0" * 64)):
        content = path.read_bytes()
        path.write_bytes({"empty": b"", "cut": content[:9], "altered": content[::-1]}[harm])
    assert folder.keep(manifest) == (manifest.id, manifest)
    folder.write_rows("0" * 64, b"rows" * 12)
    assert folder.read(manifest.id) == manifest
    assert folder.rows_path("0" * 64).read_bytes() == b"rows" * 12
