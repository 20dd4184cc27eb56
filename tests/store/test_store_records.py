"""Rows files of many groups at once are those of each by itself."""

import hashlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.corpus import document_id
from tamis.store.digests import row_digests, row_records
from tamis.store.rows_files import BY_DOC_IDS, TableRows, records_of_ids, stored_rows
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


@pytest.fixture
def scored(tmp_path):
    made = Store(tmp_path)
    made.put("classifier_scores", of_scores({"edu": IDS[:6], "toxic": IDS[:5]}))
    return made


def of_scores(ids: dict[str, list[str]]) -> dict[str, list[object]]:
    rows = [(score, doc_id) for score, own in ids.items() for doc_id in own]
    return {
        "score": [score for score, _ in rows],
        "doc_id": [doc_id for _, doc_id in rows],
        "value": [0.5] * len(rows),
        "not_numbers": [0] * len(rows),
        "fingerprint": ["f" * 32] * len(rows),
    }


def test_of_a_table_with_several_rows_a_document_all_are_listed(scored):
    groups = {"a": IDS[:2], "b": [IDS[5], IDS[9]]}
    records = records_of_ids(scored, "classifier_scores", groups)
    assert [len(content) // 48 for _digest, content in records.values()] == [4, 1]
    for name, ids in groups.items():
        assert records[name] == stored_rows(scored, "classifier_scores", BY_DOC_IDS, ids)


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        (lambda store: store.put("classifier_scores", of_scores({"edu": IDS[2:3]}) | {"value": [0.1]}), "a"),
        (lambda store: store.delete("classifier_scores", f"score = 'toxic' AND doc_id = '{IDS[0]}'"), "a"),
        (lambda store: store.put("classifier_scores", of_scores({"toxic": IDS[5:6]})), "b"),
        (lambda store: store.put("classifier_scores", of_scores({"toxic": IDS[9:10]})), ""),
    ],
    ids=["value", "row lost", "row more", "document more"],
)
def test_a_change_of_any_of_these_rows_is_seen_and_a_row_of_no_list_is_a_stray(scored, change, differs):
    stated = records_of_ids(scored, "classifier_scores", {"a": IDS[:5], "b": [IDS[5]]})
    change(scored)
    rows = TableRows(scored, "classifier_scores")
    found = {name: rows.of(BY_DOC_IDS, content) for name, (_digest, content) in stated.items()}
    assert "".join(name for name in stated if found[name] != stated[name]) == differs
    assert rows.strays() == ([] if differs else [IDS[9]])
    assert not rows.doubled(stated["a"][1])


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
