import hashlib
import pickle

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.store.digests import broken_seals, row_records, rows_digest
from tamis.store.rows_files import BY_DOC_IDS, stored_rows
from tamis.store.schemas import LATER_COLUMNS, declaration, schema_of, tables
from tamis.store.tables import (
    Store,
    UnknownTableError,
    detached,
    matrix_of,
    one_of,
    quoted,
    vector_column,
)
from tamis.store.vectors import VectorBlocks


def doc(number):
    return f"{number:032x}"


def sample_rows(numbers, part="train"):
    return pa.table([[doc(n) for n in numbers], [part] * len(numbers)], schema=schema_of("judge_sample"))


def vectors(numbers, value=1.0):
    matrix = np.full((len(numbers), 4), value)
    columns = [[doc(n) for n in numbers], vector_column(matrix), ["encoder"] * len(numbers)]
    return pa.table(columns, schema=schema_of("embeddings_static", 4))


class Stream:
    """A table as another library hands it over: all columns of a block are let go of together."""

    def __init__(self, rows):
        self.rows = rows

    def __arrow_c_stream__(self, requested_schema=None):
        return self.rows.__arrow_c_stream__(requested_schema)


def test_a_detached_column_lets_go_of_the_texts_of_its_block():
    before = pa.total_allocated_bytes()
    rows = pa.table(Stream(pa.table({"doc_id": [doc(n) for n in range(100)], "text": ["x" * 10_000] * 100})))
    column = pl.DataFrame(pl.from_arrow(rows))["doc_id"]
    del rows
    assert pa.total_allocated_bytes() - before > 900_000, "held by the column"
    column = detached(column)
    assert pa.total_allocated_bytes() - before < 100_000
    assert column.to_list() == [doc(n) for n in range(100)]
    assert (column.name, column.dtype) == ("doc_id", pl.String)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "lance")


def test_insert_new_keeps_the_first_row_written(store):
    assert store.insert_new("embeddings_static", vectors([1, 2, 2], 1.0)) == 2
    assert store.insert_new("embeddings_static", vectors([2, 3], 5.0)) == 1
    rows = store.read_arrow("embeddings_static").sort_by("doc_id")
    assert matrix_of(rows["vector"])[:, 0].tolist() == [1.0, 1.0, 5.0]


def test_replace_touches_its_scope_alone(store):
    store.merge("judge_sample", sample_rows([1, 2], "train"))
    store.merge("judge_sample", sample_rows([3], "hold_out"))
    store.replace("judge_sample", sample_rows([2], "train"), "part = 'train'")
    assert sorted(store.read("judge_sample")["doc_id"]) == [doc(2), doc(3)]
    store.replace("judge_sample", sample_rows([]), "part = 'train'")
    assert store.read("judge_sample")["doc_id"].to_list() == [doc(3)]


def test_nothing_to_delete_makes_no_version(store):
    store.merge("judge_sample", sample_rows([1]))
    version = store.version("judge_sample")
    assert store.delete("judge_sample", f"doc_id = {quoted(doc(9))}") == 0
    assert store.version("judge_sample") == version


def test_a_reader_keeps_the_version_it_pinned(store):
    store.insert_new("embeddings_static", vectors([1, 2]))
    blocks = VectorBlocks(store, "embeddings_static")
    store.insert_new("embeddings_static", vectors([3]))
    assert sum(len(block) for block in blocks) == 2
    assert sum(len(block) for block in blocks) == 2


@pytest.mark.parametrize("most_sorted", [0, 1_000])
@pytest.mark.parametrize("rows", [3, 1_000])
def test_blocks_leave_out_documents_also_in_another_process(store, monkeypatch, most_sorted, rows):
    monkeypatch.setattr("tamis.store.vectors.MOST_SORTED", most_sorted)
    store.insert_new("embeddings_static", vectors(range(8)))
    left_out = pl.Series([doc(n) for n in (0, 3, 4, 5, 99)])
    blocks = VectorBlocks(store, "embeddings_static", rows, left_out=left_out)
    copied = pickle.loads(pickle.dumps(blocks))
    assert sum(map(len, blocks)) == blocks.count() == copied.count() == 4
    parts = (copied.within(span).with_ids() for span in copied.spans(3, unit=2))
    found = [one for part in parts for ids, _vectors_nd in part for one in ids]
    assert sorted(found) == [doc(n) for n in (1, 2, 6, 7)]
    everything = pl.Series([doc(n) for n in range(8)])
    assert not list(VectorBlocks(store, "embeddings_static", rows, left_out=everything))


def test_reads_of_a_table_that_is_not_there_are_empty_with_the_right_columns(store):
    assert store.read("decisions", ["doc_id", "verdict"]).columns == ["doc_id", "verdict"]
    assert store.count("decisions") == 0
    with pytest.raises(UnknownTableError, match="no_such"):
        store.read("no_such")


@pytest.mark.parametrize("count", [0, 3, 2_500])
def test_by_ids_gives_the_same_rows_by_filter_and_by_scan(store, count):
    store.insert_new("judge_sample", sample_rows(range(5_000)))
    wanted = [doc(n) for n in range(0, 2 * count, 2)]
    found = [row for block in store.by_ids("judge_sample", wanted) for row in block["doc_id"].to_pylist()]
    assert sorted(found) == sorted(set(wanted))


