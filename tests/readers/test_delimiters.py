"""Delimiters of CSV files as spreadsheets and databases write them, and decimals with a comma."""

import csv
import io
import json

import pytest
from shard_files import corpus, faults, read, texts, written

from tamis.corpus import Shard, read_shard
from tamis.readers.delimited import NONE, decimal_commas, find_delimiter, stated_delimiter
from tamis.readers.kept_columns import read_heading

ROWS = [
    {"Nr": "1", "text": 'A text; with "quotes", semicolons;\nand two lines', "my_score": "0,12"},
    {"Nr": "2", "text": "Another\ttext | with more of them, too", "my_score": "1.234,5"},
    {"Nr": "3", "text": "A third one", "my_score": "-3"},
]


def as_csv(delimiter: str, rows=ROWS, start: str = "", quoting: int = csv.QUOTE_MINIMAL) -> bytes:
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, list(rows[0]), delimiter=delimiter, quoting=quoting)
    writer.writeheader()
    writer.writerows(rows)
    return (start + buffer.getvalue()).encode()


def headings_of(path, **values):
    shard = Shard(corpus="web", name=path.name, key=f"web__{path.name}", kind="file", path=path)
    return [read_heading(batch.heading) for batch in read_shard(shard, corpus(**values)) if batch.heading]


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL], ids=["as needed", "all"])
@pytest.mark.parametrize("start", ["", "\ufeff"], ids=["plain", "byte-order mark"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("ending", [".csv", ".tsv"])
def test_a_file_is_read_whatever_its_delimiter(tmp_path, ending, delimiter, start, quoting):
    path = written(tmp_path, f"a{ending}", as_csv(delimiter, start=start, quoting=quoting))
    batch = read(path)
    assert texts(batch) == [row["text"] for row in ROWS]
    kept = [json.loads(content) for content in batch.documents["content"]]
    assert kept == [{"Nr": row["Nr"], "my_score": row["my_score"]} for row in ROWS], (
        "numbers as the file has them"
    )
    (heading,) = headings_of(path)
    usual = "," if ending == ".csv" else "\t"
    assert heading.delimiter == (None if delimiter == usual else delimiter)
    assert heading.decimal_commas == (() if delimiter == "," else ("my_score",))


@pytest.mark.parametrize("start", ["sep=;\r\n", "SEP=;\n", '"sep=;"\r\n', "\ufeffsep=;\r\n"])
def test_a_first_line_states_the_delimiter(tmp_path, start):
    path = written(tmp_path, "a.csv", as_csv(";", start=start))
    batch = read(path)
    assert (texts(batch), faults(batch)) == ([row["text"] for row in ROWS], [])
    assert batch.documents["row"].to_list() == [0, 1, 2], "it is no row"


@pytest.mark.parametrize(
    ("line", "expected"),
    [("sep=;", ";"), ("sep=\t", "\t"), ("sep=,", ","), ("sep=", None), ("sep=;;", None), ("text", None)],
)
def test_what_a_first_line_states(line, expected):
    assert stated_delimiter(line) == expected


def test_the_columns_found_are_those_of_the_right_delimiter(tmp_path):
    rows = [{"Nr": str(n), "Text": f"A text of some words, number {n}", "Quelle": "x"} for n in range(5)]
    batch = read(written(tmp_path, "a.csv", as_csv(";", rows)))
    assert faults(batch) == [(-1, "missing_text_column")]
    detail = batch.quarantine["detail"][0]
    assert (
        "no column 'text' in any of its 5 rows; columns found: Nr, Text, Quelle; 'Text' holds texts" in detail
    )


@pytest.mark.parametrize(
    ("lines", "usual", "wanted", "expected"),
    [
        (["a;b,text", "x;y,z"], ",", ["text"], ","),
        (["text", "one; two; three"], ",", ["text"], ","),
        (["id;text", "1;a, b, c"], ",", ["text"], ";"),
        (["id;text", "1;a"], "\t", ["text"], ";"),
        (["id;name", "1;a, b", "2;c"], ",", ["text"], ";"),
        (["id,name;x", "1,a;y", "2,b;z"], ",", [], ","),
        (["id|b;c", "1|x;y", "2|z"], ",", [], "|"),
        (["title", "one, two", "three"], ",", ["text"], NONE),
        (["title", "1, 2", "2, 3"], ",", ["text"], ","),
        (["text"], ",", ["text"], ","),
        ([], ",", ["text"], ","),
        (['"id";"te', 'xt"', '1;"a'], ",", ["text"], ";"),
    ],
)
def test_the_delimiter_of_the_extension_comes_first_if_the_file_then_has_the_column(
    lines, usual, wanted, expected
):
    assert find_delimiter(lines, usual, wanted) == expected


def test_texts_of_a_single_column_may_have_commas(tmp_path):
    """Where semicolons separate, nobody quotes a text for its commas."""
    lines = [
        "text",
        "A text, with commas, three of them,",
        "and one without",
        "one; more\t| of them",
        '"quo, ted"',
    ]
    path = written(tmp_path, "a.csv", "\r\n".join(lines))
    batch = read(path)
    assert texts(batch) == [*lines[1:4], "quo, ted"]
    assert faults(batch) == []
    assert [heading.delimiter for heading in headings_of(path)] == [None], "nothing separates them"


def test_a_column_without_a_name_is_no_punctuation(tmp_path):
    """As R writes the names of rows: all records have as many fields too many."""
    batch = read(written(tmp_path, "a.csv", "text\n1,one\n2,two\n3,three\n"))
    assert (texts(batch), len(faults(batch))) == ([], 3)
    assert batch.quarantine["detail"][0] == "2 fields where the header has 1"


@pytest.mark.parametrize("data", ["text", "text\n", "Nr;text", "sep=;\r\n", "sep=;"])
def test_a_file_without_records_has_no_documents(tmp_path, data):
    batch = read(written(tmp_path, "a.csv", data))
    assert texts(batch) == []


def test_columns_of_decimals_with_a_comma():
    header = ["a", "b", "c", "d", "e"]
    records = [
        ["0,5", "1,5", "1,5", "2020", "1.000,25 %"],
        ["", "x", "7", "17", "-3,1"],
        ["+12,75", "2,5", "1,234.5", "18", "4"],
    ]
    assert decimal_commas(header, records) == ["a", "e"]
