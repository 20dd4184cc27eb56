"""Rows that a file loses: as its reader, its footer, its lines or its last reading tell, else one."""

import gzip
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shard_files import PACK, WRITERS, corpus, read, texts, written

from tamis.corpus import Shard, documents, read_shard
from tamis.corpus.intake import ShardShrunkError, store_shards
from tamis.corpus.quarantine import rows_before
from tamis.readers.streams import rows_told, rows_told_apart
from tamis.store.tables import Store

ROWS = [{"body": f"row {number}", "n": number} for number in range(2_000)]


def lost(batch) -> list[int | None]:
    return batch.quarantine["rows_lost"].to_list()


def as_arrow(rows, file=False) -> bytes:
    table, sink = pa.Table.from_pylist(rows), io.BytesIO()
    with (pa.ipc.new_file if file else pa.ipc.new_stream)(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=300)
    return sink.getvalue()


PACKED = [(ending, packing) for ending in WRITERS if ending != ".parquet" for packing in PACK]


@pytest.mark.parametrize(("ending", "packing"), [*PACKED, (".parquet", ""), (".arrow", "")])
def test_a_file_without_the_text_column_counts_as_its_rows(tmp_path, ending, packing):
    data = as_arrow(ROWS) if ending == ".arrow" else WRITERS[ending](ROWS)
    batch = read(written(tmp_path, f"a{ending}{packing}", PACK[packing](data)))
    assert lost(batch) == [2_000]
    assert "no column 'text' in any of its 2,000 rows" in batch.quarantine["detail"][0]


def test_quoted_records_are_counted_and_not_their_lines(tmp_path):
    path = written(tmp_path, "a.csv", "Nr;Text\n" + '1;"two\nlines; of one ""record"""\n' * 50)
    assert lost(read(path)) == [50]


@pytest.mark.parametrize(
    ("name", "data", "rows"),
    [
        ("a.parquet", WRITERS[".parquet"]([{"text": n} for n in range(30)]), 30),
        ("a.arrow", as_arrow([{"text": n} for n in range(30)], file=True), 30),
        ("a.jsonl", WRITERS[".jsonl"]([{"text": [1]}] * 30), 30),
        ("a.csv", "text,id,id\n" + "x,1,2\n" * 30, 30),
        ("a.jsonl", ('{"text": "x"}\n' * 30).encode("utf-16"), 30),
        ("a.jsonl", ('{"text": "x"}\n' * 30).encode("utf-16-be"), 30),
        ("a.csv", ("text;id\r\n" + "x;\u0a0a\r\n" * 30).encode("utf-16-le"), 30),
        ("a.csv", "id,text\r" + "1,good\r" * 30, 30),
        ("a.csv", 'id,"te"xt\n' + "1,good\n" * 30, 30),
        ("a.txt", "a text".encode("utf-16"), 1),
        ("a.pdf", b"%PDF\n\n\n", 1),
        ("a.parquet", b"PAR1\0 but not really PAR1", None),
        ("a.jsonl.gz", b"not\0gzip", None),
        ("a.jsonl", WRITERS[".parquet"]([{"text": "x"}] * 30), 30),
        ("a.tsv.gz", WRITERS[".parquet"]([{"text": "x\n"}] * 30), 30),
        ("a.arrow", WRITERS[".parquet"]([{"text": "x"}] * 30), 30),
        ("a.csv", as_arrow([{"text": "x\n"}] * 30), 30),
        ("a.parquet", as_arrow([{"text": "x"}] * 30, file=True), 30),
        ("a.parquet", b'{"text": "x"}\n' * 30, 30),
        ("a.arrow", b"id,text\n1,good\n", 2),
        ("a.feather", as_arrow([{"text": "x"}] * 30, file=True), 30),
        ("a.pq", WRITERS[".parquet"]([{"text": "x"}] * 30), 30),
        ("LICENSE", b"line\n" * 30, 1),
        ("a.csv", b"PK\3\4\x14\0\n\n\n", None),
        ("a.jsonl.gz", gzip.compress(WRITERS[".parquet"]([{"text": "x"}] * 30)), None),
        ("a.jsonl", b"", 1),
    ],
    ids=[
        "numbers",
        "numbers of an Arrow file",
        "lists",
        "columns of one name",
        "UTF-16",
        "UTF-16 without a mark",
        "letters like line ends",
        "carriage returns",
        "a stray quote in the header",
        "one text",
        "no format",
        "no footer",
        "no gzip",
        "Parquet as JSON lines",
        "Parquet as packed TSV",
        "Parquet as Arrow",
        "Arrow as CSV",
        "Arrow as Parquet",
        "JSON lines as Parquet",
        "CSV as Arrow",
        "Arrow by another ending",
        "Parquet by another ending",
        "a text without ending",
        "zip as CSV",
        "packed Parquet",
        "nothing",
    ],
)
def test_a_file_that_cannot_be_read_counts_as_its_rows(tmp_path, name, data, rows):
    batch = read(written(tmp_path, name, data))
    assert (texts(batch), batch.quarantine["row"].to_list(), lost(batch)) == ([], [-1], [rows])