def test_by_ids_gives_as_many_at_once_as_are_asked_for_in_their_order(store):
    store.insert_new("judge_sample", sample_rows(range(100, 0, -1)))
    wanted = [doc(n) for n in (7, 90, 3, 200, 55, 41)]
    blocks = store.by_ids("judge_sample", wanted, ["doc_id"], at_once=2)
    found = [block["doc_id"].to_pylist() for block in blocks]
    assert [set(block) for block in found] == [{doc(7), doc(90)}, {doc(3)}, {doc(55), doc(41)}]
    assert found[0] == [doc(90), doc(7)], "within a block as they stand in the table"


def test_quoting_survives_a_quote(store):
    row = {"selection": "it's", "doc_id": doc(1), "rank": 1}
    rows = pa.Table.from_pylist([row], schema=schema_of("selected_subset"))
    store.merge("selected_subset", rows)
    assert store.count("selected_subset", f"selection = {quoted(chr(105) + chr(116) + chr(39) + 's')}") == 1
    assert one_of("doc_id", []) == "false"


def test_every_kind_of_table_has_keys_and_descriptions():
    for name in ("embeddings_static", "transport_t", "target_embeddings_static", *tables()):
        schema = schema_of(name, 4)
        assert set(declaration(name).key) <= set(schema.names)
        assert all((field.metadata or {}).get(b"description") for field in schema)


@settings(max_examples=25, deadline=None)
@given(st.permutations(list(range(8))), st.integers(1, 7))
def test_rows_digest_does_not_depend_on_order_or_batches(order, cut):
    rows = sample_rows(order)
    whole = rows_digest([row_records(sample_rows(range(8)), ["doc_id"])])
    parts = [row_records(rows.slice(0, cut), ["doc_id"]), row_records(rows.slice(cut), ["doc_id"])]
    assert rows_digest(parts) == whole


@given(st.lists(st.lists(st.sampled_from([0, 1, 127, 128, 255]), min_size=48, max_size=48).map(bytes)))
def test_records_are_sorted_as_bytes_also_where_they_end_in_zeros(records):
    digest, content = rows_digest([np.frombuffer(b"".join(records), dtype="V48")])
    assert content == b"".join(sorted(records))
    assert digest == hashlib.sha256(content).hexdigest()


def test_rows_digest_sees_every_cell_and_skips_clocks():
    plain = vectors([1, 2])
    other = vectors([1, 2]).set_column(
        1, plain.schema.field(1), vector_column(np.array([[1, 1, 1, 1], [1, 1, 1, 2]]))
    )
    assert rows_digest([row_records(plain, ["doc_id"])]) != rows_digest([row_records(other, ["doc_id"])])
    approved = [
        pa.table([["best"], ["key"], [True], [second]], schema=pa.schema(schema_of("approvals")))
        for second in pl.Series([1, 2]).cast(pl.Datetime("us")).to_list()
    ]
    assert len({rows_digest([row_records(rows, ["selection"])])[0] for rows in approved}) == 1


def test_golden_digest_of_a_known_row():
    digest, content = rows_digest([row_records(sample_rows([255]), ["doc_id"])])
    assert content[:16].hex() == doc(255)
    assert digest == "d261eb438af99900a6af10a4a18a8f9af6e9636a0723536f4d8fe5972d46cb4e"


def test_stored_rows_find_the_same_rows_by_ids_and_by_scope(store):
    store.insert_new("judge_sample", sample_rows(range(10)))
    ids = [doc(n) for n in range(10)]
    assert stored_rows(store, "judge_sample", BY_DOC_IDS, ids) == stored_rows(store, "judge_sample", "")
    assert stored_rows(store, "judge_sample", BY_DOC_IDS, ids[:9]) != stored_rows(store, "judge_sample", "")


def test_a_column_that_comes_later_leaves_the_rows_before_it_as_they_were(tmp_path):
    names = [name for name in schema_of("trials").names if name not in LATER_COLUMNS]
    before = pa.schema([schema_of("trials").field(name) for name in names])
    old = {"trial": "law__a__10", "model": "a", "size": 10, "held_out_bits_per_byte": 1.5}
    store = Store(tmp_path / "lance")
    store.merge("trials", pa.Table.from_pylist([old], schema=before))
    scope = "trial = 'law__a__10'"
    digest = stored_rows(store, "trials", scope)[0]

    read = store.read("trials", ["accuracy", "trial", "held_out_loss"])
    assert read.rows() == [(None, "law__a__10", None)]
    with pytest.raises(Exception, match="no_such_column"):
        store.read("trials", ["trial", "no_such_column"])

    new = old | {"trial": "law__a__20", "accuracy": 0.5}
    store.merge("trials", pa.Table.from_pylist([new], schema=schema_of("trials")))
    assert "accuracy" in store.schema("trials").names
    assert stored_rows(store, "trials", scope)[0] == digest
    assert all(broken_seals(block).is_empty() for block in store.sealed_blocks("trials"))
    changed = pa.Table.from_pylist([new | {"accuracy": 0.75}], schema=schema_of("trials"))
    others = [stored_rows(store, "trials", "trial = 'law__a__20'")[0]]
    store.merge("trials", changed)
    others.append(stored_rows(store, "trials", "trial = 'law__a__20'")[0])
    assert len({digest, *others}) == 3, "what a later column holds counts"
