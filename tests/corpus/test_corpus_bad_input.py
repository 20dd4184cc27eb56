"""Bad input is named by row and reason, and nothing valid next to it is lost."""

import gzip
import json
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from shard_files import PACK, ROWS, WRITERS, as_parquet, corpus, faults, read, texts, written

from tamis.corpus import Reason, Shard, ShardGoneError, read_shard
from tamis.readers.rows import QUARANTINE_SCHEMA, RETURNS_ALONE

BAD_LINES = {
    b'{"text": "caf\xe9"}': Reason.WRONG_ENCODING,
    b'{"text": "half': Reason.MALFORMED_ROW,
    b"[1, 2]": Reason.MALFORMED_ROW,
    b"[" * 100_000: Reason.MALFORMED_ROW,
    b'{"text": ' + b"9" * 5_000 + b"}": Reason.MALFORMED_ROW,
    b'{"body": "x"}': Reason.MISSING_TEXT_COLUMN,
    b'{"text": " \\n\\u00a0"}': Reason.EMPTY_TEXT,
    b'{"text": null}': Reason.EMPTY_TEXT,
    b'{"text": " \\u0000\\u0000"}': Reason.EMPTY_TEXT,
    b'{"text": 5}': Reason.NON_TEXT,
    b'{"text": "' + b"x" * 200_000 + b'"}': Reason.GIANT_ROW,
}


@given(st.lists(st.sampled_from([*BAD_LINES, b'{"text": "good"}', b"", b'{"text": "\\ud800"}']), max_size=12))
@settings(deadline=None, max_examples=25)
def test_bad_lines_cost_only_themselves(tmp_path_factory, lines):
    lines = [b'{"text": "first"}', *lines]
    path = written(tmp_path_factory.mktemp("bad"), "a.jsonl", b"\n".join(lines))
    batch = read(path, maximum_row_bytes=150_000)
    assert faults(batch) == [(row, BAD_LINES[line]) for row, line in enumerate(lines) if line in BAD_LINES]
    assert batch.documents["row"].to_list() == [
        row for row, line in enumerate(lines) if line and line not in BAD_LINES
    ]
    assert dict(batch.quarantine.schema) == QUARANTINE_SCHEMA
    assert all(len(entry) <= 200 and entry.isprintable() for entry in batch.quarantine["excerpt"])


BAD_ELEMENTS = {
    '{"text": bad}': Reason.MALFORMED_ROW,
    '{"text": "x",}': Reason.MALFORMED_ROW,
    "5": Reason.MALFORMED_ROW,
    '{"body": "x"}': Reason.MISSING_TEXT_COLUMN,
    '{"text": "caf\udce9"}': Reason.WRONG_ENCODING,
    '{"text": "' + "x" * 2_000_000 + '"}': Reason.GIANT_ROW,
}


@given(st.lists(st.sampled_from([*BAD_ELEMENTS, '{"text": "good"}', '"a string"']), max_size=8))
@settings(deadline=None, max_examples=25)
def test_bad_elements_of_an_array_cost_only_themselves(tmp_path_factory, elements):
    elements = ['{"text": "first"}', *elements]
    # Reading goes on at the next object, so a broken element is followed by one.
    spaced = [part for element in elements for part in (element, '{"text": "between"}')]
    data = f"[{', '.join(spaced)}]".encode("utf-8", "surrogateescape")
    batch = read(written(tmp_path_factory.mktemp("bad"), "a.json", data), maximum_row_bytes=150_000)
    assert faults(batch) == [
        (row, BAD_ELEMENTS[part]) for row, part in enumerate(spaced) if part in BAD_ELEMENTS
    ]
    assert batch.documents["row"].to_list() == [
        row for row, part in enumerate(spaced) if part not in BAD_ELEMENTS
    ]


