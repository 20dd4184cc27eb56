"""Compaction: fewer files, the same rows, and pinned readers are left alone."""

import os
import time
from datetime import timedelta

import pyarrow as pa
import pytest

from tamis.records.attempts import begin
from tamis.store import compaction
from tamis.store.compaction import compact, tables_to_tidy
from tamis.store.schemas import schema_of
from tamis.store.tables import DamagedTableError, Store


def row(number):
    return pa.Table.from_pylist(
        [{"doc_id": f"{number:032x}", "text": f"text {number}", "n_chars": 6}], schema=schema_of("documents")
    )


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path)
    for number in range(40):
        made.insert_new("documents", row(number))
    return made


def files(store):
    return store.open("documents").stats()["fragment_stats"]["num_fragments"]


def test_many_commits_become_one_file_with_the_same_rows(store):
    before = store.read("documents").sort("doc_id")
    assert files(store) == 40
    assert compact(store) == ["documents"]
    assert files(store) == 1
    assert store.read("documents").sort("doc_id").equals(before)


def test_a_compact_table_gets_no_new_version(store):
    compact(store)
    version = store.version("documents")
    assert compact(store) == []
    assert store.version("documents") == version


def test_a_reader_goes_on_with_the_version_it_pinned(store):
    reader = store.batches("documents", ["doc_id"], rows=1)
    first = next(reader)
    store.delete("documents", "doc_id >= ''")
    for number in range(100, 140):
        store.insert_new("documents", row(number))
    assert compact(store) == ["documents"]
    assert first.num_rows + sum(batch.num_rows for batch in reader) == 40


@pytest.mark.parametrize("tagged", [False, True])
def test_old_versions_go_unless_one_of_them_is_tagged(store, monkeypatch, tagged):
    monkeypatch.setattr(compaction, "KEPT", timedelta(0))
    monkeypatch.setattr(compaction, "_MARGIN", timedelta(0))
    monkeypatch.setattr(compaction, "MOST_VERSIONS", 8)
    if tagged:
        store.open("documents").tags.create("kept", 5)
    compact(store)
    assert (len(store.open("documents").list_versions()) > 4) == tagged
    assert store.count("documents") == 40


def test_versions_of_what_every_step_writes_go_after_a_minute_and_of_rows_after_a_day(store, monkeypatch):
    for partition in range(40):
        begin(store, [("documents", f"{partition}")])
    before = store.read("attempts").sort("partition")
    monkeypatch.setattr(compaction, "MOST_VERSIONS", 8)
    assert compact(store) == ["attempts", "documents"]
    assert len(store.open("attempts").list_versions()) > 40
    aged(store, "attempts", 59)
    compact(store, "attempts")
    assert len(store.open("attempts").list_versions()) > 40
    aged(store, "attempts", 61)
    aged(store, "documents", 3_600)
    monkeypatch.setattr(compaction, "_MARGIN", timedelta(seconds=-61))  # the commits are younger than that
    assert {"attempts", "heads"} < set(tables_to_tidy(store))
    for table in [*tables_to_tidy(store), "documents"]:
        compact(store, table)
    assert len(store.open("attempts").list_versions()) == 1
    assert store.read("attempts").sort("partition").equals(before)
    assert len(store.open("documents").list_versions()) > 40


def aged(store, table, seconds):
    """Date the files of all versions back."""
    for path in (store.folder / f"{table}.lance" / "_versions").iterdir():
        os.utime(path, (time.time() - seconds,) * 2)


def test_a_reader_of_what_was_the_latest_version_a_minute_ago_is_left_alone(store, monkeypatch):
    monkeypatch.setattr(compaction, "MOST_VERSIONS", 8)
    monkeypatch.setattr(compaction, "KEPT_EACH_STEP", timedelta(seconds=1))
    monkeypatch.setattr(compaction, "_MARGIN", timedelta(milliseconds=50))
    for partition in range(20):
        begin(store, [("documents", f"{partition}")])
    reader = store.open("attempts")  # a long step: nothing is written while it is read
    time.sleep(1.2)
    begin(store, [("documents", "later")])
    compact(store, "attempts")
    assert len(store.open("attempts").list_versions()) < 20
    assert reader.to_arrow().num_rows == 20


def test_a_table_without_old_versions_and_with_few_files_is_not_opened(store, monkeypatch):
    begin(store, [("documents", "a")])
    monkeypatch.setattr(Store, "open", lambda *_: pytest.fail("it was opened"))
    assert compact(store, "attempts") == []


def test_a_table_that_never_had_a_row_is_no_error(store):
    store.insert_new("quarantine", schema_of("quarantine").empty_table())
    assert not (store.folder / "quarantine.lance" / "data").exists()
    assert compact(store, "quarantine") == []


def test_a_table_that_is_not_there_is_no_error(tmp_path):
    assert compact(Store(tmp_path)) == []
    assert compact(Store(tmp_path), "documents") == []


@pytest.mark.parametrize(
    ("said", "left"), [("Retryable commit conflict for version 9", True), ("disk", False)]
)
def test_a_table_that_another_process_compacts_is_left_to_it(store, monkeypatch, said, left):
    table = store.open("documents")

    def refuse(**_):
        raise RuntimeError(f"lance error: {said}")

    monkeypatch.setattr(table, "optimize", refuse)
    monkeypatch.setattr(store, "open", lambda name: table)
    if left:
        assert compact(store) == []
    else:
        with pytest.raises(DamagedTableError):
            compact(store)


def test_a_large_table_is_indexed_once_and_reads_the_same_while_it_changes(store, monkeypatch):
    monkeypatch.setattr(compaction, "LEAST_INDEXED", 30)
    compact(store)
    assert [one.name for one in store.open("documents").list_indices()] == ["doc_id_index"]
    version = store.version("documents")
    compact(store)
    assert store.version("documents") == version
    store.delete("documents", f"doc_id = '{3:032x}'")
    store.append("documents", row(77))
    store.insert_new("documents", row(5))
    for number, expected in ((3, 0), (4, 1), (5, 1), (77, 1), (78, 0)):
        assert len(store.read("documents", ["text"], f"doc_id = '{number:032x}'")) == expected
    assert store.count("documents") == 40
    for number in range(100, 110):
        store.append("documents", row(number))
    compact(store)
    assert store.open("documents").index_stats("doc_id_index").num_unindexed_rows <= 5
    assert len(store.read("documents", ["text"], f"doc_id = '{105:032x}'")) == 1
