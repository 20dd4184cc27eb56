"""Rows reach a table as it declares them, whatever order and width of columns the caller has."""

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis.store.schemas import UnfitRowsError, as_declared, schema_of, tables
from tamis.store.tables import ALL, Store, matrix_of, vector_column

VALUES = {
    pa.string(): st.text(max_size=4),
    pa.bool_(): st.booleans(),
    pa.int64(): st.integers(-(2**40), 2**40),
    pa.uint32(): st.integers(0, 2**32 - 1),
    pa.uint64(): st.integers(0, 2**63 - 1),
    pa.float32(): st.floats(width=16, allow_nan=False),
    pa.float64(): st.floats(width=16, allow_nan=False),
    pa.float16(): st.floats(width=16, allow_nan=False),
    pa.timestamp("us"): st.datetimes(),
}


def values_of(kind):
    if pa.types.is_fixed_size_list(kind):
        return st.lists(values_of(kind.value_type), min_size=kind.list_size, max_size=kind.list_size)
    if pa.types.is_list(kind):
        return st.none() | st.lists(values_of(kind.value_type), max_size=2)
    if pa.types.is_struct(kind):
        return st.fixed_dictionaries({field.name: values_of(field.type) for field in kind})
    return st.none() | VALUES[kind]


def name_of(kind):
    return f"{kind}_some" if tables()[kind].many else kind


@st.composite
def rows_of_any_table(draw):
    table = name_of(draw(st.sampled_from(sorted(tables()))))
    schema = schema_of(table, 3)
    rows = draw(
        st.lists(st.fixed_dictionaries({one.name: values_of(one.type) for one in schema}), max_size=3)
    )
    return table, pa.Table.from_pylist(rows, schema=schema), draw(st.permutations(schema.names))


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "lance")


@given(rows_of_any_table())
def test_rows_of_every_table_are_as_declared_whatever_their_order(case):
    table, rows, order = case
    frame = pl.DataFrame(pl.from_arrow(rows)).select(order).with_columns(of_no_table=pl.lit("x"))
    for given_rows in (rows.select(order), frame, frame.to_arrow(), frame.to_dict()):
        found = as_declared(table, given_rows)
        assert found.schema.equals(rows.schema, check_metadata=True)
        assert found.to_pylist() == rows.to_pylist()


@given(st.lists(st.tuples(st.integers(0, 100), st.sampled_from([0.5, 2.0])), max_size=4))
def test_other_widths_hold_the_same_values(pairs):
    names = schema_of("token_counts").names
    frame = pl.DataFrame({"n_tokens": [count for count, _ in pairs]}, schema={"n_tokens": pl.UInt8})
    frame = frame.with_columns(doc_id=pl.lit("a"), fingerprint=pl.lit("b"))
    found = as_declared("token_counts", frame)
    assert found.schema == schema_of("token_counts")
    assert found["n_tokens"].to_pylist() == [count for count, _ in pairs]
    assert found.select(names) == found
    scores = pl.DataFrame({"value": [score for _, score in pairs]}, schema={"value": pl.Float32})
    scores = scores.with_columns(doc_id=pl.lit("a"), fingerprint=pl.lit("b"))
    assert as_declared("scores_by_model", scores)["value"].to_pylist() == [score for _, score in pairs]


def test_a_column_of_nothing_takes_the_type_of_its_table():
    rows = {"doc_id": ["a", "b"], "n_tokens": [None, None], "fingerprint": ["m", "m"]}
    found = as_declared("token_counts", rows)
    assert found.schema == schema_of("token_counts")
    assert found["n_tokens"].null_count == 2


@pytest.mark.parametrize("kind", [pl.Array(pl.Float32, 3), pl.List(pl.Float32), pl.List(pl.Float64)])
def test_the_dimension_of_vectors_is_that_of_the_rows(kind):
    vectors = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    columns = {"vector": pl.Series(vectors, dtype=kind), "fingerprint": ["f", "f"], "doc_id": ["a", "b"]}
    found = as_declared("embeddings_static_0a1b2c3d", columns)
    assert found.schema.equals(schema_of("embeddings_static_0a1b2c3d", 3), check_metadata=True)
    assert matrix_of(found["vector"]).tolist() == vectors


def test_no_vectors_of_a_known_dimension_are_rows_too():
    columns = {"doc_id": [], "vector": vector_column(np.empty((0, 5))), "fingerprint": []}
    assert as_declared("embeddings_static", columns).schema == schema_of("embeddings_static", 5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"n_tokens": ["secret words"]}, "column 'n_tokens' is string, and the table holds int64"),
        ({"n_tokens": [1.5]}, "column 'n_tokens' is double, and the table holds int64"),
        ({"n_tokens": ["secret words", 1]}, "column 'n_tokens' holds values of several types"),
        ({"n_tokens": [1, 2]}, "its columns have different lengths: [1, 2]"),
    ],
)
def test_rows_that_do_not_fit_are_named_by_their_column_and_not_quoted(store, change, said):
    rows = {"doc_id": ["a"], "n_tokens": [3], "fingerprint": ["m"]}
    with pytest.raises(UnfitRowsError) as error:
        store.put("token_counts", rows | change)
    assert "'token_counts'" in str(error.value)
    assert said in str(error.value)
    assert "secret" not in str(error.value)
    assert error.value.__cause__ is None
    assert not store.exists("token_counts")


def test_a_missing_column_is_named_with_those_that_are_there():
    with pytest.raises(UnfitRowsError, match="no column 'n_tokens', 'fingerprint' among doc_id, tokens"):
        as_declared("token_counts", pl.DataFrame({"doc_id": ["a"], "tokens": [3]}))


@pytest.mark.parametrize(
    ("vectors", "said"),
    [
        ([[1.0, 2.0], [3.0]], "column 'vector' is list<item: double>, and the table holds fixed_size_list"),
        ([1.0, 2.0], "column 'vector' holds no list"),
        ([None, None], "column 'vector' holds no list"),
    ],
)
def test_vectors_of_several_lengths_or_none_are_refused(vectors, said):
    with pytest.raises(UnfitRowsError) as error:
        as_declared("embeddings_static", {"doc_id": ["a", "b"], "vector": vectors, "fingerprint": ["f", "f"]})
    assert said in str(error.value)


def test_a_table_of_a_sql_model_declares_itself(store):
    with pytest.raises(KeyError, match="some_mart"):
        store.put("some_mart", pl.DataFrame({"a": [1]}))


def test_put_replaces_by_key_within_a_scope_or_the_whole_table(store):
    def put(ids, part, scope=None):
        store.put("judge_sample", pl.DataFrame({"part": [part] * len(ids), "doc_id": ids}), scope)
        return sorted(store.read("judge_sample", ["doc_id", "part"]).iter_rows())

    assert put(["a", "b"], "train") == [("a", "train"), ("b", "train")]
    assert put(["b"], "hold_out") == [("a", "train"), ("b", "hold_out")]
    assert put(["c"], "train", "part = 'train'") == [("b", "hold_out"), ("c", "train")]
    before = store.version("judge_sample")
    assert put(["d"], "train", ALL) == [("d", "train")]
    assert store.version("judge_sample") == before + 1
    assert store.schema("judge_sample").equals(schema_of("judge_sample"), check_metadata=True)
