"""Rows files of many groups at once are those of each by itself."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.corpus import document_id
from tamis.store.records import BY_DOC_IDS, records_of_ids, stored_rows
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
