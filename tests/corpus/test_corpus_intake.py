"""Intake of many shards in few commits: the same rows and digests as one by one, nothing nameless left."""

import polars as pl
import pytest

from tamis.corpus import document_id, intake
from tamis.corpus.documents import DOCUMENT_SCHEMA, WHOLE, ShardBatch
from tamis.corpus.intake import (
    delete_orphans,
    find_orphans,
    groups_of_shards,
    remove_shards,
    store_shards,
)
from tamis.readers.rows import Defect, Reason, quarantine_frame
from tamis.store.rows_files import BY_DOC_IDS, stored_rows
from tamis.store.tables import Store

TABLES = {"documents": ["doc_id", "text"], "occurrences": None, "quarantine": None, "kept_rows": None}


def batch(texts, bad=(), first=0):
    rows = [
        (
            document_id(t),
            t,
            len(t),
            len(t.encode()),
            None,
            first + row,
            "source",
            None,
            "{}",
            f'{{"n":{row}}}',
            None,
            None,
            *WHOLE,
        )
        for row, t in enumerate(texts)
    ]
    defects = [Defect(row=row, reason=Reason.EMPTY_TEXT, detail="empty") for row in bad]
    frame = pl.DataFrame(rows, schema=DOCUMENT_SCHEMA, orient="row")
    return ShardBatch(documents=frame, quarantine=quarantine_frame(defects))


def shards(seed=0):
    """Shards that share texts, repeat them, hold bad rows, or nothing."""
    return {
        "a": [batch(["one", "two", "one"])],
        "b": [batch(["two", "three"], bad=[5]), batch([f"text {seed}"], first=2)],
        "c": [batch([])],
        "d": [batch([f"only {number}" for number in range(30)])],
    }


def content(store):
    return {table: sorted(store.read(table, columns).rows()) for table, columns in TABLES.items()}


def store_shard(store, shard, batches):
    ((came,),) = store_shards(store, [(shard, batches)])
    return came


def one_by_one(folder, given):
    store = Store(folder)
    for shard, batches in given.items():
        store_shard(store, shard, batches)
    return store


def test_many_at_once_store_what_one_by_one_does(tmp_path):
    store = Store(tmp_path / "many")
    (found,) = store_shards(store, shards().items())
    assert content(store) == content(one_by_one(tmp_path / "one", shards()))
    assert [(i.shard, i.new_documents, i.occurrences) for i in found] == [
        ("a", 2, 3),
        ("b", 2, 3),
        ("c", 0, 0),
        ("d", 30, 30),
    ]
    assert store.open("documents").stats()["fragment_stats"]["num_fragments"] == 1


@pytest.mark.parametrize("rows", [1, 4, 10_000])
def test_the_digests_at_hand_are_those_of_what_is_stored(tmp_path, monkeypatch, rows):
    monkeypatch.setattr(intake, "GROUP_ROWS", rows)
    store = one_by_one(tmp_path, {"z": [batch(["two", "text 0"])]})
    for group in store_shards(store, shards().items()):
        for came in group:
            scope = f"shard = '{came.shard}'"
            assert came.records["occurrences"] == stored_rows(store, "occurrences", scope)
            assert came.records["quarantine"] == stored_rows(store, "quarantine", scope)
            assert came.records["kept_rows"] == stored_rows(store, "kept_rows", scope)
            assert came.records["documents"] == stored_rows(store, "documents", BY_DOC_IDS, came.doc_ids)


def test_a_changed_shard_replaces_its_rows_and_leaves_no_text_that_nothing_holds(tmp_path):
    store = Store(tmp_path)
    list(store_shards(store, shards().items()))
    changed = {"a": [batch(["two"])], "b": [batch(["four"])], "d": [batch([])]}
    list(store_shards(store, changed.items()))
    delete_orphans(store, find_orphans(store), retained_days=30)
    assert sorted(store.read("documents", ["text"])["text"]) == ["four", "two"]
    assert content(store) == content(one_by_one(tmp_path / "one", changed | {"c": [batch([])]}))


def broken():
    yield batch(["never stored whole"])
    raise OSError("the disk went away")


def test_what_was_read_before_a_shard_that_fails_is_stored_and_handed_on(tmp_path):
    store, seen = Store(tmp_path), []
    coming = [("a", [batch(["one"])]), ("b", broken()), ("c", [batch(["three"])])]
    groups = store_shards(store, coming)
    seen += [came.shard for came in next(groups)]
    with pytest.raises(OSError, match="went away"):
        next(groups)
    assert seen == ["a"]
    assert store.read("occurrences", ["shard"])["shard"].to_list() == ["a"]
    store_shard(store, "b", [batch(["other"])])
    delete_orphans(store, find_orphans(store), retained_days=30)
    assert sorted(store.read("documents", ["text"])["text"]) == ["one", "other"]


def test_a_shard_that_is_to_be_left_keeps_what_it_had_and_holds_no_other_back(tmp_path):
    store = one_by_one(tmp_path, {"b": [batch(["as it was"])]})
    coming = [("a", [batch(["one"])]), ("b", broken()), ("c", [batch(["three"])])]
    (found,) = store_shards(store, coming, leave=(OSError,))
    assert [(came.shard, came.error is None) for came in found] == [("a", True), ("c", True), ("b", False)]
    assert sorted(store.read("occurrences", ["shard"])["shard"]) == ["a", "b", "c"]
    assert find_orphans(store) == {"documents": [document_id("never stored whole")]}


def test_large_texts_are_stored_before_the_group_is_full(tmp_path, monkeypatch):
    monkeypatch.setattr(intake, "GROUP_BYTES", 10)
    store = Store(tmp_path)
    (found,) = store_shards(store, shards().items())
    assert store.version("documents") > 2
    for came in found:
        assert came.records["documents"] == stored_rows(store, "documents", BY_DOC_IDS, came.doc_ids)


def test_groups_hold_every_shard_once_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(intake, "GROUP_ROWS", 6)
    store = Store(tmp_path)
    list(store_shards(store, shards().items()))
    groups = list(groups_of_shards(store, ["a", "b", "c", "d"]))
    assert [list(group) for group in groups] == [["a", "b", "c"], ["d"]]
    assert groups[0]["a"] == sorted([document_id("one"), document_id("two")])
    remove_shards(store, ["a"])
    assert list(groups_of_shards(store, ["a"])) == [{"a": []}]