def test_bad_rows_of_csv_cost_only_themselves(tmp_path):
    lines = [
        b"id,text,note",
        b"0,good,x",
        b'1,"a stray quote,x',
        b"2,good,x",
        b'3,"a good ""quoted"" one',
        b'over two lines",x',
        b"4,caf\xe9,x",
        b"5,two,many,fields",
        b"6",
        b"7,good,,,",
        b"8,short",
        b"9, ,x",
        b"",
        b'10,"closed" badly,x',
        b"11," + b"x" * 5_000 + b",x",
        b"12,good,x",
        b'13,"open to the end',
        b"14,good,x",
    ]
    batch = read(written(tmp_path, "a.csv", b"\n".join(lines)), maximum_row_bytes=1_000)
    assert texts(batch) == [
        "good",
        "good",
        'a good "quoted" one\nover two lines',
        "good",
        "short",
        "good",
        "good",
    ]
    assert faults(batch) == [
        (1, "malformed_row"),
        (4, "wrong_encoding"),
        (5, "malformed_row"),
        (6, "malformed_row"),
        (9, "empty_text"),
        (10, "malformed_row"),
        (11, "giant_row"),
        (13, "malformed_row"),
    ]
    assert batch.quarantine["excerpt"][0] == '1,"a stray quote,x'


@pytest.mark.parametrize("extension", WRITERS)
def test_missing_text_column_names_those_found(tmp_path, extension):
    batch = read(written(tmp_path, f"a{extension}", WRITERS[extension](ROWS)), text_column="content")
    assert faults(batch) == [(-1, "missing_text_column")]
    assert "'content'" in batch.quarantine["detail"][0]
    assert "text, url" in batch.quarantine["detail"][0]


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet", ".arrow"])
def test_columns_of_one_name_are_a_defect_of_the_file(tmp_path, ending):
    names, path = ["id", "text", "url", "id"], tmp_path / f"a{ending}"
    table = pa.table([pa.array(["x"])] * 4, names=names)
    if ending == ".parquet":
        pq.write_table(table, path)
    elif ending == ".arrow":
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)
    else:
        delimiter = "," if ending == ".csv" else "\t"
        path.write_text(f"{delimiter.join(names)}\n{delimiter.join('xxxx')}\n")
    batch = read(path)
    assert faults(batch) == [(-1, "malformed_file")]
    assert "'id' (columns 1, 4); rename" in batch.quarantine["detail"][0]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ("id,text\r" + "1,good\r" * 2, "lines end in a carriage return alone"),
        ("id,text\r" + "1,good\r" * 200, "lines end in a carriage return alone"),
        ('id,"te"xt\n1,good\n', "expected after"),
        (f"id,text,{'x' * 2_000}\n1,good,x\n", "longer than maximum_row_bytes"),
    ],
    ids=["carriage returns", "carriage returns of a large file", "a stray quote", "too long"],
)
def test_a_header_that_cannot_be_read_is_named(tmp_path, data, problem):
    batch = read(written(tmp_path, "a.csv", data), maximum_row_bytes=1_000)
    assert batch.quarantine["row"].to_list() == [-1]
    assert batch.quarantine["detail"][0].startswith("the header cannot be read: ")
    assert problem in batch.quarantine["detail"][0]
    assert batch.quarantine["excerpt"][0].startswith("id,")


