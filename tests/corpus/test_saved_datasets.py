"""Folders of Hugging Face `datasets`: `saved_dataset/` was written by version 5.2.0; and their faults."""

import io
import json
import shutil
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from shard_files import faults, read, texts, written

from tamis.corpus import ListingError, fingerprint_shard, list_shards
from tamis.readers.streams import rows_told
from tamis.settings.config import CorpusSection

SAVED = Path(__file__).with_name("saved_dataset")
PART = "train/data-00000-of-00002.arrow"


@pytest.fixture
def saved(tmp_path) -> Path:
    shutil.copytree(SAVED, tmp_path / "saved")
    return tmp_path / "saved"


def shards(folder: Path, **keys):
    return list_shards(CorpusSection(name="hf", kind="datasets", path=str(folder), **keys), folder.parent)


def test_every_data_file_is_a_shard_and_its_rows_are_read(saved):
    found = shards(saved)
    assert [shard.name for shard in found] == [
        "test/data-00000-of-00001.arrow",
        PART,
        "train/data-00001-of-00002.arrow",
    ]
    batch = read(found[1].path)
    assert texts(batch) == [f"Training text number {number}, é." for number in range(3)]
    assert batch.documents["licence"].to_list() == ["cc0"] * 3
    assert json.loads(batch.documents["metadata"][1]) == {"n": 1}, "nested columns are not read"
    assert faults(read(found[0].path)) == [(1, "empty_text"), (2, "empty_text")]


def test_splits_and_globs_choose(saved):
    assert [shard.name for shard in shards(saved, splits=["test"])] == ["test/data-00000-of-00001.arrow"]
    assert [shard.name for shard in shards(saved, exclude=["*/data-00000*"])] == [
        "train/data-00001-of-00002.arrow"
    ]
    with pytest.raises(ListingError, match=r"no split 'validation'; valid splits: train, test"):
        shards(saved, splits=["validation"])


def test_one_split_saved_alone_has_no_splits(saved):
    assert len(shards(saved / "train")) == 2
    with pytest.raises(ListingError, match="remove the setting splits"):
        shards(saved / "train", splits=["train"])


def test_a_change_of_bytes_is_seen_and_what_an_earlier_save_left_is_not_part_of_it(saved):
    before = {shard.key: fingerprint_shard(shard) for shard in shards(saved)}
    shutil.copy(saved / PART, saved / "train" / "data-00002-of-00003.arrow")
    assert {shard.key: fingerprint_shard(shard) for shard in shards(saved)} == before
    shutil.copy(saved / "train" / "data-00001-of-00002.arrow", saved / PART)
    after = {shard.key: fingerprint_shard(shard) for shard in shards(saved)}
    assert {key for key in before if after[key] != before[key]} == {shards(saved)[1].key}


@pytest.mark.parametrize("name", ["train/state.json", PART, "dataset_dict.json"])
def test_a_folder_that_is_not_whole_is_never_taken_for_a_smaller_one(saved, name):
    (saved / name).unlink()
    with pytest.raises(ListingError, match="is missing"):
        shards(saved)


def test_a_part_that_is_a_link_out_of_the_folder_is_an_error_unless_links_are_followed(saved, tmp_path):
    (saved / PART).rename(tmp_path / "part.arrow")
    (saved / PART).symlink_to(tmp_path / "part.arrow")
    with pytest.raises(ListingError, match="leads out of the dataset's folder, and follow_links is not true"):
        shards(saved)
    assert len(shards(saved, follow_links=True)) == 3


def test_a_state_that_cannot_be_read_is_named(saved):
    (saved / "train" / "state.json").write_text("{")
    with pytest.raises(ListingError, match=r"state\.json.*cannot be read"):
        shards(saved)
    (saved / "train" / "state.json").write_text("{}")
    with pytest.raises(ListingError, match="lists no data files"):
        shards(saved)


def stream(batches: int, rows: int = 4, new=pa.ipc.new_stream) -> bytes:
    sink = io.BytesIO()
    schema = pa.schema([("text", pa.string())])
    with new(sink, schema) as writer:
        for number in range(batches):
            column = pa.array([f"batch {number} row {row}" for row in range(rows)])
            writer.write_batch(pa.record_batch([column], schema))
    return sink.getvalue()


def test_rows_before_a_break_are_kept_wherever_it_is(tmp_path):
    whole = stream(3)
    assert len(texts(read(written(tmp_path, "whole.arrow", whole)))) == 12
    for cut in range(len(whole) - 1, len(stream(0)), -7):
        batch = read(written(tmp_path, "cut.arrow", whole[:cut]))
        kept = texts(batch)
        assert len(kept) in (0, 4, 8, 12)
        reason = "malformed_file" if not kept and faults(batch)[0][0] == -1 else "broken_compression"
        assert faults(batch) == [(len(kept) if reason != "malformed_file" else -1, reason)], cut


def test_a_break_between_two_batches_does_not_pass_for_the_end(tmp_path):
    whole, end = stream(3), len(stream(2)) - 8
    batch = read(written(tmp_path, "cut.arrow", whole[:end]))
    assert len(texts(batch)) == 8
    assert faults(batch) == [(8, "broken_compression")]


def test_the_random_access_format_is_read_too(tmp_path):
    assert len(texts(read(written(tmp_path, "a.arrow", stream(2, new=pa.ipc.new_file))))) == 8


@pytest.mark.parametrize("compression", ["uncompressed", "lz4", "zstd"])
def test_what_polars_writes_is_read(tmp_path, compression):
    path = tmp_path / "a.arrow"
    pl.DataFrame({"text": ["one", "two"], "n": [1, 2]}).write_ipc(path, compression=compression)
    batch = read(path)
    assert (texts(batch), faults(batch)) == (["one", "two"], [])
    assert faults(read(path, text_column="body")) == [(-1, "missing_text_column")]
    assert rows_told(path) == 2


def test_a_file_with_random_access_that_was_cut_off_does_not_pass_for_a_shorter_one(tmp_path):
    whole = stream(3, new=pa.ipc.new_file)
    for cut in range(len(whole) - 1, 400, -57):
        batch = read(written(tmp_path, "cut.arrow", whole[:cut]))
        kept = texts(batch)
        assert len(kept) in (0, 4, 8, 12)
        assert faults(batch) == [(len(kept), "broken_compression")], cut


@pytest.mark.parametrize(
    ("data", "expected"),
    [(b"", "empty_file"), (b"no arrow at all", "malformed_file"), (stream(0), None)],
)
def test_files_without_rows(tmp_path, data, expected):
    found = faults(read(written(tmp_path, "x.arrow", data)))
    assert found == ([(-1, expected)] if expected else [])


def test_a_missing_column_and_broken_text_cost_what_they_must(tmp_path):
    path = written(tmp_path, "x.arrow", stream(1))
    assert faults(read(path, text_column="body")) == [(-1, "missing_text_column")]
    binary = pa.array([b"good", b"\xff\xfe bad", b"fine"], pa.binary())
    column = pa.StringArray.from_buffers(3, *binary.buffers()[1:])
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, pa.schema([("text", pa.string())])) as writer:
        writer.write_batch(pa.record_batch([column], names=["text"]))
    batch = read(written(tmp_path, "bad.arrow", sink.getvalue()))
    assert texts(batch) == ["good", "fine"]
    assert faults(batch) == [(1, "wrong_encoding")]
