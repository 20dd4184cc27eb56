"""JSON lines that polars, pandas, DuckDB and `datasets` read without being told the types of columns."""

import json
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tamis.interchange.json_lines import LOOKED_AT, arranged, clash, json_lines, json_texts, kinds_of

SIZE = 3 * LOOKED_AT


def rare(value: Any, at: int = SIZE - 1, usual: Any = None) -> list[Any]:
    """A column of which one row has another value."""
    return [usual] * at + [value] + [usual] * (SIZE - at - 1)


def lines_of(columns: dict[str, list[Any]], path) -> list[int]:
    """Write columns, as an export does, and return the order of their rows."""
    order, _moved = arranged(columns)
    rows = ({name: values[row] for name, values in columns.items()} for row in order)
    path.write_text("".join(f"{line}\n" for line in json_lines(rows)))
    return order


COLUMNS = {
    "text": [f"Text {number}." for number in range(SIZE)],
    "licence": rare("mit"),
    "score": rare(0.5, usual=1),
    "origins": rare([{"shard": "a", "row": 1}], SIZE - 2, []),
    "meta": rare({"by": "Ann", "votes": [1]}, SIZE - 3, {"by": None}),
    "id": rare("seven", usual=7),
    "all": [None] * SIZE,
    "none": rare(2.5, SIZE - 3, float("nan")),
    "list": rare([1.5], SIZE - 3, [float("inf")]),
}


def test_every_kind_of_value_is_among_the_first_rows(tmp_path):
    path = tmp_path / "a.jsonl"
    order = lines_of(COLUMNS, path)
    assert order[: LOOKED_AT - 3] == list(range(LOOKED_AT - 3))
    assert order[LOOKED_AT - 3 : LOOKED_AT] == [SIZE - 3, SIZE - 2, SIZE - 1]
    assert order[LOOKED_AT:] == list(range(LOOKED_AT - 3, SIZE - 3))
    assert arranged(COLUMNS)[1] == 3
    frame = pl.read_ndjson(path)
    assert (len(frame), frame.columns) == (SIZE, list(COLUMNS))
    assert frame["none"].drop_nulls().to_list() == [2.5]
    assert frame["score"].to_list() == [COLUMNS["score"][row] for row in order]
    assert frame["id"].to_list() == [str(COLUMNS["id"][row]) for row in order]
    assert frame["origins"].to_list() == [COLUMNS["origins"][row] for row in order]
    assert duckdb.sql(f"SELECT count(*), max(licence), max(score) FROM '{path}'").fetchall() == [
        (SIZE, "mit", 1.0)
    ]
    read = pd.read_json(path, lines=True)
    assert (len(read), list(read.columns)) == (SIZE, list(COLUMNS))


def test_datasets_reads_columns_of_one_type_each(tmp_path):
    import datasets

    path = tmp_path / "a.jsonl"
    columns = {name: values for name, values in COLUMNS.items() if name != "id"}
    order = lines_of(columns, path)
    loaded = datasets.load_dataset(
        "json", data_files=str(path), split="train", cache_dir=str(tmp_path / "hf")
    )
    assert loaded["licence"] == [COLUMNS["licence"][row] for row in order]


def test_where_the_first_rows_have_every_kind_the_order_is_that_of_the_rows():
    for columns in (
        {"text": ["a"] * SIZE, "n": rare(None, usual=1)},
        {"text": ["a"] * LOOKED_AT, "licence": rare("mit", LOOKED_AT - 1)[:LOOKED_AT]},
        {"text": ["a"] * SIZE, "licence": rare("mit", LOOKED_AT - 1)},
        {"text": []},
        {},
    ):
        order, moved = arranged(columns)
        assert (order, moved) == (list(range(len(order))), 0)


def test_objects_with_keys_of_their_own_leave_the_order(tmp_path):
    columns = {
        "text": ["a"] * SIZE,
        "own": [{f"{number}_{key}": key for key in range(3)} for number in range(SIZE)],
    }
    assert arranged(columns)[1] == 0
    lines_of(columns, tmp_path / "a.jsonl")
    assert len(pl.read_ndjson(tmp_path / "a.jsonl")) == SIZE


@pytest.mark.parametrize(
    ("values", "clashing"),
    [
        ([1, 2.5, None, 2**70], False),
        ([1, "one"], False),
        ([{"a": 1}, "one"], False),
        ([{"a": 1}, {"a": "x", "b": [1, 2.5]}], False),
        ([1, True], True),
        ([1, [1]], True),
        ([[1], "x"], False),
        ([[[], "x"]], True),
        ([{"a": ["", [1]]}], True),
        ([{"a": 1}, {"a": [1]}], True),
        ([[1], [{"a": 1}]], True),
        ([{"a": 1}, [1], "one"], True),
    ],
)
def test_values_without_a_type_in_common_are_known(values, clashing):
    assert clash(values) == clashing
    assert not clash(json_texts(values))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(st.tuples(VALUES, st.integers(0, SIZE - 1)), max_size=4), VALUES)
@example([], [[], ""])
@settings(deadline=None, max_examples=80)
def test_polars_reads_whatever_rows_hold(tmp_path_factory, found, usual):
    values = [usual] * SIZE
    for value, row in found:
        values[row] = value
    column = json_texts(values) if clash(values) else values
    path = tmp_path_factory.mktemp("lines") / "a.jsonl"
    order = lines_of({"text": ["a"] * SIZE, "own": column}, path)
    assert sorted(order) == list(range(SIZE))
    assert pl.read_ndjson(path).columns == ["text", "own"]


def test_kinds_are_named_by_their_place():
    value = {"a": [1, 2.5, {"b": None, "c": True}], "d": {"e": "x"}}
    assert [(path, kind) for path, kind, _value in kinds_of(value)] == [
        ("", "object"),
        ("a", "list"),
        ("a[]", "integer"),
        ("a[]", "float"),
        ("a[]", "object"),
        ("a[].c", "boolean"),
        ("d", "object"),
        ("d.e", "text"),
    ]
    assert list(kinds_of(float("nan"))) == []
    assert [kind for _path, kind, _value in kinds_of([float("inf"), 0.5] * 1_000)] == ["list", "float"]
    assert json.loads(json_texts([value])[0]) == value


def test_json_texts_hold_no_numbers_that_json_lacks():
    assert json_texts([{"a": [float("nan"), 1.5]}, float("inf"), None, "x"]) == [
        '{"a": [null, 1.5]}',
        "null",
        None,
        '"x"',
    ]


def test_an_empty_key_is_a_place_of_its_own():
    assert not clash([{"": 1}, {"": 2}])
    assert clash([{"": 1}, {"": [2]}])
