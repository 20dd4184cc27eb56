"""Shards of every format give the same documents, in batches of any size."""

import json

import polars as pl
import pytest
from shard_files import PACK, ROWS, WRITERS, corpus, faults, read, texts, written

from tamis.corpus import Shard, document_id, read_shard
from tamis.corpus.documents import (
    DOCUMENT_SCHEMA,
    METADATA_CHARACTERS,
    Reading,
    all_documents,
    batches_of,
    short_metadata,
)
from tamis.readers.rows import Row

# Parquet is compressed inside, so it is never packed again.
FORMATS = [(name, packed) for name in WRITERS for packed in PACK if name != ".parquet" or not packed]


@pytest.mark.parametrize(("extension", "compression"), FORMATS)
def test_every_format_gives_the_same_documents(tmp_path, extension, compression):
    path = written(tmp_path, f"part{extension}{compression}", PACK[compression](WRITERS[extension](ROWS)))
    batch = read(path, licence="CC0", language="en")
    assert faults(batch) == []
    assert dict(batch.documents.schema) == DOCUMENT_SCHEMA
    assert batch.documents["doc_id"].to_list() == [document_id(row["text"]) for row in ROWS]
    assert batch.documents["row"].to_list() == list(range(len(ROWS)))
    assert batch.documents.select(pl.col("text").str.len_chars() == pl.col("n_chars")).to_series().all()
    assert batch.documents.select(pl.col("text").str.len_bytes() == pl.col("n_bytes")).to_series().all()
    assert [json.loads(entry) for entry in batch.documents["metadata"]] == [
        {"url": row["url"]} for row in ROWS
    ]
    assert batch.documents.select("language", "licence", "source").unique().rows() == [
        ("en", "CC0", path.name)
    ]


@pytest.mark.parametrize("name", ["a.txt", "a.md", "A.TXT.gz", "a.txt.zst"])
def test_a_text_file_is_one_document(tmp_path, name):
    pack = PACK["." + name.rpartition(".")[2]] if name.endswith(("gz", "zst")) else PACK[""]
    batch = read(written(tmp_path, name, pack(b"\xef\xbb\xbf# Title\r\n\r\nBody \n")))
    assert texts(batch) == ["# Title\n\nBody"]
    assert faults(batch) == []


def test_own_columns_of_a_row_are_used(tmp_path):
    row = {
        "body": "x",
        "language": "de",
        "license": "MIT",
        "source": "page 3",
        "b": 1,
        "a": [None, {"c": 2.5}],
    }
    batch = read(
        written(tmp_path, "a.jsonl", json.dumps(row)), text_column="body", licence="CC0", language="en"
    )
    assert batch.documents.select("language", "licence", "source").row(0) == ("de", "MIT", "page 3")
    assert batch.documents["metadata"][0] == '{"a": "[null, {\\"c\\": 2.5}]", "b": 1}'


@pytest.mark.parametrize("column", ["text", "source", "language", "licence"])
def test_rows_of_a_text_alone_have_the_labels_of_rows_with_another_column(tmp_path, column):
    alone = read(written(tmp_path, "a.jsonl", json.dumps({column: "A text."})), text_column=column)
    more = read(written(tmp_path, "a.jsonl", json.dumps({column: "A text.", "n": 1})), text_column=column)
    assert alone.documents.drop("metadata", "content").equals(more.documents.drop("metadata", "content"))
    assert alone.documents["metadata"].to_list() == ["{}"]
    assert more.documents["metadata"].to_list() == ['{"n": 1}']


def test_metadata_stays_short_and_valid():
    values = {f"column {number:04}": "x\ud800" * 500 for number in range(100)} | {"aa": float("nan"), "ab": 1}
    metadata = short_metadata(values, values)
    assert len(metadata) < METADATA_CHARACTERS + 100
    parsed = json.loads(metadata)
    assert parsed["aa"] == "nan"
    assert len(parsed) - 1 + int(parsed["..."].split()[0]) == len(values)
    metadata.encode()


def test_json_of_other_shapes(tmp_path):
    assert texts(read(written(tmp_path, "strings.json", '["one", "two", ""]'))) == ["one", "two"]
    assert texts(read(written(tmp_path, "object.json", ' {"text": "one"} '))) == ["one"]
    assert texts(read(written(tmp_path, "lines.json", '{"text": "one"}\n{"text": "two"}\n'))) == [
        "one",
        "two",
    ]
    empty = read(written(tmp_path, "empty.json", "[ ]"))
    assert (texts(empty), faults(empty)) == ([], [])


def test_repeated_texts_are_occurrences_of_one_document(tmp_path):
    batch = read(written(tmp_path, "a.jsonl", '{"text": "same "}\n{"text": "same"}\n'))
    assert batch.documents["doc_id"].n_unique() == 1
    assert batch.documents["row"].to_list() == [0, 1]


def test_short_texts_are_skipped_and_counted(tmp_path):
    batch = read(written(tmp_path, "a.jsonl", '{"text": "abc"}\n{"text": "ab "}\n'), minimum_characters=3)
    assert (texts(batch), batch.skipped, faults(batch)) == (["abc"], 1, [])


@pytest.mark.parametrize("batch_rows", [1, 3, 1000])
def test_batches_hold_every_row_once_and_progress_adds_up(tmp_path, batch_rows):
    rows = [json.dumps({"text": f"row {number}"}) if number % 5 else "{" for number in range(450)]
    path = written(tmp_path, "a.jsonl", "\n".join(rows))
    shard = Shard(corpus="web", name="a", key="web__a", kind="file", path=path)
    done = []
    batches = list(read_shard(shard, corpus(), batch_rows=batch_rows, advance=done.append))
    assert all(len(batch.documents) + len(batch.quarantine) <= batch_rows for batch in batches)
    whole = all_documents(batches)
    assert whole.documents["row"].to_list() == [number for number in range(450) if number % 5]
    assert whole.quarantine["row"].to_list() == list(range(0, 450, 5))
    assert sum(done) == 450


@pytest.mark.parametrize("batch_rows", [2, 100])
def test_a_reader_that_fails_keeps_the_rows_that_it_has_read(tmp_path, batch_rows):
    def items():
        yield from (Row(row=number, values={"text": f"document {number}"}) for number in range(3))
        raise IndexError("a mistake of the reader")

    shard = Shard(corpus="web", name="a.x", key="web__a.x", kind="file", path=tmp_path / "a.x")
    batch = all_documents(batches_of(items(), shard, corpus(), Reading(batch_rows=batch_rows)))
    assert batch.documents["row"].to_list() == [0, 1, 2]
    (fault,) = batch.quarantine.iter_rows(named=True)
    assert (fault["row"], fault["reason"]) == (-1, "unreadable")
    assert "IndexError: a mistake of the reader" in fault["detail"]