def test_columns_without_a_name_may_be_many(tmp_path):
    assert texts(read(written(tmp_path, "a.csv", "text,,\ngood,,\n"))) == ["good"]


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.jsonl", b"", Reason.EMPTY_FILE),
        ("a.txt", b"", Reason.EMPTY_FILE),
        ("a.parquet", b"", Reason.EMPTY_FILE),
        ("a.csv.gz", b"", Reason.EMPTY_FILE),
        ("a.json.zst", zstandard.compress(b""), Reason.EMPTY_FILE),
        ("a.txt.gz", b"not\x00gzip\x01", Reason.BROKEN_COMPRESSION),
        ("a.csv.zst", b"not\xffzstd", Reason.BROKEN_COMPRESSION),
        ("a.txt.gz", gzip.compress(b"x" * 1000, mtime=0)[:-4], Reason.BROKEN_COMPRESSION),
        ("a.txt", b"caf\xe9", Reason.WRONG_ENCODING),
        ("a.jsonl", '{"text": "x"}'.encode("utf-16"), Reason.WRONG_ENCODING),
        ("a.txt", "a text".encode("utf-16-le"), Reason.WRONG_ENCODING),
        ("a.txt", b"x" * 2_000, Reason.GIANT_ROW),
        ("a.pdf", b"%PDF", Reason.UNSUPPORTED_FORMAT),
        ("README", b"x", Reason.UNSUPPORTED_FORMAT),
        ("a.parquet", b"PAR1 but not really PAR1", Reason.MALFORMED_FILE),
        ("a.parquet", b"x", Reason.MALFORMED_FILE),
        ("a.parquet.gz", b"x", Reason.UNSUPPORTED_FORMAT),
    ],
)
def test_unusable_files_are_one_defect(tmp_path, name, data, reason):
    batch = read(written(tmp_path, name, data), maximum_row_bytes=1_000)
    assert faults(batch) == [(-1, reason)]
    assert batch.quarantine["detail"][0]
    assert texts(batch) == []


def test_unsupported_format_lists_the_valid_ones(tmp_path):
    detail = read(written(tmp_path, "a.pdf", b"x")).quarantine["detail"][0]
    assert all(extension in detail for extension in [".jsonl", ".txt", ".csv", ".parquet", ".gz", ".zst"])


