"""Web pages: main text, title, address and date; encodings; columns of HTML; pages that cannot be read."""

import gzip
import json

import polars as pl
import pytest

from tamis.base.errors import MissingPackageError
from tamis.base.installation import install_command
from tamis.readers import pages
from tamis.readers.files import is_readable, read_file
from tamis.readers.pages import MOST_NESTED, UnreadablePageError, decode_page, identity, read_page
from tamis.readers.rows import WHOLE_SHARD, Defect, Reason, Row
from tamis.readers.text import document_id
from tamis.settings.config import CorpusSection

needs_library = pytest.mark.skipif(not pages.is_installed(), reason="the extra web is not installed")
CORPUS = CorpusSection(name="web", kind="files", path="web")
OF_COLUMN = CORPUS.model_copy(update={"extract": "html"})
WORDS = "The river carries sand and stones from the hills to the sea, and builds its banks anew each spring."
HEAD = """<title>Of
 rivers</title><link rel="canonical" href="https://example.org/rivers">
<meta property="article:published_time" content="2025-04-03T02:01:00+02:00">"""
PAGE = f"""<!DOCTYPE html><html><head>{HEAD}</head><body><nav><ul><li><a href="/">Home menu</a></li>
<li><a href="/b">Boats menu</a></li></ul></nav><main><h1>Of rivers</h1><p>{WORDS}</p><p>{WORDS * 3}</p></main>
<footer><a href="/imprint">Imprint</a> All rights reserved</footer></body></html>"""


def read(path, data: bytes, corpus: CorpusSection = CORPUS):
    path.write_bytes(data)
    return list(read_file(path, corpus))


@needs_library
@pytest.mark.parametrize("name", ["a.html", "A.HTM", "a.html.gz"])
def test_a_file_is_its_main_text_with_what_it_states_of_itself(tmp_path, name):
    (row,) = read(tmp_path / name, gzip.compress(PAGE.encode()) if name.endswith("gz") else PAGE.encode())
    text = row.values.pop("text")
    assert text.count(WORDS) == 4
    assert text.startswith("Of rivers")
    assert "menu" not in text
    assert "rights reserved" not in text
    assert "<" not in text
    assert row.row == 0
    assert row.values == {
        "title": "Of rivers",
        "url": "https://example.org/rivers",
        "date": "2025-04-03T02:01:00+02:00",
        "id_in_file": document_id(PAGE),
    }
    assert is_readable(name)


@needs_library
def test_the_text_goes_into_the_column_that_the_section_names(tmp_path):
    (row,) = read(tmp_path / "a.html", PAGE.encode(), CORPUS.model_copy(update={"text_column": "title"}))
    assert WORDS in row.values["title"]
    assert set(row.values) == {"title", "url", "date", "id_in_file"}
    (row,) = read(tmp_path / "a.html", PAGE.encode(), CORPUS.model_copy(update={"text_column": "auto"}))
    assert row.text.name == "text"


@needs_library
@pytest.mark.parametrize(
    ("stated", "date"),
    [
        ('<meta name="date" content="2024-02-29">', "2024-02-29"),
        ('<meta name="date" content="Thu, 29 Feb 2024 10:00:00 +0000">', "2024-02-29T10:00:00+00:00"),
        (
            '<meta name="date" content="last Thursday"><meta name="DC.date" content="2024-03-01">',
            "2024-03-01",
        ),
        ('<meta name="date" content="2024-02-31">', None),
        ("", None),
    ],
)
def test_a_date_is_one_or_is_left_out(stated, date):
    assert read_page(f"<head>{stated}</head><body><p>{WORDS}</p></body>").columns.get("date") == date


SHOWN = "Größe – naïve café"


@needs_library
@pytest.mark.parametrize(
    ("data", "stated"),
    [
        (SHOWN.encode(), None),
        (b"\xef\xbb\xbf" + SHOWN.encode(), "iso-8859-1"),
        (SHOWN.encode(), "iso-8859-1"),  # UTF-8, whatever the server states
        (b"<meta charset=windows-1252>" + SHOWN.encode("cp1252"), None),
        (SHOWN.encode("cp1252"), "latin1"),  # which browsers read as Windows-1252
        (
            b'<meta http-equiv="Content-Type" content="text/html; charset=utf-8">' + SHOWN.encode("cp1252"),
            None,
        ),
        (b'<?xml version="1.0" encoding="windows-1252"?>' + SHOWN.encode("cp1252"), None),
        ("\ufeff".encode("utf-16-le") + SHOWN.encode("utf-16-le"), None),
        ("\ufeff".encode("utf-16-be") + SHOWN.encode("utf-16-be"), "utf-8"),
        (SHOWN.encode("cp1252"), "no-such-encoding"),
        (b"<meta charset=utf-16>" + SHOWN.encode(), None),  # in ASCII, so it is not
        (b"<meta charset=utf-16>" + SHOWN.encode("cp1252"), None),
        (f"<p>{SHOWN}".encode("utf-16-le"), "utf-16"),
    ],
)
def test_pages_in_usual_encodings(data, stated):
    assert decode_page(data, stated).endswith(SHOWN)


@needs_library
def test_pages_in_japanese_and_russian():
    japanese, russian = (
        "川は砂と石を海へ運び、毎年春に岸を新しく作る。" * 5,
        "Река несёт песок и камни с гор к морю. " * 5,
    )
    for text, encoding in ((japanese, "shift_jis"), (japanese, "iso-2022-jp"), (russian, "koi8-r")):
        assert decode_page(text.encode(encoding), encoding) == text


