"""A value beside the text that Python, JSON or Parquet cannot hold costs no text, and is counted."""

import io
import json
from collections import Counter
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shard_files import corpus, faults, read, texts, written

from tamis.corpus import Shard, read_shard
from tamis.corpus.intake import store_shards
from tamis.readers import arrow_values
from tamis.readers.arrow_values import (
    FAR,
    SAME_NAMES,
    UNDECODED,
    UNKNOWN_ZONE,
    iso_texts,
    json_values,
    kept_type,
    native,
    shown_values,
    unique_names,
)
from tamis.readers.json_rows import TOO_LARGE
from tamis.readers.kept_columns import HALF, heading_of, read_heading
from tamis.scan.quarantine import odd_value_lines
from tamis.store.tables import Store

FAR_AWAY = 253_402_300_800
"""Seconds: the first of the year 10000."""
BROKEN = pa.array([b"ok", b"\xff", None], pa.binary()).view(pa.string())
TWICE = pa.StructArray.from_arrays([pa.array(["x", "y", None]), pa.array([1, 2, 3])], names=["a", "a"])
ODD = {
    "second": (pa.array([FAR_AWAY, 2**62, None], pa.timestamp("s")), {FAR: 2}),
    "before the year 1": (pa.array([-99_999_999_999_000, 0, None], pa.timestamp("ms")), {FAR: 1}),
    "nanosecond": (pa.array([1, 2**63 - 1, None], pa.timestamp("ns")), {}),
    "unknown zone": (pa.array([1, 2, None], pa.timestamp("us", "No/Where")), {UNKNOWN_ZONE: 2}),
    "day": (pa.array([4_000_000, -800_000, 2**31 - 1], pa.date32()), {FAR: 3}),
    "millisecond day": (pa.array([86_400_000 * 4_000_000, 0, None], pa.date64()), {FAR: 1}),
    "span": (pa.array([2**60, -1, None], pa.duration("s")), {FAR: 1}),
    "clock": (pa.array([2**60, 0, -1], pa.int64()).view(pa.time64("us")), {FAR: 2}),
    "in a list": (pa.array([[FAR_AWAY], [None, 1], None], pa.list_(pa.timestamp("s"))), {FAR: 1}),
    "in a view": (pa.array([[FAR_AWAY], [], None], pa.list_view(pa.timestamp("s"))), {FAR: 1}),
    "in a map": (pa.array([[("a", FAR_AWAY)], [], None], pa.map_(pa.string(), pa.timestamp("s"))), {FAR: 1}),
    "in a struct": (
        pa.array([{"at": FAR_AWAY}, None, {"at": 1}], pa.struct([("at", pa.timestamp("s"))])),
        {FAR: 1},
    ),
    "encoded": (
        pa.DictionaryArray.from_arrays(pa.array([0, None, 1]), pa.array([FAR_AWAY, None], pa.timestamp("s"))),
        {FAR: 1},
    ),
    "run": (
        pa.RunEndEncodedArray.from_arrays(
            pa.array([2, 3], pa.int32()), pa.array([FAR_AWAY, 1], pa.timestamp("s"))
        ),
        {FAR: 2},
    ),
    "union": (
        pa.UnionArray.from_sparse(
            pa.array([0, 1, 0], pa.int8()), [pa.array([1, 2, 3]), pa.array([FAR_AWAY] * 3, pa.timestamp("s"))]
        ),
        {FAR: 1},
    ),
    "fields of one name": (TWICE, {SAME_NAMES: 3}),
    "text": (BROKEN, {UNDECODED: 1}),
    "texts": (pa.ListArray.from_arrays(pa.array([0, 1, 2, 3], pa.int32()), BROKEN), {UNDECODED: 1}),
    "decimal": (pa.array([Decimal(10**70), None, Decimal(1)], pa.decimal256(76, 0)), {}),
    "half": (pa.array([1.5, float("nan"), float("inf")], pa.float16()), {}),
    "interval": (pa.array([(1, 2, 3), None, (0, 0, -1)], pa.month_day_nano_interval()), {}),
    "uuid": (pa.array([b"0" * 16, None, b"1" * 16], pa.uuid()), {}),
    "small": (pa.array([1, 0, None], pa.bool8()), {}),
    "tensor": (
        pa.FixedShapeTensorArray.from_storage(
            pa.fixed_shape_tensor(pa.int8(), [2]), pa.array([[1, 2]] * 3, pa.list_(pa.int8(), 2))
        ),
        {},
    ),
    "nothing": (pa.array([{}, None, {}], pa.struct([])), {}),
}


def was_written(rows: pa.Table, path: str | io.BytesIO, ending: str) -> bool:
    """Write a table; return whether the format has such values."""
    try:
        if ending == "parquet":
            pq.write_table(rows, path)
        else:
            with pa.ipc.new_stream(path, rows.schema) as writer:
                writer.write_table(rows)
    except pa.ArrowException:
        return False
    return True


