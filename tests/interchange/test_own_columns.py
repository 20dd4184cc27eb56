"""Columns of the user's rows: as JSON, and as Arrow of types that others read."""

import json
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from long_stack import below

from tamis.interchange.json_lines import json_lines
from tamis.interchange.own_columns import MOST_FIELDS, MOST_LEVELS, OwnRows, OwnTable, own_table
from tamis.readers.arrow_values import json_values, kept_type
from tamis.readers.kept_columns import Heading


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


FAR_AWAY = 253_402_300_800
"""Seconds: the first of the year 10000."""


@pytest.mark.parametrize(
    ("kind", "stored", "exported", "printed"),
    [
        (pa.timestamp("s"), FAR_AWAY, pa.timestamp("ms"), "+10000-01-01T00:00:00"),
        (pa.timestamp("us", "Europe/Berlin"), FAR_AWAY * 10**6, None, "+10000-01-01T01:00:00+01:00"),
        (pa.timestamp("s"), 2**62, pa.timestamp("ms"), str(2**62)),
        (pa.date32(), 4_000_000, pa.date32(), "+12921-08-18"),
        (pa.duration("s"), 2**60, pa.duration("s"), f"PT{2**60}S"),
        (pa.time64("us"), -1, pa.time64("us"), "-1"),
        (pa.list_(pa.date32()), [4_000_000, 0], pa.list_(pa.date32()), ["+12921-08-18", "1970-01-01"]),
    ],
    ids=str,
)  # fmt: skip
def test_what_few_tools_hold_is_null_in_parquet_and_text_in_json(tmp_path, kind, stored, exported, printed):
    import datasets

    bits = pa.int32() if kind == pa.date32() else pa.int64()
    column = pa.array([stored], kind) if pa.types.is_list(kind) else pa.array([stored], bits).view(kind)
    own = OwnRows(
        values={("a", 0): {"c": json_values(column)[0]}, ("a", 1): {"c": json_values(column)[0]}},
        headings={"a": Heading(types={"c": kind})},
    )
    made = own_table([(("a", 0), "text"), (("a", 1), "text")], own)
    assert made.printed["c"] == [printed] * 2
    assert (made.as_text, made.nulled) == ({}, {"c": 2})
    assert made.columns["c"].type == (exported or kind)
    shown = json.dumps(made.columns["c"].to_pylist(), default=str)
    assert shown == (
        '[[null, "1970-01-01"], [null, "1970-01-01"]]' if pa.types.is_list(kind) else "[null, null]"
    )
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table(made.columns), path)
    pl.read_parquet(path)
    loaded = datasets.load_dataset(
        "parquet", data_files=str(path), split="train", cache_dir=str(tmp_path / "hf")
    )
    assert len(loaded.to_list()) == 2


def test_types_that_other_tools_do_not_read_are_replaced(tmp_path):
    import datasets

    columns = {
        "zone": pa.array([0], pa.timestamp("s", "No/Where")),
        "uuid": pa.array([b"0" * 16], pa.uuid()),
        "small": pa.array([1], pa.bool8()),
        "wide": pa.array([Decimal("1.5")], pa.decimal256(76, 2)),
        "narrow": pa.array([Decimal("1.5")], pa.decimal32(5, 2)),
        "view": pa.array(["a"], pa.string_view()),
        "kind": pa.array(["a"]).dictionary_encode(),
        "day": pa.DictionaryArray.from_arrays(pa.array([0]), pa.array([1], pa.date32())),
        "interval": pa.array([(1, 2, 3)], pa.month_day_nano_interval()),
        "twice": pa.StructArray.from_arrays([pa.array(["x"]), pa.array([1])], names=["a", "a"]),
    }
    kept = {name: json_values(column)[0] for name, column in columns.items()}
    content = json.loads(json.dumps(kept, default=str))
    types = {name: kept_type(column.type) for name, column in columns.items()}
    own = OwnRows(values={("a", 0): content}, headings={"a": Heading(types=types)})
    made = own_table([(("a", 0), "text")], own)
    assert made.as_text == {}
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table(made.columns), path)
    (row,) = pl.read_parquet(path).to_dicts()
    assert row["zone"].isoformat() == "1970-01-01T00:00:00+00:00"
    assert (row["uuid"], row["interval"]) == ("30303030-3030-3030-3030-303030303030", "P1M2DT0.000000003S")
    assert row["twice"] == {"a": "x", "a_2": 1}
    loaded = datasets.load_dataset(
        "parquet", data_files=str(path), split="train", cache_dir=str(tmp_path / "hf")
    )
    assert loaded[0]["wide"] == loaded[0]["narrow"] == Decimal("1.50")
    assert (loaded[0]["small"], loaded[0]["view"], loaded[0]["kind"]) == (True, "a", "a")


