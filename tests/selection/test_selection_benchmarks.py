"""Reading benchmarks: every format, columns by name and path, and a sentence for each thing that is wrong."""

import json
from pathlib import Path

import polars as pl
import pytest
from projects import write

from tamis.corpus import ListingError
from tamis.selection.benchmarks import BenchmarkError, fingerprint_benchmark, read_benchmark
from tamis.settings.config import KeepOutSection

ROWS = [
    {"id": 1, "question": "How far is it?", "choices": ["near", "far"], "meta": {"note": "of a test"}},
    {"id": 2, "question": "", "choices": [], "meta": {"note": None}},
]
TEXTS = [
    (0, "question", "How far is it?"),
    (0, "choices", "near"),
    (0, "choices", "far"),
    (0, "meta", "of a test"),
]


def section(path: str, *columns: str) -> KeepOutSection:
    return KeepOutSection(name="exam", path=path, text_columns=columns)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.parquet", "rows.arrow"])
def test_every_format_gives_every_text_of_a_row(tmp_path, name):
    frame = pl.DataFrame(ROWS)
    match Path(name).suffix:
        case ".jsonl":
            write(tmp_path / name, map(json.dumps, ROWS))
        case ".json":
            (tmp_path / name).write_text(json.dumps(ROWS))
        case ".parquet":
            frame.write_parquet(tmp_path / name)
        case _:
            frame.write_ipc(tmp_path / name)
    found = read_benchmark(section(name), tmp_path)
    assert found.texts.rows() == TEXTS
    assert (found.rows, found.without_text, found.unreadable) == (2, 1, 0)


def test_columns_by_name_and_path_and_of_tables(tmp_path):
    write(tmp_path / "rows.jsonl", map(json.dumps, ROWS))
    found = read_benchmark(section("rows.jsonl", "meta.note", "question"), tmp_path)
    assert found.texts.rows() == [(0, "meta.note", "of a test"), (0, "question", "How far is it?")]
    (tmp_path / "rows.csv").write_text("question,answer\nHow far is it?,far\n,\n")
    found = read_benchmark(section("rows.csv", "question"), tmp_path)
    assert (found.texts.rows(), found.rows) == ([(0, "question", "How far is it?")], 2)


def test_rows_of_several_files_of_a_folder_or_glob_have_numbers_of_their_own(tmp_path):
    for name in ("exam/a.jsonl", "exam/b.jsonl", "exam/notes.txt"):
        write(tmp_path / name, [json.dumps({"question": f"in {name}"})])
    texts = read_benchmark(section("exam/*.jsonl"), tmp_path).texts
    assert texts.select("row", "text").rows() == [(0, "in exam/a.jsonl"), (1, "in exam/b.jsonl")]
    assert read_benchmark(section("exam"), tmp_path).rows == 3


def test_rows_that_cannot_be_read_are_counted_and_the_others_stay(tmp_path):
    write(tmp_path / "rows.jsonl", ['{"question": "first"}', "{no json", '{"question": "last"}'])
    found = read_benchmark(section("rows.jsonl"), tmp_path)
    assert (found.texts["text"].to_list(), found.rows, found.unreadable) == (["first", "last"], 2, 1)


@pytest.mark.parametrize(
    ("path", "columns", "said"),
    [
        (
            "rows.jsonl",
            ("qestion",),
            "rows.jsonl has no column 'qestion'; columns found: question, id; ",
        ),
        ("rows.jsonl", ("id",), "none of its 1 row has a text in id; correct text_columns"),
        ("blank.jsonl", (), "none of its 1 row has a text"),
        ("exam/*.csv", (), "no file matches (exam/*.csv); correct path"),
        ("nothing", (), "the folder contains no file (nothing); correct path"),
        ("empty.jsonl", (), "empty.jsonl cannot be read: the file holds nothing"),
        ("rows.pdf", (), "rows.pdf cannot be read: files with the ending '.pdf' are not read"),
        ("cut.parquet", (), "cut.parquet cannot be read: "),
    ],
)
def test_what_is_wrong_is_said(tmp_path, path, columns, said):
    write(tmp_path / "rows.jsonl", ['{"question": "first", "id": 1}'])
    write(tmp_path / "blank.jsonl", ['{"question": " "}'])
    for folder in ("nothing", "exam"):
        (tmp_path / folder).mkdir()
    for name in ("empty.jsonl", "rows.pdf"):
        (tmp_path / name).write_text("")
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(BenchmarkError, match=r"benchmark 'exam' of \[\[keep_out\]\]: ") as caught:
        read_benchmark(section(path, *columns), tmp_path)
    assert caught.value.problem.startswith(said)


def test_a_path_that_is_absent_is_named(tmp_path):
    with pytest.raises(ListingError, match=r"'exam': cannot list .*gone: No such file"):
        read_benchmark(section("gone"), tmp_path)


def test_a_fingerprint_follows_names_and_bytes(tmp_path):
    def fingerprint() -> str:
        return fingerprint_benchmark(section("exam"), tmp_path, lambda shard: shard.path.read_text())

    write(tmp_path / "exam" / "a.jsonl", ["first"])
    before = fingerprint()
    assert fingerprint() == before
    write(tmp_path / "exam" / "a.jsonl", ["second"])
    changed = fingerprint()
    (tmp_path / "exam" / "a.jsonl").rename(tmp_path / "exam" / "b.jsonl")
    assert len({before, changed, fingerprint()}) == 3
