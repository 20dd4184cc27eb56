"""Made twice, or of the same documents in another arrangement: the same."""

import os

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from projects import BAD_ROWS, CHOSEN, COOKING, NEAR, OF_PLACES, REPEATED, SAILING, lines, write

from tamis.corpus import intake
from tamis.embedding import storing


def comparable(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows without what names the files of the pool: the input keys of floating-point results."""
    return rows.drop("fingerprint", strict=False)


def test_a_second_time_nothing_is_made(graph):
    graph.make()  # logs again what the copy of the event log lacks
    before = graph.state()
    outcome = graph.make()
    assert (outcome.made, outcome.removed) == ({}, [])
    after = graph.state()
    for what in before:
        assert after[what] == before[what], what
    graph.assert_sound()


def test_files_that_were_touched_and_written_again_make_nothing(graph):
    graph.make()
    before = graph.state()
    for path in graph.landing.iterdir():
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
        os.utime(path, (1, 1))
    outcome = graph.make()
    assert outcome.made == {}
    after = graph.state()
    for state in (before, after):
        state["files"] = [entry for entry in state["files"] if entry[0] != "cache/fingerprints.json"]
    for what in before:
        assert after[what] == before[what], what


def test_what_is_made_again_of_equal_content_calls_for_nothing_after_it(graph):
    """A document's file in other words but with the same texts: its rows are equal, so nothing follows."""
    path = graph.landing / "cooking.jsonl"
    path.write_text(path.read_text().replace('{"text": ', '{"text":'))
    before = graph.versions()
    outcome = graph.make()
    assert list(outcome.made) == ["raw_shards, documents, embeddings"], "one run, of the file alone"
    raw = ("raw_shards", "web__cooking.jsonl")
    assert {entry for entry, version in graph.versions().items() if version != before[entry]} == {raw}
    assert graph.audit().status == "green", "the bytes of now give what later stages were made from"
    assert graph.audit("near").status == "green"
    path.write_bytes(path.read_bytes() + b"\n")
    for name in (None, "near"):
        assert {node.name for node in graph.audit(name).lowest_broken()} == {"raw_shards[web__cooking.jsonl]"}


def test_the_same_documents_in_other_files_in_any_order_and_any_chunks(graph, new_graph, monkeypatch):
    assert_same_in_other_files(graph, new_graph, monkeypatch, at_once=3)


@pytest.mark.slow
def test_the_same_documents_in_other_files_at_once(graph, new_graph, monkeypatch):
    assert_same_in_other_files(graph, new_graph, monkeypatch, at_once=50_000)


def assert_same_in_other_files(graph, new_graph, monkeypatch, at_once: int) -> None:
    """Check a project of these documents, arranged otherwise and read so many at a time."""
    monkeypatch.setattr(intake, "GROUP_ROWS", at_once)
    monkeypatch.setattr(storing, "BATCH", at_once)
    other = new_graph("other")
    everything = [*COOKING, *SAILING, *NEAR, REPEATED]
    write(other.landing / "cooking.jsonl", [*BAD_ROWS, *lines(everything[20:])])
    write(other.landing / "sailing.jsonl", lines(reversed(everything[:20])))
    other.make()
    other.assert_sound()
    expected, found = graph.tables(), other.tables()
    for table in sorted(expected.keys() - OF_PLACES):
        same = comparable(found[table]), comparable(expected[table])
        assert_frame_equal(*same, rel_tol=1e-5, abs_tol=1e-6)
    assert sorted(found["quarantine"]["reason"]) == sorted(expected["quarantine"]["reason"])


def test_every_document_is_decided_once_with_the_reason_that_applies(graph):
    decided = graph.rows("decisions")
    pool = graph.rows("documents")["doc_id"].sort().to_list()
    repeats = dict(graph.store.read("near_duplicates", ["doc_id", "kept"]).iter_rows())
    assert len(repeats) == 2
    for selection in ("near", "thin"):
        rows = {row["doc_id"]: row for row in decided.filter(selection=selection).iter_rows(named=True)}
        assert sorted(rows) == pool
        chosen = [row for row in rows.values() if row["reason"] == "within_budget"]
        assert sorted(row["rank"] for row in chosen) == [1, 2, 3, 4, 5]
        for doc_id, row in rows.items():
            assert (row["verdict"] == "selected") == (row["reason"] == "within_budget")
            assert (row["reason"] == "near_duplicate") == (doc_id in repeats)
            assert row["duplicate_of"] == repeats.get(doc_id)
            assert row["reason"] != "no_score"
        subset = graph.store.read("selected_subset", ["doc_id", "rank"], f"selection = '{selection}'")
        assert dict(subset.iter_rows()) == {row["doc_id"]: row["rank"] for row in chosen}


def test_every_stage_of_a_selection_was_made(graph):
    assert {asset for asset, _partition in graph.current} == CHOSEN | {"decisions"}