def of_files(*files: tuple[Any, pa.DataType | None]) -> OwnTable:
    """A column `c` with a value in each of several files, which state its type or are JSON."""
    own = OwnRows()
    for number, (value, kind) in enumerate(files):
        shown = (
            value
            if kind is None
            else json.loads(json.dumps(json_values(pa.array([value], kind))[0], default=str))
        )
        own.values[f"{number}.x", 0] = {"c": shown}
        own.headings[f"{number}.x"] = Heading(types={} if kind is None else {"c": kind})
    return own_table([((f"{number}.x", 0), "text") for number in range(len(files))], own)


WHEN = datetime(2024, 1, 2, 3, 4, 5)


def test_times_of_unlike_types_and_texts_are_text_in_iso_8601():
    made = of_files(
        (WHEN, pa.timestamp("us")),
        (WHEN, pa.timestamp("ns")),
        (WHEN, pa.timestamp("ms", "UTC")),
        ("2024-01-02T03:04:05", None),
        (None, None),
    )
    shown = [*["2024-01-02T03:04:05"] * 2, "2024-01-02T03:04:05+00:00", "2024-01-02T03:04:05", None]
    assert made.printed["c"] == shown
    assert made.columns["c"].to_pylist() == shown, "each as it is, not as JSON text"
    assert made.as_text["c"].all_texts
    only = of_files((WHEN, pa.timestamp("us")), (WHEN, pa.timestamp("ns")))
    assert only.columns["c"].type == pa.timestamp("ns")
    assert only.as_text == {}


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ([(0.12, None), ("0,12", None)], '0.12 in 0.x and "0,12" in 1.x'),
        ([(1, None), (None, None), ([1], None)], "1 in 0.x and [1] in 2.x"),
        (
            [(WHEN, pa.timestamp("us")), ("soon", None)],
            '"2024-01-02T03:04:05" (timestamp[us]) in 0.x and "soon" in 1.x',
        ),
        ([({"a": {"b": 1}}, None), ({"a": {"b": "x"}}, None)], 'a.b: 1 in 0.x and "x" in 1.x'),
        ([("y" * 100, None), (1, None)], f'"{"y" * 38}… in 0.x and 1 in 1.x'),
        ([(1, None), ([], None), ({"": "x"}, None)], "1 in 0.x and [] in 1.x"),
        ([({"": 1}, None), ({"": "x"}, None)], '"": 1 in 0.x and "x" in 1.x'),
        ([(1, None), (2**63, None)], "9223372036854775808 in 1.x is too large for int64"),
        ([([1, -(2**64)], None)], "-18446744073709551616 in 0.x is too large for int64"),
        ([({"a": [{"b": 2**70}]}, None)], "1180591620717411303424 in 0.x is too large for int64"),
        (
            [(2**64 - 1, pa.uint64()), (-1, pa.int64())],
            "18446744073709551615 in 0.x is too large for int64",
        ),
        ([(nested(MOST_LEVELS + 1), None)], "nested over 20 levels, or with over 1,000 fields"),
    ],
)
def test_a_column_that_is_text_names_the_values_that_differ(files, why):
    assert {name: mixed.why for name, mixed in of_files(*files).as_text.items()} == {"c": why}


def test_numbers_of_one_column_are_printed_alike():
    made = of_files((1, None), (2.5, None), (3, pa.int8()))
    assert [json.dumps(value) for value in made.printed["c"]] == ["1.0", "2.5", "3.0"]


CLASSES = {"names": ["ham", "spam"], "_type": "ClassLabel"}
PLAIN = {"dtype": "int64", "_type": "Value"}


@pytest.mark.parametrize(
    ("features", "agreed"),
    [
        ([{"c": CLASSES}, {"c": CLASSES}], {"c": CLASSES}),
        ([{"c": CLASSES}, {"c": CLASSES | {"names": ["spam", "ham"]}}], {}),
        ([{"c": CLASSES}, {}], {}),
        ([{"c": PLAIN}, {"c": PLAIN}], {}),
        ([{"c": [CLASSES]}, {"c": [CLASSES]}], {"c": [CLASSES]}),
    ],
)
def test_what_datasets_states_is_kept_where_all_files_agree(features, agreed):
    own = OwnRows()
    for number, stated in enumerate(features):
        own.values[f"{number}", 0] = {"c": 1}
        own.headings[f"{number}"] = Heading(types={"c": pa.int64()}, features=stated)
    rows = [((f"{number}", 0), "text") for number in range(len(features))]
    assert own_table([*rows, (("without", 0), "text")], own).features == agreed
