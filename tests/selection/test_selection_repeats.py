"""Repetitions of both kinds as a selection sees them: one kept document for each."""

import pyarrow as pa

from tamis.selection.pool import exclusions, repeats
from tamis.store.schemas import schema_of
from tamis.store.tables import Store


def put(store, table, rows):
    store.overwrite(table, pa.Table.from_pylist(rows, schema=schema_of(table)))


def test_words_that_repeat_one_whose_vector_repeats_another_name_the_last(tmp_path):
    store = Store(tmp_path)
    put(store, "near_duplicates", [{"doc_id": "d3", "kept": "d2"}, {"doc_id": "d5", "kept": "d4"}])
    put(store, "near_copies", [{"doc_id": "d2", "kept": "d1"}])
    assert dict(repeats(store).iter_rows()) == {"d2": "d1", "d3": "d1", "d5": "d4"}
    found = exclusions(store).sort("doc_id").select("doc_id", "reason", "duplicate_of").rows()
    assert found == [
        ("d2", "near_duplicate", "d1"),
        ("d3", "near_duplicate", "d1"),
        ("d5", "near_duplicate", "d4"),
    ]


def test_without_vectors_compared_only_words_count(tmp_path):
    store = Store(tmp_path)
    put(store, "near_duplicates", [{"doc_id": "d3", "kept": "d2"}])
    assert dict(repeats(store).iter_rows()) == {"d3": "d2"}
