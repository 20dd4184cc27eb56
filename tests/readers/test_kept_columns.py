"""Columns of rows as JSON and back: whatever Arrow holds comes out with its type; long rows are left out."""

import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from long_stack import below

from tamis.corpus import Shard, document_id, read_shard
from tamis.corpus.documents import Reading, read_as
from tamis.corpus.refusing import Refusal, texts_among, without_texts
from tamis.readers.arrow_values import json_values, native
from tamis.readers.kept_columns import TOO_LONG, has_columns, heading_of, kept_row, read_heading
from tamis.settings.config import CorpusSection

COLUMNS = {
    "small": (pa.int8(), [1, None, -7]),
    "large": (pa.uint64(), [2**64 - 1, 0, None]),
    "half": (pa.float16(), [1.5, None, 0.0]),
    "single": (pa.float32(), [0.1, None, 2.5]),
    "day": (pa.date32(), [date(2026, 1, 2), None, date(1969, 1, 1)]),
    "moment": (pa.timestamp("ms", "UTC"), [datetime(2026, 1, 2, 3, 4, tzinfo=UTC), None, None]),
    "exact": (pa.timestamp("ns"), [1_234_567_891, None, 0]),
    "clock": (pa.time32("s"), [time(1, 2, 3), None, None]),
    "span": (pa.duration("us"), [timedelta(seconds=3), None, None]),
    "price": (pa.decimal128(9, 2), [Decimal("12.50"), None, Decimal("-0.01")]),
    "raw": (pa.binary(), [b"\x00\xff", None, b""]),
    "key": (pa.binary(2), [b"ab", None, b"cd"]),
    "kind": (pa.dictionary(pa.int32(), pa.string()), ["a", None, "b"]),
    "tags": (pa.list_(pa.string()), [["x", None], None, []]),
    "days": (pa.large_list(pa.date32()), [[date(2026, 1, 2)], [], None]),
    "vector": (pa.list_(pa.float32(), 2), [[1.0, 2.0], [0.0, 0.5], [3.0, 4.0]]),
    "nested": (
        pa.struct([("at", pa.timestamp("us")), ("parts", pa.list_(pa.struct([("n", pa.int16())])))]),
        [{"at": datetime(2026, 1, 1), "parts": [{"n": 1}, None]}, None, {"at": None, "parts": None}],
    ),
    "pairs": (pa.map_(pa.string(), pa.int32()), [[("a", 1)], None, []]),
}


def round_trip(column: pa.Array) -> pa.Array:
    kept = json.loads(json.dumps(json_values(column), default=str))
    return pa.array([native(value, column.type) for value in kept], type=column.type)


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_comes_back_with_its_type(name):
    kind, values = COLUMNS[name]
    column = pa.array(values, type=kind)
    assert round_trip(column).equals(column)
    rest = round_trip(column[1:])  # a slice has an offset
    assert rest.type == kind
    assert rest.to_pylist() == column[1:].to_pylist()


SCALARS = st.sampled_from(
    [pa.int32(), pa.string(), pa.bool_(), pa.timestamp("us"), pa.date64(), pa.binary(), pa.time64("ns")]
)
KINDS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        inner.map(pa.list_),
        st.lists(inner, min_size=1, max_size=3).map(
            lambda kinds: pa.struct([(f"f{n}", kind) for n, kind in enumerate(kinds)])
        ),
    ),
    max_leaves=5,
)


def values_of(kind: pa.DataType) -> st.SearchStrategy:
    if pa.types.is_list(kind):
        found = st.lists(values_of(kind.value_type), max_size=3)
    elif pa.types.is_struct(kind):
        found = st.fixed_dictionaries({field.name: values_of(field.type) for field in kind})
    elif pa.types.is_string(kind):
        found = st.text(max_size=5)
    elif pa.types.is_binary(kind):
        found = st.binary(max_size=5)
    elif pa.types.is_boolean(kind):
        found = st.booleans()
    elif pa.types.is_date64(kind):
        found = st.integers(-1000, 1000).map(lambda days: days * 86_400_000)
    else:
        found = st.integers(0, 10**9)
    return st.none() | found


