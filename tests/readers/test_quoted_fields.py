"""Quotation marks in CSV and TSV: rows are never joined in silence, whatever mark is too many."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shard_files import as_csv, faults, read, texts, written

SAYINGS = [f"A sentence about the sea, number {number}, of many words." for number in range(20)]


def rows_of(sayings: list[str], delimiter: str, text_first: bool = False) -> str:
    named = [("id", "text"), *((str(number), saying) for number, saying in enumerate(sayings))]
    lines = [delimiter.join(reversed(row) if text_first else row) for row in named]
    return "\n".join(lines) + "\n"


def with_marks(first: int, last: int, sayings: list[str]) -> list[str]:
    """Open a quotation in one text and close it at the end of another."""
    found = list(sayings)
    found[first], found[last] = f'"It begins here. {found[first]}', f'{found[last]} And ends."'
    return found


@pytest.mark.parametrize("name", ["a.tsv", "a.csv"])
@pytest.mark.parametrize("text_first", [False, True])
@pytest.mark.parametrize(("first", "last"), [(5, 12), (5, 6), (0, 19), (18, 19), (7, 7)])
def test_marks_between_tabs_are_letters(tmp_path, first, last, text_first, name):
    said = with_marks(first, last, SAYINGS)
    batch = read(written(tmp_path, name, rows_of(said, "\t", text_first)))
    assert texts(batch) == said
    assert faults(batch) == []


def test_lone_marks_of_tsv_cost_nothing(tmp_path):
    said = ['"open', 'five "quoted" words', '"', '""', 'ends"', '"whole"', '"a" and "b"', '6" of pipe']
    for header in ("text\tid", "id\ttext"):
        at = header.split("\t").index("text")
        lines = [header, *("\t".join([one, "7"] if at == 0 else ["7", one]) for one in said)]
        batch = read(written(tmp_path, "a.tsv", "\n".join(lines)))
        assert texts(batch) == said
        assert faults(batch) == []


WRITTEN = st.text(st.sampled_from('ab \t\n",;'), max_size=8)


@given(st.lists(st.tuples(WRITTEN, WRITTEN, WRITTEN), min_size=1, max_size=6))
@settings(deadline=None, max_examples=60)
def test_tsv_of_which_every_field_is_quoted_comes_back(tmp_path_factory, rows):
    buffer = io.StringIO()
    csv.writer(buffer, delimiter="\t", quoting=csv.QUOTE_ALL).writerows([("a", "text", "b"), *rows])
    path = written(tmp_path_factory.mktemp("tsv"), "a.tsv", buffer.getvalue())
    found = [text.strip() for _a, text, _b in rows if text.strip() and "\r" not in text]
    batch = read(path)
    assert [one for one in texts(batch) if one in found] == texts(batch)
    # A text whose lines look like rows is a fault for each of them.
    assert len(texts(batch)) + len([row for row in faults(batch) if row[1] == "malformed_row"]) >= len(found)


def test_tsv_that_was_written_as_csv_comes_back(tmp_path):
    said = [
        {"text": 'Two lines\nand "one" more\n\nat the end', "url": "https://x.org/1"},
        {"text": "A tab\tin it", "url": "https://x.org/2"},
        {"text": 'One "quoted" word', "url": "https://x.org/3"},
        {"text": "plain", "url": "https://x.org/4"},
    ]
    for order in (("text", "url"), ("url", "text")):
        rows = [{name: row[name] for name in order} for row in said]
        batch = read(written(tmp_path, "a.tsv", as_csv(rows, "\t")))
        assert texts(batch) == [row["text"] for row in said]
        assert faults(batch) == []


def test_lines_that_may_be_rows_or_not_are_not_joined_in_silence(tmp_path):
    lines = ["id\ttext", '1\t"It begins', "2\ta tab, which makes a row", 'and ends."', "4\tgood"]
    batch = read(written(tmp_path, "a.tsv", "\n".join(lines)))
    assert texts(batch) == ['"It begins', "a tab, which makes a row", "good"]
    assert faults(batch) == [(2, "malformed_row")]


def test_open_marks_of_a_long_tsv_take_no_longer(tmp_path):
    lines = ["id\ttext\tx", *(f'{number}\t"open' for number in range(20_000))]
    assert texts(read(written(tmp_path, "a.tsv", "\n".join(lines)))) == ['"open'] * 20_000


@pytest.mark.parametrize(("name", "delimiter"), [("a.csv", ","), ("a.csv", ";"), ("a.tsv", "|")])
@pytest.mark.parametrize(("first", "last"), [(5, 12), (5, 6), (0, 19), (0, 1)])
def test_rows_that_a_stray_mark_of_csv_would_join_are_read_apart(tmp_path, first, last, name, delimiter):
    said = with_marks(first, last, [saying.replace(",", "") for saying in SAYINGS])
    batch = read(written(tmp_path, name, rows_of(said, delimiter)))
    assert faults(batch) == [(first, "malformed_row")]
    assert batch.quarantine["rows_lost"].to_list() == [1]
    assert f"closes {last - first} lines below" in batch.quarantine["detail"][0]
    assert texts(batch) == [one for number, one in enumerate(said) if number != first]


@pytest.mark.parametrize(
    "text",
    [
        "Two lines,\nof one text",
        "Dear all,\n\nit is late, so good night\nAnn",
        "1, 2\n3, 4\n5, 6",
        "a,b\nc,d",
        "In 1994, he went\nand in 2001, he came back",
        "Thanks\nSo, see you soon",
        "A line,\nanother line,\na third line,\na fourth line,\nand the last line",
        "One, and\ntwo of them, and\nthree of them, and\nfour of them, and\nfive of them",
    ],
)
def test_texts_of_several_lines_stay_whole(tmp_path, text):
    said = [*SAYINGS, text, "And more, too."]
    for beside in (str, lambda number: "en"):
        rows = [{"beside": beside(number), "text": one} for number, one in enumerate(said)]
        for order in (("beside", "text"), ("text", "beside")):
            data = as_csv([{name: row[name] for name in order} for row in rows], ",")
            batch = read(written(tmp_path, "a.csv", data))
            assert texts(batch) == said
            assert faults(batch) == []


@pytest.mark.parametrize("text_first", [False, True])
@pytest.mark.parametrize("delimiter", [",", ";", "|"])
@pytest.mark.parametrize(("first", "last"), [(0, 1), (5, 6), (5, 7), (5, 12)])
def test_rows_without_numbers_are_not_joined_in_silence(tmp_path, first, last, delimiter, text_first):
    words = ("sea", "sky", "sand", "dune", "reef", "gull", "mast", "rope", "hull", "keel")
    said = [f"A sentence about the {word}" for word in words]
    said = with_marks(first, last, [*said, *(f"{one} again" for one in said)])
    labels = ["neg", "positive"] * 10
    named = [("label", "text"), *zip(labels, said, strict=True)]
    lines = [delimiter.join(reversed(row) if text_first else row) for row in named]
    batch = read(written(tmp_path, "a.csv", "\n".join(lines)))
    assert faults(batch) == [(first, "malformed_row")]
    assert texts(batch) == [one for number, one in enumerate(said) if number != first]


PARTS = [(".csv", ",", ""), (".tsv", "\t", ""), (".csv", ";", "sep=;\r\n"), (".csv", "\t", '"sep=\t"\n')]


@pytest.mark.parametrize(("ending", "delimiter", "start"), PARTS)
@pytest.mark.parametrize("column", ["text", ["body", "text"], "auto"], ids=str)
def test_files_that_were_put_together_have_one_header(tmp_path, ending, delimiter, start, column):
    one = start + rows_of([saying.replace(",", "") for saying in SAYINGS[:2]], delimiter)
    path = written(tmp_path, f"a{ending}", (b"\xef\xbb\xbf" + one.encode()) * 3)
    batch = read(path, text_column=column)
    assert len(texts(batch)) == 6
    assert faults(batch) == []
    assert not any("\ufeff" in metadata for metadata in batch.documents["metadata"])
    assert batch.documents["row"].to_list() == [0, 1, 3, 4, 6, 7], "a header takes a row, as in the file"
    lacking = read(path, text_column="body").quarantine
    assert lacking["rows_lost"].to_list() == [6], "headers are no rows"


def test_a_stated_tab_has_the_rules_of_tabs(tmp_path):
    said = with_marks(2, 3, SAYINGS[:5])
    assert texts(read(written(tmp_path, "a.csv", "sep=\t\n" + rows_of(said, "\t")))) == said
    lines = ["sep=\t", '"id"\t"text"', '"1"\t"two\nlines, ""one"" text"']
    assert texts(read(written(tmp_path, "b.csv", "\n".join(lines)))) == ['two\nlines, "one" text']
