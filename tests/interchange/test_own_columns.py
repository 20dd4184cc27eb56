"""Columns of the user's rows: as JSON, and as Arrow of types that others read."""

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from long_stack import below

from tamis.corpus.arrow_values import json_values
from tamis.corpus.kept_columns import Heading
from tamis.interchange.json_lines import json_lines
from tamis.interchange.own_columns import MOST_FIELDS, MOST_LEVELS, OwnRows, OwnTable, own_table


def table_of(values: Sequence[Any], kind: pa.DataType | None = None) -> OwnTable:
    """A column `c` of rows in files of their own, the last of which lacks it; of a type, or JSON."""
    own = OwnRows()
    for number, value in enumerate(values):
        shown = value if kind is None else json_values(pa.array([value], kind))[0]
        own.values[f"{number}", 0] = {"c": shown}
        own.headings[f"{number}"] = Heading(types={} if kind is None else {"c": kind})
    return own_table([((f"{number}", 0), "text") for number in range(len(values) + 1)], own)


FIXED = pa.list_(pa.float32(), 2)
MAP = pa.map_(pa.string(), pa.int64())
PAIRS = [{"key": "a", "value": 1}, {"key": "b", "value": None}]


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (FIXED, [1.0, 2.5], [1.0, 2.5]),
        (pa.large_list(FIXED), [[1.0, 2.5], None], [[1.0, 2.5], None]),
        (MAP, [("a", 1), ("b", None)], PAIRS),
        (
            pa.struct([("m", MAP), ("v", FIXED)]),
            {"m": [("a", 1), ("b", None)], "v": None},
            {"m": PAIRS, "v": None},
        ),
        (pa.map_(pa.int16(), MAP), [(7, [("a", 1)])], [{"key": 7, "value": [{"key": "a", "value": 1}]}]),
    ],
    ids=str,
)
def test_columns_that_other_files_lack_are_read_again(tmp_path, kind, value, expected):
    import datasets

    made = table_of([value], kind)
    path = tmp_path / "best.parquet"
    pq.write_table(pa.table(made.columns), path)
    assert pq.read_table(path)["c"].to_pylist() == [expected, None]
    loaded = datasets.load_dataset(
        "parquet", data_files=str(path), split="train", cache_dir=str(tmp_path / "hf")
    )
    assert list(loaded["c"]) == [expected, None]
    assert made.printed["c"] == [expected, None]


def test_lists_whose_values_cannot_be_null_are_exported_where_one_of_them_is():
    kind = pa.list_(pa.field("item", pa.float32(), nullable=False), 2)
    made = table_of([[1.0, 2.5], None], kind)
    assert made.as_text == {}
    assert made.columns["c"].to_pylist() == [[1.0, 2.5], None, None]


def nested(levels: int) -> list[Any]:
    return json.loads("[" * levels + "1" + "]" * levels)


@pytest.mark.parametrize(
    ("values", "as_text"),
    [
        ([nested(MOST_LEVELS)], False),
        ([nested(MOST_LEVELS + 1)], True),
        ([nested(900)], True),
        ([{f"{key}": key for key in range(MOST_FIELDS)}], False),
        ([{f"{row}_{key}": key for key in range(50)} for row in range(MOST_FIELDS // 50 + 1)], True),
        ([{"a": {"b": {}}}], True),
    ],
    ids=["20 levels", "21 levels", "900 levels", "1,000 fields", "1,050 fields", "no fields"],
)
def test_columns_nested_deeply_or_of_many_fields_are_json_text(tmp_path, values, as_text):
    made = below(200, lambda: table_of(values))
    assert [*made.as_text] == (["c"] if as_text else [])
    pq.write_table(pa.table(made.columns), tmp_path / "best.parquet")
    *read, lacking = pq.read_table(tmp_path / "best.parquet")["c"].to_pylist()
    assert ([json.loads(one) for one in read] if as_text else read) == values
    assert lacking is None
    assert made.printed["c"] == [*values, None]


def test_files_of_few_fields_each_have_many_together():
    own = OwnRows()
    for row in range(MOST_FIELDS // 50 + 1):
        kind = pa.struct([(f"{row}_{key}", pa.int64()) for key in range(50)])
        own.values[f"{row}", 0] = {"c": {f"{row}_{key}": key for key in range(50)}}
        own.headings[f"{row}"] = Heading(types={"c": kind})
    made = own_table([((shard, 0), "text") for shard in own.headings], own)
    assert [*made.as_text] == ["c"]


def test_rows_nested_deeply_are_printed_as_they_are():
    deep = nested(900)
    (plain, with_infinity) = below(
        200, lambda: list(json_lines([{"deep": deep}, {"deep": deep, "n": [float("inf"), 2.5]}]))
    )
    assert plain == f'{{"deep": {"[" * 900}1{"]" * 900}}}'
    assert with_infinity == f'{{"deep": {"[" * 900}1{"]" * 900}, "n": [null, 2.5]}}'
