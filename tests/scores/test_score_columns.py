"""Numbers in kept rows, against Python's own reading of the JSON."""

import json
import math
import re

import polars as pl
from hypothesis import example, given
from hypothesis import strategies as st

from tamis.columns.values import values_in
from tamis.readers.text_columns import find
from tamis.scores.columns import numbers_of

KEYS = ("a", "b", "a.b", "b.c", "a.b.c", "c", "my score", "ü", "it's", "x]y", "$")
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.sampled_from(
        ["3.5", " 4 ", "n/a", "", "1e3", "nan", "inf", "-.5", "0x1f", "1_000", "٣", "1,5", ",NaN,"]
    ),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.sampled_from(KEYS), inner, max_size=3)
    ),
    max_leaves=6,
)
ROWS = st.lists(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4), min_size=1, max_size=6)
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def in_row(row: dict, path: str) -> object:
    """The value at a path: of the places that it may mean the first that has one."""
    if row.get(path) is not None:
        return row[path]
    for at in (at for at, sign in enumerate(path) if sign == "."):
        inner = row.get(path[:at])
        if isinstance(inner, dict) and (found := in_row(inner, path[at + 1 :])) is not None:
            return found
    return None


def as_number(value: object) -> float | None:
    """A number, or a text that is one; neither NaN nor infinite."""
    if isinstance(value, str):
        text = value.strip()
        value = float(text) if NUMBER.fullmatch(text) else None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None


@given(ROWS, st.sampled_from(["a", "a.b", "a.b.c", "my score", "ü", "it's", "x]y.a", "$.b", "absent"]))
@example([{"a.b": 7, "a": {"b": 1}}, {"a": {"b": 2}}, {"a.b": None, "a": {"b": 3}}], "a.b")
@example([{"c": [math.nan, math.inf, -math.inf, math.nan], "a": 1.5}, {"a": math.nan}], "a")
@example([{"a": {"b.c": 4, "b": {"c": 5}}}, {"a.b": {"c": 6}}], "a.b.c")
def test_numbers_are_those_that_python_reads(rows, path):
    content = pl.Series([json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows])
    found = values_in(content, path).to_frame("text").select(numbers_of(pl.col("text")))["text"].to_list()
    assert found == [as_number(in_row(row, path)) for row in rows]


@given(ROWS, st.sampled_from(["a", "a.b", "a.b.c"]))
def test_places_are_those_of_text_columns(rows, path):
    for row in rows:
        place = find(row, path)
        if place is not None and place[1] is not None:
            assert in_row(row, path) == place[1] or place[1] != place[1]


def test_decimals_after_a_comma_count_in_files_that_write_them_so():
    frame = pl.DataFrame(
        {"text": ["3,5", "3,5", "1,2,3", "4.5", ",5"], "comma": [True, False, True, True, True]}
    )
    assert frame.select(numbers_of(pl.col("text"), pl.col("comma")))["text"].to_list() == [
        3.5,
        None,
        None,
        4.5,
        0.5,
    ]


def test_a_row_that_is_no_json_has_no_value_and_costs_no_other_row():
    assert values_in(pl.Series(["", '{"a"', None, '{"a":1}'], dtype=pl.String), "a").to_list() == [
        None,
        None,
        None,
        "1",
    ]
