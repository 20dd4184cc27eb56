"""Web archives: a page per answer in HTML, a broken record costs itself, and memory holds one body."""

import gzip
import io
import time
import tracemalloc
import zlib
from collections import Counter
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_archives import WORDS, answer, http, page, record

pytest.importorskip("resiliparse", reason="the extra web is not installed")

from tamis.readers.files import read_file
from tamis.readers.rows import LEFT_OUT, WHOLE_SHARD, Defect, Reason, Row
from tamis.readers.warc import read_warc
from tamis.settings.config import CorpusSection

CORPUS = CorpusSection(name="web", kind="files", path="web")


def read(tmp_path, data: bytes, name: str = "crawl.warc", corpus: CorpusSection = CORPUS):
    path = tmp_path / name
    path.write_bytes(data)
    return list(read_file(path, corpus))


def titles(items) -> list[str]:
    return [item.values["title"] for item in items if isinstance(item, Row)]


def left_out(items) -> Counter[str]:
    notes = [note for item in items if isinstance(item, Row) for note in item.notes]
    assert {note.column for note in notes} <= {LEFT_OUT}
    return sum((Counter({note.problem: note.values}) for note in notes), Counter())


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("crawl.warc", b"".join),
        ("crawl.warc.gz", lambda records: b"".join(map(gzip.compress, records))),
        ("crawl.warc.gz", lambda records: gzip.compress(b"".join(records))),
    ],
)
def test_each_answer_in_html_is_a_row_with_its_columns(tmp_path, name, pack):
    others = [record(b"software: x\r\n", "warcinfo"), record(b"GET / HTTP/1.1\r\n\r\n", "request")]
    image = record(http(bytes(100_000), "image/png"))
    gone = record(http(page(9).encode(), status="404 Not Found"))
    items = read(tmp_path, pack([*others, answer(1), image, gone, answer(2), others[1]]), name)
    first, second = items
    assert (first.row, second.row) == (2, 5), "the number of the record"
    assert first.values["text"].startswith("Page 1")
    assert WORDS.strip() in first.values["text"]
    assert "menu" not in first.values["text"]
    assert "rights" not in first.values["text"]
    assert {name: first.values[name] for name in ("title", "url", "date")} == {
        "title": "Page 1",
        "url": "https://example.org/1",
        "date": "2026-01-02T03:04:05Z",
    }
    assert left_out(items) == {
        "of type request": 2,
        "of type warcinfo": 1,
        "with a body of image/png": 1,
        "with the HTTP status 404": 1,
    }


BROKEN = {
    "bytes between records": b"no record\r\nof any kind\r\n",
    "a length too short": answer(9, length=60),
    "a length that reaches into the next record": answer(9, length=len(http(page(9).encode())) + 500),
    "a length that reaches beyond the file": answer(9, length=1_000_000),
    "a length that is none": answer(9).replace(b"Content-Length: ", b"Content-Length: x"),
    "a length of thousands of digits": answer(9).replace(
        b"Content-Length: ", b"Content-Length: " + b"9" * 5_000
    ),
    "no length": record(b"").replace(b"Content-Length: 0\r\n", b""),
    "no answer": record(b"nothing of HTTP"),
    "a header that does not end": b"WARC/1.0\r\nWARC-Type: response\r\n",
    "a body that is no gzip": record(http(b"\x00\x01garbage", fields="Content-Encoding: gzip\r\n")),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_record_costs_itself_and_says_where_it_is(tmp_path, what):
    before, after = answer(1), answer(2) + answer(3)
    items = read(tmp_path, before + BROKEN[what] + after)
    bad = [item for item in items if isinstance(item, Defect)]
    assert titles(items) == ["Page 1", "Page 2", "Page 3"], "in order, nothing valid is lost"
    assert bad
    assert all(one.reason == Reason.MALFORMED_ROW for one in bad)
    assert f"byte {len(before):,}" in bad[0].detail
    assert bad[0].row == 1
    assert [item.row for item in items] == sorted(item.row for item in items)


def test_a_page_without_main_text_is_quarantined_by_its_row(tmp_path):
    empty = record(
        http(b"<html><head><title>x</title></head><body><script>a()</script></body></html>"), number=7
    )
    items = read(tmp_path, answer(1) + empty + answer(2))
    assert (items[1].row, items[1].reason) == (1, Reason.EMPTY_TEXT)
    assert "https://example.org/7" in items[1].detail
    assert "no main text" in items[1].detail


def test_a_file_that_ends_within_a_record_keeps_the_others(tmp_path):
    data = answer(1) + answer(2)
    items = read(tmp_path, data[:-300])
    assert titles(items) == ["Page 1"]
    assert "ends within this record" in items[1].detail
    assert items[1].row == 1


def test_compressed_bytes_that_break_keep_the_pages_before(tmp_path):
    members = gzip.compress(answer(1)), gzip.compress(answer(2))
    items = read(tmp_path, members[0] + members[1][:-40], "crawl.warc.gz")
    assert titles(items) == ["Page 1"]
    assert (items[1].reason, items[1].row) == (Reason.BROKEN_COMPRESSION, 1)


def test_a_file_without_a_page_says_what_it_holds(tmp_path):
    (item,) = read(tmp_path, record(b"x", "warcinfo") + record(b"x", "request") + record(b"x", "request"))
    assert (item.row, item.reason) == (WHOLE_SHARD, Reason.EMPTY_FILE)
    assert "2 of type request, 1 of type warcinfo" in item.detail


def test_pages_without_text_are_not_held_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("tamis.readers.warc.MOST_HELD", 3)
    empty, request = record(http(b"<html></html>")), record(b"x", "request")
    items = read(tmp_path, request + answer(1) + (empty + request) * 9 + answer(2) + request)
    assert [item.row for item in items] == [1, *range(2, 20, 2), 20]
    assert left_out(items) == {"of type request": 11}


def test_blank_lines_and_broken_records_are_passed_over_in_linear_time(tmp_path):
    reaching = answer(9, length=9_000_000)
    began = time.process_time()
    items = read(
        tmp_path, answer(1) + b"\r\n" * 1_000_000 + reaching + record(b"x" * 300, "request") * 10_000
    )
    assert titles(items) == ["Page 1"]
    assert time.process_time() - began < 20


def test_what_is_no_archive_is_a_defect(tmp_path):
    (item,) = read(tmp_path, b"just some text\n" * 100)
    assert isinstance(item, Defect)
    assert "no record of WARC" in item.detail


CHUNKED = b"".join(
    b"%x\r\n%s\r\n" % (len(part), part) for part in (page(4).encode()[:99], page(4).encode()[99:], b"")
)


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (gzip.compress(page(4).encode(), mtime=0), "Content-Encoding: gzip\r\n"),
        (zlib.compress(page(4).encode()), "Content-Encoding: deflate\r\n"),
        (CHUNKED, "Transfer-Encoding: chunked\r\n"),
        # Archives that decode bodies and keep the fields.
        (page(4).encode(), "Content-Encoding: gzip\r\n"),
        (page(4).encode(), "Transfer-Encoding: chunked\r\n"),
        (page(4).encode(), "Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n"),
        (
            gzip.compress(page(4).encode(), mtime=0),
            "Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
        ),
    ],
)
def test_bodies_are_decoded_as_far_as_they_are_encoded(tmp_path, body, fields):
    (item,) = read(tmp_path, record(http(body, fields=fields)))
    assert isinstance(item, Row), item
    assert WORDS.strip() in item.values["text"]