@pytest.mark.parametrize("extension", [".jsonl", ".json", ".csv", ".tsv"])
@pytest.mark.parametrize("compression", [".gz", ".zst"])
def test_rows_before_a_truncation_are_kept(tmp_path, extension, compression):
    rows = [{"text": f"row {number} " + "y" * 20} for number in range(40_000)]
    data = PACK[compression](WRITERS[extension](rows))
    batch = read(written(tmp_path, f"a{extension}{compression}", data[: len(data) * 3 // 4]))
    kept = len(batch.documents)
    assert texts(batch) == [row["text"] for row in rows[:kept]]
    assert kept > 15_000
    assert faults(batch) == [(kept, "broken_compression")]


def test_a_whole_last_row_before_a_break_is_kept(tmp_path):
    data = gzip.compress(b'{"text": "one"}\n{"text": "two"}')
    batch = read(written(tmp_path, "a.jsonl.gz", data[:-8]))
    assert texts(batch) == ["one", "two"]
    assert faults(batch) == [(2, "broken_compression")]


def test_a_quoted_record_cut_by_a_break_is_not_taken_apart(tmp_path):
    data = gzip.compress(b'text\n"whole"\n"cut\nhere\nand')
    batch = read(written(tmp_path, "a.csv.gz", data[:-8]))
    assert texts(batch) == ["whole"]
    assert faults(batch) == [(1, "broken_compression")]


def test_parquet_with_a_corrupt_row_group_keeps_the_others(tmp_path):
    path = tmp_path / "a.parquet"
    table = pa.table({"text": [f"row {number}" for number in range(300)], "vector": [[0.5]] * 300})
    pq.write_table(table, path, row_group_size=100, compression="zstd", use_dictionary=False)
    column = pq.ParquetFile(path).metadata.row_group(1).column(0)
    data = bytearray(path.read_bytes())
    start = column.data_page_offset
    data[start : start + column.total_compressed_size] = bytes(column.total_compressed_size)
    path.write_bytes(bytes(data))
    batch = read(path)
    assert batch.documents["row"].to_list() == [*range(100), *range(200, 300)]
    assert faults(batch) == [(100, "malformed_row")]
    assert "rows 100 to 199" in batch.quarantine["detail"][0]
    assert batch.documents["metadata"][0] == "{}"


def test_parquet_types_of_text(tmp_path):
    latin = pa.array([b"good", b"caf\xe9", None, b""], pa.binary()).view(pa.string())
    for name, column in (
        ("plain", latin),
        ("large", latin.cast(pa.binary()).cast(pa.large_binary()).view(pa.large_string())),
    ):
        pq.write_table(pa.table({"text": column, "other": latin}), tmp_path / f"{name}.parquet")
        batch = read(tmp_path / f"{name}.parquet")
        assert texts(batch) == ["good"]
        assert faults(batch) == [(1, "wrong_encoding"), (2, "empty_text"), (3, "empty_text")]
    pq.write_table(pa.table({"text": pa.array(["a", "b", "a"]).dictionary_encode()}), tmp_path / "d.parquet")
    assert texts(read(tmp_path / "d.parquet")) == ["a", "b", "a"]
    pq.write_table(pa.table({"text": [1, 2]}), tmp_path / "n.parquet")
    assert faults(read(tmp_path / "n.parquet")) == [(-1, "non_text")]


@pytest.mark.parametrize("extension", [".jsonl", ".csv", ".json", ".txt"])
def test_giant_rows_are_skipped_in_bounded_memory(tmp_path, extension):
    rows = [{"text": "first"}, {"text": "x" * 50_000_000}, {"text": "last"}]
    data = rows[1]["text"].encode() if extension == ".txt" else WRITERS[extension](rows)
    path = written(tmp_path, f"a{extension}", data)
    del data, rows
    tracemalloc.start()
    batch = read(path, maximum_row_bytes=1_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16_000_000
    assert faults(batch) == [(-1 if extension == ".txt" else 1, "giant_row")]
    assert texts(batch) == ([] if extension == ".txt" else ["first", "last"])


def test_control_characters_stay_in_the_text_and_leave_the_excerpt(tmp_path):
    batch = read(written(tmp_path, "a.jsonl", b'{"text": "a\\u0000b"}\n{"te\x00xt\x1b'))
    assert texts(batch) == ["a\x00b"]
    assert batch.quarantine["excerpt"][0] == '{"te xt'


def test_a_missing_file_raises_at_once(tmp_path):
    shard = Shard(corpus="web", name="a.txt", key="web__a.txt", kind="file", path=tmp_path / "a.txt")
    with pytest.raises(ShardGoneError, match=r"web__a\.txt"):
        read_shard(shard, corpus())


def test_a_folder_in_place_of_the_file_is_a_defect(tmp_path):
    (tmp_path / "a.txt").mkdir()
    assert faults(read(tmp_path / "a.txt")) == [(-1, "unreadable")]


def test_files_that_were_put_together_are_read_through(tmp_path):
    marked = "\ufeff"
    assert texts(
        read(written(tmp_path, "a.jsonl", f'{marked}{{"text": "one"}}\n{marked}{{"text": "two"}}\n'))
    ) == [
        "one",
        "two",
    ]
    arrays = f'{marked}[{{"text": "one"}}]\n{marked}[{{"text": "two"}}, {{"text": "three"}}][]'
    batch = read(written(tmp_path, "a.json", arrays))
    assert texts(batch) == ["one", "two", "three"]
    assert faults(batch) == []


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv.gz", "a.txt", "a.json"])
def test_a_file_of_another_format_says_which(tmp_path, name):
    batch = read(written(tmp_path, name, as_parquet(ROWS)))
    assert faults(batch) == [(-1, "malformed_file")]
    assert "the file is Parquet, whatever its name says" in batch.quarantine["detail"][0]
    for packed in ("a.parquet", "a.arrow"):
        detail = read(written(tmp_path, packed, gzip.compress(b"x"))).quarantine["detail"][0]
        assert "the file is compressed by gzip, whatever its name says" in detail
        detail = read(written(tmp_path, packed, b'{"text": "x"}\n')).quarantine["detail"][0]
        assert "the file is text, such as JSON or CSV, whatever its name says" in detail


def test_a_file_that_is_broken_is_not_called_another_format(tmp_path):
    for name, head in (("a.parquet", b"PAR1"), ("a.arrow", b"ARROW1\0\0"), ("a.arrow", b"\xff" * 4)):
        detail = read(written(tmp_path, name, head + b"\0" * 40)).quarantine["detail"][0]
        assert "whatever its name says" not in detail


def test_a_file_is_unpacked_by_its_first_bytes(tmp_path):
    for name in ("a.jsonl", "a.jsonl.gz", "a.jsonl.zst"):
        for pack in PACK.values():
            batch = read(written(tmp_path, name, pack(WRITERS[".jsonl"](ROWS))))
            assert len(texts(batch)) == len(ROWS)
            assert faults(batch) == []


def test_rows_of_json_that_end_in_carriage_returns_say_so_and_are_counted(tmp_path):
    row = b'{"text": "one two"}'
    rows = written(tmp_path, "a.jsonl", b"\r".join([row] * 30) + b"\n" + row)
    batch = read(rows)
    assert texts(batch) == ["one two"]
    assert batch.quarantine.select("row", "detail", "rows_lost").rows() == [(0, RETURNS_ALONE, 30)]
    whole = written(tmp_path, "b.jsonl", (row + b"\r") * 300)
    batch = read(whole, maximum_row_bytes=1_000)
    assert batch.quarantine.select("row", "detail", "rows_lost").rows() == [(-1, RETURNS_ALONE, 300)]
    batch = read(written(tmp_path, "c.jsonl", b'{"text": "one\rtwo"}'))
    assert "control character" in batch.quarantine["detail"][0]


def test_nul_bytes_at_the_end_of_a_line_cost_no_whole_row_and_are_named(tmp_path):
    nuls = b"\0" * 4_096
    lines = [b'{"text": "one"}' + nuls, b'{"text": "two"}', b'{"text": "cut' + nuls, b"[1]" + nuls, nuls]
    for number in range(1, len(lines) + 1):  # each of them the last line of a file
        batch = read(written(tmp_path, f"{number}.jsonl", b"\n".join(lines[:number])))
        assert texts(batch) == ["one", "two"][:number]
        assert faults(batch) == [(row, Reason.MALFORMED_ROW) for row in range(2, number)]
    said = ["; the line ends in 4,096 NUL", "found list; if", "the line holds nothing but 4,096 NUL"]
    assert all(one in detail for one, detail in zip(said, batch.quarantine["detail"], strict=True))


@pytest.mark.parametrize("space", ["", "\ufeff", "\r\n "])
@pytest.mark.parametrize("several", [False, True])
def test_json_over_several_lines_is_read_whatever_it_is_called(tmp_path, space, several):
    rows = [{"text": "one"}, {"text": "two", "tags": ["a", "b"]}]
    shown = "\n".join(json.dumps(row, indent=2) for row in rows) if several else json.dumps(rows, indent=1)
    batch = read(written(tmp_path, "a.jsonl", (space + shown).replace("\n", "\r\n" if space else "\n")))
    assert texts(batch) == ["one", "two"]
    assert faults(batch) == []


def test_a_first_line_that_is_cut_off_leaves_the_others_rows_of_their_own(tmp_path):
    batch = read(written(tmp_path, "a.jsonl", '{\n{"text": "one"}\n{"text": "two"}\n'))
    assert texts(batch) == ["one", "two"]
    assert faults(batch) == [(0, "malformed_row")]


def test_an_array_in_a_line_is_no_row_and_the_cure_is_said(tmp_path):
    batch = read(written(tmp_path, "a.jsonl", '[{"text": "one"}]\n{"text": "two"}\n'))
    assert texts(batch) == ["two"]
    assert batch.quarantine["detail"].to_list() == [
        "a JSON object is expected, found list; if the whole file is one array, name it .json"
    ]