@needs_library
def test_a_file_in_utf_16_is_read(tmp_path):
    (row,) = read(tmp_path / "a.html", ("\ufeff" + PAGE).encode("utf-16-le"))
    assert WORDS in row.values["text"]


@needs_library
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"<html><head><title>x</title></head><body><script>go()</script></body></html>", Reason.EMPTY_TEXT),
        (b"<html><body>   </body></html>", Reason.EMPTY_TEXT),
        (b"", Reason.EMPTY_FILE),
        (b"<div>" * (MOST_NESTED + 1) + b"x", Reason.MALFORMED_ROW),
        (b"%PDF-1.4 \x00\x01", Reason.MALFORMED_FILE),
    ],
)
def test_a_page_that_gives_no_text_says_why(tmp_path, data, reason):
    (item,) = read(tmp_path / "a.html", data)
    assert isinstance(item, Defect)
    assert (item.row, item.reason) == (WHOLE_SHARD, reason)


@needs_library
def test_deep_pages_end_in_time_and_wide_ones_are_read():
    with pytest.raises(UnreadablePageError, match="inside one another"):
        read_page("<div>" * 200_000 + "x")
    wide = f"<main>{'<div>' + WORDS + '</div>'}{('<div>' + WORDS + '</div>') * 3_000}</main>"
    assert read_page(wide).text.count(WORDS) == 3_001


@needs_library
@pytest.mark.parametrize(
    "text", ["<p>\ud800 half</p>", "<p>nul \0 byte</p>", "<", "<!--", "&#xD800;", "<p" * 9_999]
)
def test_odd_texts_never_raise(text):
    read_page(text)


ROWS = [
    {"id": 1, "text": PAGE},
    {"id": 2, "text": f"  Plain text\n\n  with {WORDS}\n  and its own lines, 3 < 4 and a <b> named."},
    {"id": 3, "text": f"<p>{WORDS}</p>", "title": "mine"},
    {"id": 4, "text": "<div><script>go()</script></div>"},
    {"id": 5, "text": None},
    {"id": 6, "text": 7},
]


@needs_library
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet"])
def test_a_column_of_html_is_read_as_main_text(tmp_path, name):
    rows = ROWS[:5] if name.endswith("parquet") else ROWS
    if name.endswith("parquet"):
        pl.DataFrame(rows).write_parquet(tmp_path / name)
        items = list(read_file(tmp_path / name, OF_COLUMN))
    else:
        items = read(tmp_path / name, "\n".join(map(json.dumps, rows)).encode(), OF_COLUMN)
    assert [item.row for item in items] == list(range(len(rows)))
    assert items[0].values["text"].count(WORDS) == 4
    assert "menu" not in items[0].values["text"]
    assert items[1].values["text"] == ROWS[1]["text"], "a text that is no markup stays as it is"
    assert items[2].values["text"] == WORDS
    assert (items[3].reason, items[3].detail) == (Reason.EMPTY_TEXT, "the page has no main text")
    assert [item.values["text"] for item in items[4:]] == [row["text"] for row in rows[4:]]
    assert items[0].values["id_in_file"] == document_id(PAGE)
    assert "id_in_file" not in items[1].values
    if name.endswith("jsonl"):
        del items[0].values["id_in_file"]
        assert items[0].values | {"text": ""} == {
            "id": 1,
            "text": "",
            "title": "Of rivers",
            "url": "https://example.org/rivers",
            "date": "2025-04-03T02:01:00+02:00",
        }
        assert items[2].values["title"] == "mine", "a row's own columns stay"


@needs_library
def test_a_nested_column_of_html(tmp_path):
    corpus = OF_COLUMN.model_copy(update={"text_column": "doc.body"})
    (row,) = read(tmp_path / "rows.jsonl", json.dumps({"doc": {"body": PAGE, "id": 7}}).encode(), corpus)
    assert row.values["doc.body"].count(WORDS) == 4
    assert row.values["doc"] == {"id": 7}


def test_extract_is_for_rows_that_may_be_pages():
    with pytest.raises(ValueError, match="these rows are no pages"):
        CorpusSection(name="web", kind="files", path="web", format="messages", extract="html")
    with pytest.raises(ValueError, match="extract"):
        CorpusSection(name="web", kind="files", path="web", extract="pdf")


def test_without_the_extra_one_sentence_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "is_installed", lambda: False)
    monkeypatch.setattr("tamis.readers.warc.is_installed", lambda: False)
    for name in ("a.html", "a.warc"):
        (item,) = read(tmp_path / name, PAGE.encode())
        assert (item.row, item.reason) == (WHOLE_SHARD, Reason.UNREADABLE), "a stray page stops no other file"
        command = install_command("web")
        assert item.detail == f"a web page needs the package 'resiliparse'; install it with: {command}"
    with pytest.raises(MissingPackageError, match=r"'extract = \"html\"'|extract = .html. needs.*\[web\]"):
        read(tmp_path / "a.jsonl", b'{"text": "x"}', OF_COLUMN)
    identity.cache_clear()
    assert "absent" in identity(), "so that files are read again once it is installed"
    identity.cache_clear()


@needs_library
def test_the_identity_names_the_version():
    assert identity().split()[0] == "resiliparse"
    assert identity().split()[1][0].isdigit()
    assert isinstance(read_page(PAGE), pages.Page)
    assert Row