@given(st.data())
def test_any_nested_column_comes_back(data):
    kind = data.draw(KINDS)
    column = pa.array(data.draw(st.lists(values_of(kind), max_size=4)), type=kind)
    assert round_trip(column).equals(column)


def corpus(**more) -> CorpusSection:
    return CorpusSection(name="web", kind="files", path=".", **more)


@pytest.mark.parametrize(
    ("keep", "expected"), [(True, {"id": 1, "b": [2]}), (["id"], {"id": 1}), (["other"], None), (False, None)]
)
def test_the_columns_to_keep_are_chosen(keep, expected):
    found = kept_row({"id": 1, "b": [2]}, corpus(keep_columns=keep), 100)
    assert (json.loads(found) if found else found) == expected


def test_a_long_row_is_left_out_by_its_bytes():
    assert kept_row({"a": "ä" * 10}, corpus(), 30) != TOO_LONG
    assert kept_row({"a": "ä" * 11}, corpus(), 28) == TOO_LONG


@pytest.mark.parametrize(
    ("name", "expected"), [("a.txt", False), ("b/C.MD.gz", False), ("a.jsonl", True), ("x.parquet", True)]
)
def test_texts_have_no_columns(name, expected):
    assert has_columns(name) == expected


def test_a_text_is_found_as_a_whole_value_and_a_name_is_none():
    text = "A text that is long enough."
    values = {"a": f" {text}\r\n", "b": [{"c": text}, 7], "d": f"{text} And more.", "e": "spam"}
    ids = {document_id(text), document_id("spam")}
    assert list(texts_among(values, ids)) == [document_id(text)] * 2
    assert without_texts(values, ids) == values | {"a": None, "b": [{"c": None}, 7]}


def test_a_text_is_found_in_values_that_are_json_text():
    text = 'A text that is "long" enough.\nAnd of two lines.'
    chat = [{"role": "user", "content": text, "n": 1.5}, {"content": json.dumps({"again": text})}]
    cleared = [{"role": "user", "content": None, "n": 1.5}, {"content": '{"again": null}'}]
    values = {"chat": json.dumps(chat), "alone": f" {json.dumps(text)}", "bad": f'["{text}', "n": "[1, 2]"}
    ids = {document_id(text)}
    assert list(texts_among(values, ids)) == [document_id(text)] * 3
    assert without_texts(values, ids) == values | {"chat": json.dumps(cleared), "alone": "null"}


@pytest.mark.parametrize("levels", [300, 900])
def test_a_text_leaves_a_row_that_is_nested_deeply(levels):
    text = "A text that is long enough."
    ids, rows = pl.Series([document_id(text)]), {"doc_id": ["d", "e"], "row": [0, 1], "metadata": ["{}"] * 2}
    nested = "[" * levels + json.dumps(text) + "]" * levels
    contents = [f'{{"deep": {nested}}}', json.dumps({"printed": nested})]
    found = below(400, lambda: Refusal(doc_ids=ids).columns(pl.DataFrame(rows | {"content": contents})))
    cleared = nested.replace(json.dumps(text), "null")
    assert found[0]["content"].to_list() == [f'{{"deep": {cleared}}}', json.dumps({"printed": cleared})]
    assert found[1]["doc_id"].to_list() == [*ids, *ids]


def file_shard(path) -> Shard:
    return Shard(corpus="web", name=path.name, key=f"web__{path.name}", kind="file", path=path)