def beside_texts(name: str) -> pa.Table:
    return pa.table({"text": ["one", "two", "three"], "at": ODD[name][0]})


FORMATS = [
    (name, ending)
    for name in ODD
    for ending in ("parquet", "arrow")
    if was_written(beside_texts(name), io.BytesIO(), ending)
]


def test_both_formats_have_most_odd_values():
    assert len(FORMATS) > 1.6 * len(ODD)


@pytest.mark.parametrize(("name", "ending"), FORMATS)
def test_no_text_is_lost_for_a_value_beside_it(tmp_path, name, ending):
    odd, path = ODD[name][1], tmp_path / f"a.{ending}"
    assert was_written(beside_texts(name), str(path), ending)
    batch = read(path)
    assert texts(batch) == ["one", "two", "three"]
    assert faults(batch) == []
    assert batch.odd == {("at", problem): count for problem, count in odd.items()}
    heading = read_heading(heading_of(path, corpus(), odd=batch.odd))
    assert heading.odd == batch.odd
    assert all(json.loads(content) for content in batch.documents["content"])


def test_what_is_not_kept_is_not_counted_in_the_heading(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["one"], "at": pa.array([4_000_000], pa.date32())}), path)
    heading = heading_of(path, corpus(keep_columns=["other"]), odd=read(path).odd)
    assert read_heading(heading).odd == {}


@pytest.mark.parametrize("name", ["second", "day", "span", "in a map", "in a struct", "fields of one name"])
def test_kept_values_come_back_as_they_were(name):
    column, _odd = ODD[name]
    kept, kind = json.loads(json.dumps(json_values(column))), kept_type(column.type)
    again = pa.array([native(value, kind) for value in kept], type=kind)
    assert json_values(again) == json_values(column)
    held = pa.array([native(value, kind, held=True) for value in kept], type=kind)
    assert held.to_pylist() is not None, "Python holds what is left"


@pytest.mark.parametrize(
    ("kind", "stored", "shown"),
    [
        (pa.timestamp("s"), [0, FAR_AWAY], ["1970-01-01T00:00:00", "+10000-01-01T00:00:00"]),
        (pa.timestamp("s"), [-(10**11)], ["-1199-02-15T14:13:20"]),
        (pa.timestamp("us"), [1_500_000, 1], ["1970-01-01T00:00:01.500000", "1970-01-01T00:00:00.000001"]),
        (pa.timestamp("ns"), [10**9, 1], ["1970-01-01T00:00:01", "1970-01-01T00:00:00.000000001"]),
        (pa.timestamp("s", "UTC"), [0, None], ["1970-01-01T00:00:00+00:00", None]),
        (pa.timestamp("s", "Asia/Kolkata"), [0], ["1970-01-01T05:30:00+05:30"]),
        (pa.timestamp("s", "-02:00"), [0], ["1969-12-31T22:00:00-02:00"]),
        (pa.timestamp("s", "No/Where"), [0], ["1970-01-01T00:00:00+00:00"]),
        (pa.timestamp("ms", "+00:00"), [500], ["1970-01-01T00:00:00.500+00:00"]),
        (pa.date32(), [0, 4_000_000, 2**31 - 1], ["1970-01-01", "+12921-08-18", "2147483647"]),
        (pa.time64("ns"), [1, 3_600 * 10**9], ["00:00:00.000000001", "01:00:00"]),
        (pa.duration("ms"), [1_500, -5, 0], ["PT1.5S", "-PT0.005S", "PT0S"]),
        (pa.duration("s"), [2**60], [f"PT{2**60}S"]),
    ],
    ids=str,
)  # fmt: skip
def test_times_are_printed_in_iso_8601(kind, stored, shown):
    bits = pa.int32() if kind.bit_width == 32 else pa.int64()
    assert iso_texts(pa.array(stored, bits).view(kind)) == shown


def test_where_no_zones_are_installed_times_are_of_utc(monkeypatch):
    monkeypatch.setattr(arrow_values, "_is_known_to_arrow", lambda zone: False)
    for zone in ("UTC", "Europe/Berlin"):
        column = pa.array([0, None], pa.timestamp("s", zone))
        assert iso_texts(column) == ["1970-01-01T00:00:00+00:00", None]
        odd = Counter()
        json_values(column, odd)
        assert not odd, "Python knows it"


def test_values_are_shown_as_json_holds_them():
    assert shown_values(pa.array([(14, -3, 1_500_000_000)], pa.month_day_nano_interval())) == ["P14M-3DT1.5S"]
    assert shown_values(pa.array([Decimal("1.50")])) == ["1.50"]
    assert shown_values(pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int8()))) == [
        [{"key": "a", "value": 1}]
    ]
    assert shown_values(TWICE)[0] == {"a": "x", "a_2": 1}
    assert unique_names(pa.struct([(name, pa.int8()) for name in ("a", "a_2", "a", "a")])) == [
        "a",
        "a_2",
        "a_3",
        "a_4",
    ]


