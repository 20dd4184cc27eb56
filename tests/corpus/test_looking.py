"""A look at the beginning of a file tells what reading all of it would, in little time whatever its size."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shard_files import PACK, WRITERS, corpus, read, written

from tamis.corpus import Shard
from tamis.corpus.looking import Estimate, estimate_rows, is_looked_at, look_at, places_at_first

ROWS = [{"text": f"text {number}", "n": number} for number in range(5_000)]
LACKING = [{"body": f"A text of several words, number {number}"} for number in range(5_000)]


def shard(path) -> Shard:
    return Shard(corpus="web", name=path.name, key=f"web__{path.name}", kind="file", path=path)


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize("ending", WRITERS)
def test_a_file_that_lacks_the_column_is_seen_and_another_is_not(tmp_path, ending, packing):
    packing = "" if ending == ".parquet" else packing
    path = written(tmp_path, f"a{ending}{packing}", PACK[packing](WRITERS[ending](ROWS)))
    assert look_at(shard(path), corpus()) is None
    path.write_bytes(PACK[packing](WRITERS[ending](LACKING)))
    found = look_at(shard(path), corpus())
    assert (found.row, found.reason) == (-1, "missing_text_column")
    assert list(found.sample) == ["body"]
    assert look_at(shard(path), corpus(text_column="auto")) is None
    assert estimate_rows(shard(path), corpus(), 1 << 23) == Estimate(rows=5_000, exact=True)


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv"])
def test_the_rows_of_a_large_file_are_estimated(tmp_path, ending, packing):
    rows = [{"text": f"text {number} " + "words " * (number % 9)} for number in range(60_000)]
    path = written(tmp_path, f"a{ending}{packing}", PACK[packing](WRITERS[ending](rows)))
    found = estimate_rows(shard(path), corpus(), 1 << 20)
    assert not found.exact
    assert 30_000 < found.rows < 90_000


@pytest.mark.parametrize(
    "data",
    [b"", b"not gzip", b"\xff\xfe{\0", b'{"text": "' + b"x" * 200_000 + b'"}\n', b'{"text": ""}\n' * 30],
    ids=["empty", "no JSON", "UTF-16", "a row that is longer than the look", "empty texts first"],
)
def test_a_look_finds_no_more_than_reading_does(tmp_path, data):
    path = written(
        tmp_path, "a.jsonl", data + b'{"text": "at the end"}\n' * (not data.startswith((b"\xff", b""[:1])))
    )
    nothing = not len(read(path).documents)
    assert nothing or look_at(shard(path), corpus()) is None


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.json", "a.tsv.gz", "a.arrow"])
@pytest.mark.parametrize("rows", [3, 20_000])
def test_another_format_is_seen_with_its_rows(tmp_path, name, rows):
    data = WRITERS[".parquet"]([{"text": f"row {number}"} for number in range(rows)])
    path = written(tmp_path, name, data)
    found = look_at(shard(path), corpus())
    assert (found.row, found.reason) == (-1, "malformed_file")
    assert "the file is Parquet" in found.detail
    assert estimate_rows(shard(path), corpus(), 1 << 10) == Estimate(rows=rows, exact=True)


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst"])
def test_a_row_that_is_longer_than_the_look_is_no_defect(tmp_path, name, packing):
    data = PACK[packing](b'{"text": "' + b"x" * 200_000 + b'"}\n')
    assert look_at(shard(written(tmp_path, name, data)), corpus()) is None


@pytest.mark.parametrize(("ending", "delimiter"), [(".csv", "\t"), (".tsv", ";"), (".tsv", "\t")])
def test_quotation_marks_are_read_as_in_the_whole_file(tmp_path, ending, delimiter):
    rows = [delimiter.join([str(number), f"a text, number {number}"]) for number in range(9)]
    rows[3] = delimiter.join(["3", '"opens here'])
    path = written(tmp_path, f"a{ending}", "\n".join([delimiter.join(["id", "text"]), *rows]))
    assert look_at(shard(path), corpus()) is None
    assert estimate_rows(shard(path), corpus(), 1 << 20) == Estimate(rows=9, exact=True)


def test_the_whole_of_a_row_group_is_not_read(tmp_path, monkeypatch):
    table = pa.table({"text": ["a", "b"], "vector": [[0.5], [1.5]]})
    pq.write_table(table, tmp_path / "a.parquet")

    def fails(*_args, **_options):
        raise AssertionError

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", fails)
    assert look_at(shard(tmp_path / "a.parquet"), corpus()) is None


@pytest.mark.parametrize("kind", [pa.int64(), pa.bool_(), pa.list_(pa.string()), pa.binary()], ids=str)
def test_a_column_of_another_type_holds_no_texts(tmp_path, kind):
    pq.write_table(pa.table({"text": pa.nulls(3, kind)}), tmp_path / "a.parquet")
    found = look_at(shard(tmp_path / "a.parquet"), corpus())
    assert found.reason == "non_text"
    assert found.detail.startswith(f"the text is of type {str(kind)[:4]}")
    messages = corpus(format="messages", text_column="text")
    assert (look_at(shard(tmp_path / "a.parquet"), messages) is None) == pa.types.is_list(kind)


def test_texts_and_remote_files_are_not_looked_at(tmp_path):
    assert [is_looked_at(shard(tmp_path / name)) for name in ("a.txt", "b.MD.gz", "c.png")] == [False] * 3
    assert estimate_rows(shard(tmp_path / "a.txt"), corpus(), 1) == Estimate(rows=1, exact=True)
    assert estimate_rows(shard(tmp_path / "a.png"), corpus(), 1) is None


def test_the_columns_that_the_first_rows_take_their_texts_from(tmp_path):
    lines = [json.dumps(row) for row in ({"text": "a"}, {"content": "b"}, {"other": 1})]
    path = written(tmp_path, "a.jsonl", "\n".join(lines) + "\n")
    assert places_at_first(shard(path), corpus(text_column=["text", "content"])) == ["text", "content"]
    pq.write_table(pa.table({"content": ["a"], "n": [1]}), tmp_path / "a.parquet")
    assert places_at_first(shard(tmp_path / "a.parquet"), corpus(text_column=["x", "content"])) == ["content"]
    assert places_at_first(shard(tmp_path / "a.txt"), corpus(text_column="auto")) == []