@pytest.mark.parametrize("more", [{}, {"filler": "z" * 70_000}], ids=["short row", "row over 64 kB"])
@pytest.mark.parametrize("keep", [True, False, ["other"]], ids=str)
def test_of_a_withdrawn_text_in_another_column_nothing_is_left(tmp_path, keep, more):
    long, short = " ".join(f"word{n}" for n in range(100)), "A short text of more than a name."
    row = {
        "text": "one",
        "context": long,
        "hint": f" {short}",
        "turns": [{"said": short}],
        "n": 1,
        "other": long,
    }
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row | more) + "\n")
    (batch,) = read_shard(file_shard(path), corpus(keep_columns=keep))
    withdrawn = Refusal(doc_ids=pl.Series([document_id(long), document_id(short)]))
    found, places = withdrawn.columns(batch.documents)
    shown = [value or "" for value in found.select("metadata", "content").row(0)]
    assert not any(text[:20] in one for text in (long, short) for one in shown)
    assert '"n": 1' in shown[0]
    assert set(places["doc_id"]) >= {document_id(short)}


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_a_file_states_the_types_of_its_columns(tmp_path, ending):
    arrays = {name: pa.array(values, type=kind) for name, (kind, values) in COLUMNS.items() if name != "half"}
    rows = pa.table({"text": ["one", "two", "three"], **arrays})
    path = tmp_path / f"rows.{ending}"
    if ending == "parquet":
        pq.write_table(rows, path)
        rows = pq.read_table(path)
    else:
        with pa.ipc.new_stream(str(path), rows.schema) as writer:
            writer.write_table(rows)
    types = read_heading(heading_of(path, corpus())).types
    (batch,) = read_shard(file_shard(path), corpus())
    kept = [json.loads(content) for content in batch.documents["content"]]
    for name in arrays:
        values = [native(row[name], types[name]) for row in kept]
        assert pa.array(values, type=types[name]).to_pylist() == rows[name].to_pylist(), name
        assert types[name] == rows[name].type
    assert set(kept[0]) == set(arrays), "the text is not kept twice"


def test_nested_columns_are_no_metadata_and_long_rows_are_read_again(tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": ["one"], "n": [1], "long": [["x" * 70_000]]}), path)
    (batch,) = read_shard(file_shard(path), corpus())
    assert batch.documents["metadata"].to_list() == ['{"n": 1}']
    assert batch.documents["content"].to_list() == [TOO_LONG]
    (again,) = read_as(file_shard(path), corpus(), Reading(kept_bytes=float("inf")))
    assert json.loads(again.documents["content"][0]) == {"n": 1, "long": ["x" * 70_000]}


def test_a_column_that_cannot_be_decoded_costs_no_text(tmp_path):
    path = tmp_path / "rows.parquet"
    lists = [[f"item {n} {'y' * 50}"] for n in range(100)]
    pq.write_table(
        pa.table({"text": [f"text {n}" for n in range(100)], "tags": lists, "other": [b"z"] * 100}),
        path,
        compression="none",
        use_dictionary=False,
        write_page_checksum=True,
    )
    broken = bytearray(path.read_bytes())
    at = broken.index(b"item 50 ")
    broken[at : at + 4] = b"ITEM"
    path.write_bytes(broken)
    (batch,) = read_shard(file_shard(path), corpus())
    assert (len(batch.documents), len(batch.quarantine)) == (100, 0)
    assert [list(json.loads(content)) for content in batch.documents["content"]] == [["other"]] * 100
    (none,) = read_shard(file_shard(path), corpus(keep_columns=False))
    assert batch.documents.drop("content").equals(none.documents.drop("content"))


def test_lists_of_a_fixed_size_may_be_null_and_cost_no_other_column(tmp_path):
    path, count = tmp_path / "rows.parquet", 2_500
    columns = {
        "before": [[f"{n}"] for n in range(count)],
        "vector": pa.array([[n, 0.5] if n % 2 else None for n in range(count)], pa.list_(pa.float32(), 2)),
        "raw": [b"\xff"] * count,
    }
    texts = [f"text {n}" for n in range(count)]
    pq.write_table(pa.table({"text": texts, **columns}), path, row_group_size=2_000)
    batches = list(read_shard(file_shard(path), corpus()))
    assert sum(len(batch.quarantine) for batch in batches) == 0
    kept = [json.loads(content) for batch in batches for content in batch.documents["content"]]
    assert [list(row) for row in kept] == [list(columns)] * count
    assert [row["vector"] for row in kept] == columns["vector"].to_pylist()
    assert [row["before"] for row in kept] == columns["before"]