INSIDE = [{"text": f"row {number}", "n": number} for number in range(30)]
BY_COLUMN = {name: [row[name] for row in INSIDE] for name in ("text", "n")}
BY_INDEX = {str(number): row for number, row in enumerate(INSIDE)}
SPLIT = {"columns": ["text", "n"], "index": [*range(30)], "data": [[*row.values()] for row in INSIDE]}
NUMBERED = {name: {str(place): value for place, value in enumerate(BY_COLUMN[name])} for name in BY_COLUMN}


@pytest.mark.parametrize("ending", [".json", ".jsonl", ".json.gz"])
@pytest.mark.parametrize(
    "whole",
    [{"version": 1, "data": INSIDE}, BY_COLUMN, BY_INDEX, SPLIT, NUMBERED],
    ids=lambda one: str([*one])[:20],
)
def test_a_file_that_is_one_object_counts_as_the_rows_in_it(tmp_path, ending, whole):
    data = json.dumps(whole).encode()
    batch = read(written(tmp_path, f"a{ending}", gzip.compress(data) if ending.endswith(".gz") else data))
    assert lost(batch) == [30]
    assert batch.quarantine["detail"][0].startswith("the file is one object")


@pytest.mark.parametrize(
    ("row", "keys"),
    [
        ({"text": "one", "tags": [{"a": 1}, {"a": 2}]}, {}),
        ({"doc": {"body": "one"}, "tags": [{"a": 1}, {"a": 2}]}, {"text_column": "doc.body"}),
        ({"body": "one and two", "tags": [{"a": 1}, {"a": 2}]}, {"text_column": "auto"}),
        ({"messages": [{"role": "assistant", "content": "one"}] * 2}, {"format": "messages"}),
    ],
)
def test_an_object_that_is_a_row_is_read(tmp_path, row, keys):
    batch = read(written(tmp_path, "a.json", json.dumps(row)), **keys)
    assert (len(texts(batch)), lost(batch)) == (1, [])


def test_a_corrupt_row_group_counts_as_its_rows(tmp_path):
    path = tmp_path / "a.parquet"
    table = pa.table({"text": [f"row {number}" for number in range(300)]})
    pq.write_table(table, path, row_group_size=100, compression="zstd", use_dictionary=False)
    column = pq.ParquetFile(path).metadata.row_group(1).column(0)
    data = bytearray(path.read_bytes())
    start = column.data_page_offset
    data[start : start + column.total_compressed_size] = bytes(column.total_compressed_size)
    path.write_bytes(bytes(data))
    assert lost(read(path)) == [100]


def test_a_row_counts_as_one_and_a_break_as_unknown(tmp_path):
    data = gzip.compress(b'{"text": "one"}\n{broken\n{"text": "two"}\n' + b'{"text": "three"}\n' * 9_000)
    batch = read(written(tmp_path, "a.jsonl.gz", data[:-20]))
    assert lost(batch) == [1, None]