def test_a_column_of_texts_that_is_none_says_so_whatever_it_holds(tmp_path):
    path = tmp_path / "a.parquet"
    for column in (
        pa.array([4_000_000, 0], pa.date32()),
        pa.array([b"a", b"b"]),
        pa.array([Decimal("1.5")] * 2),
    ):
        pq.write_table(pa.table({"text": column}), path)
        assert faults(read(path)) == [(-1, "non_text")]


def test_turns_with_an_odd_value_beside_them_are_read(tmp_path):
    turn = [("role", pa.string()), ("content", pa.string()), ("at", pa.timestamp("s", "No/Where"))]
    said = [
        {"role": "user", "content": "Why?", "at": FAR_AWAY},
        {"role": "assistant", "content": "So.", "at": None},
    ]
    rows = pa.table({"messages": pa.array([said, said], pa.list_(pa.struct(turn)))})
    pq.write_table(rows, tmp_path / "a.parquet")
    batch = read(tmp_path / "a.parquet", format="messages", text_column="messages")
    assert texts(batch) == ["Why?\n\nSo."] * 2
    assert set(batch.odd) == {("messages", FAR), ("messages", UNKNOWN_ZONE)}


def test_old_times_of_spark_keep_their_year(tmp_path):
    path = tmp_path / "a.parquet"
    far = pa.array([FAR_AWAY - 1, 0], pa.timestamp("s"))
    pq.write_table(
        pa.table({"text": ["one", "two"], "at": far.cast(pa.timestamp("us"))}),
        path,
        use_deprecated_int96_timestamps=True,
    )
    batch = read(path)
    assert json.loads(batch.documents["metadata"][0]) == {"at": "9999-12-31T23:59:59"}
    assert read_heading(heading_of(path, corpus())).types["at"] == pa.timestamp("us")


def test_an_object_that_names_a_key_twice_is_a_defect(tmp_path):
    lines = [
        '{"text": "one", "text": "two"}',
        '{"text": "x", "n": {"k": 1, "k": 1}}',
        '{"text": "good", "n": 1}',
    ]
    for name, data in (("a.jsonl", "\n".join(lines)), ("a.json", f"[{', '.join(lines)}]")):
        batch = read(written(tmp_path, name, data))
        assert texts(batch) == ["good"]
        assert faults(batch) == [(0, "malformed_row"), (1, "malformed_row")]
        assert batch.quarantine["detail"].to_list() == [
            f"an object has the key {key!r} twice; remove all but one" for key in ("text", "k")
        ]
    turns = json.dumps('[{"role": "user", "role": "user", "content": "a"}]')
    batch = read(
        written(tmp_path, "b.jsonl", f'{{"messages": {turns}}}'), format="messages", text_column="messages"
    )
    assert "the key 'role' twice" in batch.quarantine["detail"][0]


def test_a_number_beyond_all_floats_is_null_and_counted(tmp_path):
    row = '{"text": "one", "n": 1e400, "v": [1.5, -1e999], "m": {"k": 1e309}, "l": [[1e999, 2]], %s}'
    batch = read(written(tmp_path, "a.jsonl", row % f'"i": Infinity, "big": 1{"0" * 400}'))
    kept = json.loads(batch.documents["content"][0])
    assert kept == {
        "n": None,
        "v": [1.5, None],
        "m": {"k": None},
        "l": [[None, 2]],
        "i": float("inf"),
        "big": 10**400,
    }
    assert batch.odd == {(name, TOO_LARGE): 1 for name in "nvml"}


def test_half_a_character_is_replaced_and_counted(tmp_path):
    row = '{"text": "one", "half": ["\\ud800x"], "whole": "\\ud83d\\ude00"}'
    batch = read(written(tmp_path, "a.jsonl", row))
    assert json.loads(batch.documents["content"][0]) == {"half": ["\ufffdx"], "whole": "\U0001f600"}
    assert batch.odd == {("half", HALF): 1}


def test_what_could_not_be_kept_is_said_by_corpus_and_column(tmp_path):
    store = Store(tmp_path / "lance")
    for number in range(5):
        column = pa.array([4_000_000 + number, 0, None] * 1_000, pa.date32())
        rows = [f"text {number} {row}" for row in range(3_000)]
        path = tmp_path / f"odd{number}.parquet"
        pq.write_table(pa.table({"text": rows, "at": column if number else pa.array([0] * 3_000)}), path)
        shard = Shard(corpus="web", name=path.name, key=f"web__{path.name}", kind="file", path=path)
        ((came,),) = store_shards(store, [(shard.key, read_shard(shard, corpus(), batch_rows=500))])
        assert came.metadata().get("odd_values", 0) == (1_000 if number else 0)
    assert list(odd_value_lines(store)) == [
        f"corpus web: column at of odd1.parquet, odd2.parquet, odd3.parquet and 1 more: 4,000 values {FAR}"
    ]
