"""Rows files of many groups at once are those of each by itself."""

import hashlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.corpus import document_id
from tamis.store.digests import row_digests, row_records
from tamis.store.rows_files import BY_DOC_IDS, records_of_ids, stored_rows
from tamis.store.schemas import schema_of
from tamis.store.tables import Store

IDS = [document_id(str(number)) for number in range(60)]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    made = Store(tmp_path_factory.mktemp("store"))
    rows = [{"doc_id": i, "text": f"text of {i}", "n_chars": 3, "n_bytes": 3} for i in IDS[:50]]
    made.insert_new("documents", pa.Table.from_pylist(rows, schema=schema_of("documents")))
    made.delete("documents", f"doc_id = '{IDS[7]}'")
    return made


groups = st.dictionaries(st.sampled_from("abc"), st.lists(st.sampled_from(IDS), max_size=20), max_size=3)


@settings(deadline=None, max_examples=30)
@given(groups)
def test_groups_at_once_equal_each_by_itself(store, groups):
    expected = {name: stored_rows(store, "documents", BY_DOC_IDS, ids) for name, ids in groups.items()}
    assert records_of_ids(store, "documents", groups) == expected


def test_a_deleted_document_and_one_that_never_was_are_in_no_rows_file(store):
    assert records_of_ids(store, "documents", {"a": [IDS[7], IDS[55]]})["a"][1] == b""
    assert len(records_of_ids(store, "documents", {"a": IDS})["a"][1]) == 49 * 48


def test_a_digest_is_of_the_values_as_json_and_then_of_the_bytes_of_each_vector():
    halves_nd = np.arange(12, dtype=np.float16).reshape(4, 3)
    rows = pa.table(
        {
            "b": pa.FixedSizeListArray.from_arrays(pa.array(halves_nd.ravel()), 3),
            "name": ["one", None, "three", "four"],
            "a": pa.FixedSizeListArray.from_arrays(pa.array(range(8), pa.int64()), 2),
        }
    )
    rows = pa.concat_tables([rows.slice(1, 1), rows.slice(2)])  # in two chunks, each a part of another array
    names, numbers_nd = [b"null", b'"three"', b'"four"'], np.arange(8).reshape(4, 2)[1:]
    expected = [
        hashlib.sha256(b'{"name":' + name + b"}" + half.tobytes() + number.tobytes()).digest()
        for name, half, number in zip(names, halves_nd[1:], numbers_nd, strict=True)
    ]
    assert list(row_digests(rows, ["name", "a", "b"])) == expected


def test_rows_of_vectors_may_be_none_and_lists_of_texts_are_no_vectors():
    empty = pa.schema({"vector": pa.list_(pa.float32(), 3), "name": pa.string()}).empty_table()
    assert len(row_records(empty, ["name"])) == 0
    pairs = pa.FixedSizeListArray.from_arrays(pa.array(["a", "b", "a", "c"]), 2)
    first, second = row_digests(pa.table({"pair": pairs, "name": ["x", "x"]}), ["name", "pair"])
    assert first != second
    assert first == hashlib.sha256(b'{"name":"x","pair":["a","b"]}').digest()