OTHERS = {
    "a PDF": b"%PDF-1.4 \x00\x01",
    "compressed by gzip": gzip.compress(page(4).encode()),
    "binary data": bytes(range(256)) * 8,
}


@pytest.mark.parametrize("what", OTHERS)
def test_what_only_claims_to_be_html_is_quarantined(tmp_path, what):
    items = read(tmp_path, record(http(OTHERS[what])) + answer(2))
    assert (items[0].row, items[0].reason) == (0, Reason.MALFORMED_ROW)
    assert items[0].detail.startswith(f"the page is {what}, not HTML (byte 0 of")
    assert titles(items) == ["Page 2"]


def test_the_encoding_that_the_server_states_counts(tmp_path):
    text = f"<html><body><main><p>Die Flüsse führen Sand. {WORDS * 2}</p></main></body></html>"
    (item,) = read(tmp_path, record(http(text.encode("cp1252"), "text/html; charset=iso-8859-1")))
    assert "Die Flüsse führen Sand." in item.values["text"]


def test_a_bomb_and_a_giant_page_are_quarantined(tmp_path):
    corpus = CORPUS.model_copy(update={"maximum_row_bytes": 200_000})
    bomb = record(http(gzip.compress(bytes(50_000_000)), fields="Content-Encoding: gzip\r\n"))
    giant = record(http(page(1, paragraphs=5_000).encode()))
    items = read(tmp_path, bomb + giant + answer(3), corpus=corpus)
    assert [item.reason for item in items[:2]] == [Reason.GIANT_ROW] * 2
    assert titles(items) == ["Page 3"]


def test_of_a_body_that_ends_early_the_beginning_is_read_as_a_browser_shows_it(tmp_path):
    body = gzip.compress(page(9, paragraphs=50).encode())[:-30]
    (item,) = read(tmp_path, record(http(body, fields="Content-Encoding: gzip\r\n")))
    assert item.values["text"].startswith("Page 9")


class Endless(io.RawIOBase):
    """An archive of so many records that is made while it is read, and counts its bytes."""

    def __init__(self, records: int) -> None:
        self.records, self.bytes = records, 0
        large = record(http(bytes(3_000_000), "video/mp4"))
        self._turn = [answer(1), large, record(http(page(2, 300).encode())), record(b"x" * 500, "request")]
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        if not self._rest and self.records:
            self.records -= 1
            self._rest = memoryview(self._turn[self.records % len(self._turn)])
        part = self._rest[: len(buffer)]
        self._rest = self._rest[len(part) :]
        buffer[: len(part)] = part
        self.bytes += len(part)
        return len(part)


def most_memory(records: int) -> tuple[int, int, int]:
    """Return bytes read, rows, and the most memory that reading took."""
    source = Endless(records)
    content = SimpleNamespace(stream=io.BufferedReader(source, 1 << 16), broken="")
    tracemalloc.start()
    try:
        rows = sum(isinstance(item, Row) for item in read_warc(content, CORPUS))
        return source.bytes, rows, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_archive():
    few, many = most_memory(8), most_memory(160)
    assert many[0] > 19 * few[0]
    assert many[0] > 100_000_000
    assert (few[1], many[1]) == (4, 80)
    assert many[2] < 1.2 * few[2] + 100_000, "of 120 MB no more is held than of 6"
    assert many[2] < 3_000_000, "a body that is no page is never held"


@given(st.binary(max_size=400), st.floats(0, 1))
@settings(deadline=None, max_examples=60)
def test_any_bytes_between_records_cost_no_other_page(tmp_path_factory, garbage, share):
    """Also where they are put into a record: then that one, too, is lost at most."""
    first, second, third = answer(1), answer(2), answer(3)
    at = int(share * len(second))
    data = first + second[:at] + garbage + second[at:] + b"\r\n" + third
    items = read(tmp_path_factory.mktemp("warc"), data)
    assert {"Page 1", "Page 3"} <= set(titles(items))