def test_what_a_reader_fails_on_counts_as_the_rows_that_are_left(tmp_path, monkeypatch):
    class Failing(documents._Checks):
        def apply(self, item):
            if item.row == 5:
                raise ZeroDivisionError
            return super().apply(item)

    monkeypatch.setattr(documents, "_Checks", Failing)
    batch = read(written(tmp_path, "a.jsonl", WRITERS[".jsonl"]([{"text": f"row {n}"} for n in range(20)])))
    assert (len(batch.documents), lost(batch)) == (5, [15])


def test_a_file_that_may_not_be_opened_counts_as_its_last_reading(tmp_path):
    (tmp_path / "a.jsonl").mkdir()
    assert lost(read(tmp_path / "a.jsonl")) == [None]


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".tsv", ".parquet", ".arrow"])
def test_a_process_of_its_own_tells_the_same(tmp_path, ending):
    data = as_arrow(ROWS[:7]) if ending == ".arrow" else WRITERS[ending](ROWS[:7])
    path = written(tmp_path, f"a{ending}", data)
    assert rows_told(path) == 7
    if ending == ".parquet":
        assert rows_told_apart(path) == 7
        assert rows_told_apart(tmp_path / "none.parquet") is None


# The last reading.


def shard(path) -> Shard:
    return Shard(corpus="web", name=path.name, key=f"web__{path.name}", kind="file", path=path)


def taken_in(store, path, **values):
    (found,) = next(store_shards(store, [(shard(path).key, read_shard(shard(path), corpus(**values)))]))
    return found


def test_what_no_reader_counts_stands_for_the_rows_of_the_last_reading(tmp_path):
    store = Store(tmp_path / "store")
    whole = gzip.compress(WRITERS[".jsonl"]([{"text": f"row {n} {'x' * (n % 50)}"} for n in range(4_000)]))
    path = written(tmp_path, "a.jsonl.gz", whole)
    taken_in(store, path)
    digests = []
    for _time in range(2):  # and the second reading of the same bytes knows it still
        path.write_bytes(whole[: len(whole) // 2])
        found = taken_in(store, path)
        bad = store.read("quarantine", ["reason", "rows_lost"]).rows()
        assert bad == [("broken_compression", 4_000 - found.occurrences)]
        assert found.quarantined == {"broken_compression": 4_000 - found.occurrences}
        digests.append(found.records["quarantine"][0])
    for data in (b"neither\0gzip nor text", b"PK\3\4\x14\0, an archive"):
        path.write_bytes(data)
        taken_in(store, path)
        assert store.read("quarantine", ["row", "rows_lost"]).rows() == [(-1, 4_000)]
    fresh = Store(tmp_path / "fresh")
    path.write_bytes(whole[: len(whole) // 2])
    digests.append(taken_in(fresh, path).records["quarantine"][0])
    assert fresh.read("quarantine", ["rows_lost"])["rows_lost"].to_list() == [None]
    assert len(set(digests)) == 1, "a file has the same version whatever it held before"


def test_a_file_that_shrank_counts_its_bad_rows(tmp_path):
    store = Store(tmp_path / "store")
    path = written(tmp_path, "a.jsonl", WRITERS[".jsonl"]([{"text": f"row {n}"} for n in range(60)]))
    taken_in(store, path)
    path.write_bytes(WRITERS[".jsonl"](ROWS[:60]))
    rows = [(shard(path).key, read_shard(shard(path), corpus()))]
    ((found,),) = store_shards(store, rows, leave=(ShardShrunkError,), too_few=lambda *_counts: True)
    assert found.error.bad_rows == {"missing_text_column": 60}


def test_a_home_from_before_the_count_is_read(tmp_path):
    """A table without the column has a null in its place, which is at least one row."""
    store = Store(tmp_path)
    old = pa.table(
        {"shard": ["web__a.jsonl"], "row": [-1], "reason": ["unreadable"], "detail": [""], "excerpt": [""]}
    )
    store._connect().create_table("quarantine", old)
    assert rows_before(store) == {"web__a.jsonl": 1}
    path = written(tmp_path, "b.jsonl", WRITERS[".jsonl"](ROWS[:3]))
    taken_in(store, path)
    assert store.read("quarantine", ["shard", "rows_lost"]).sort("shard").rows() == [
        ("web__a.jsonl", None),
        ("web__b.jsonl", 3),
    ]
    store.check_columns("quarantine")
