"""Stream web archives (WARC 1.0 and 1.1, ISO 28500): one row per HTML page that a server returned.

Records are framed here and not by fastwarc, which gives up the rest of a file after a broken record; this
reader goes on at the next line that begins a record. Other records (requests, images, redirects, errors) are
skipped in blocks and counted. fastwarc decodes chunked and compressed bodies; resiliparse depends on it.
"""

import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from tamis.readers.pages import is_installed, not_installed, page_item
from tamis.readers.rows import (
    LEFT_OUT,
    WHOLE_SHARD,
    Defect,
    Item,
    Note,
    Reason,
    Row,
    broken_stream,
    giant_row,
    malformed,
)
from tamis.readers.streams import BLOCK_BYTES, Content
from tamis.settings.config import CorpusSection

LINE_BYTES, HEADER_BYTES, HTTP_HEAD_BYTES = 1 << 16, 1 << 18, 1 << 16
HTML = ("text/html", "application/xhtml+xml")
KIND_CHARACTERS = 40
MOST_HELD = 1_000
"""Items in memory; after so many defects in a row, other records up to the next page may go uncounted."""
ENDS = (b"\r\n\r\n", b"\n\n")
_BEGINS = re.compile(rb"WARC/[01]\.\d+\s*$")
_NEXT = re.compile(rb"\n(?=WARC/[01]\.\d+\r?\n)")
_PAGE = re.compile(rb"\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html)\b", re.IGNORECASE | re.DOTALL)
_LENGTH = re.compile(r"[0-9]{1,18}")
_STATUS = re.compile(rb"HTTP/\d(?:\.\d)?\s+(\d{3})")


@dataclass(frozen=True, kw_only=True)
class _Record:
    """A record: the byte at which it begins, and its fields, named in lower case.

    `kind`: why it is no page, "" for a page. `problem`: why it is unusable. `content`: the HTTP message of a
    page, only its beginning if `giant`; `http`: the fields of the message's header.
    """

    at: int
    fields: Mapping[str, str]
    kind: str = ""
    problem: str = ""
    content: bytes = b""
    http: Mapping[str, str] | None = None
    giant: bool = False

    @property
    def where(self) -> str:
        """Position and address of the record, for messages."""
        address = self.fields.get("warc-target-uri", "").strip("<>")
        return f" (byte {self.at:,} of the unpacked file{', ' if address else ''}{address[:200]})"


def read_warc(content: Content, corpus: CorpusSection) -> Iterator[Item]:
    """Yield one row per page, at the number of its record; notes count the records that are no page."""
    if not is_installed():
        yield not_installed()
        return
    left_out, records = Counter[str](), 0
    held: list[Item] = []  # the last row, which takes the notes on what follows it, and the defects after it
    for row, record in enumerate(_Records(content, corpus.maximum_row_bytes)):
        records += 1
        if record.kind:
            left_out[record.kind] += 1
            continue
        item = _item(row, record, corpus)
        if isinstance(item, Row) or len(held) == MOST_HELD:
            yield from _noted(held, left_out)
            held = []
        held.append(item)
    yield from _noted(held, left_out)
    if content.broken:
        yield broken_stream(records, content.broken, b"")
    elif left_out.total() == records > 0:
        shown = ", ".join(f"{count:,} {kind}" for kind, count in left_out.most_common())
        yield Defect(row=WHOLE_SHARD, reason=Reason.EMPTY_FILE, detail=f"no record holds a page: {shown}")


def _noted(held: list[Item], left_out: Counter[str]) -> Iterator[Item]:
    """Yield the items; their first row takes the counts of records left out, which are reset."""
    for item in held:
        if isinstance(item, Row) and left_out:
            counts = sorted(left_out.items())
            notes = (Note(column=LEFT_OUT, problem=kind, values=count) for kind, count in counts)
            item = replace(item, notes=tuple(notes))
            left_out.clear()
        yield item


def _item(row: int, record: _Record, corpus: CorpusSection) -> Item:
    if record.problem:
        return malformed(row, f"{record.problem}{record.where}", record.content)
    if record.giant:
        return giant_row(row, corpus.maximum_row_bytes, record.content)
    try:
        body = _decoded(record.content, corpus.maximum_row_bytes)
    except OSError as error:
        return malformed(row, f"the answer cannot be decoded: {error}{record.where}", record.content)
    if len(body) > corpus.maximum_row_bytes:
        return giant_row(row, corpus.maximum_row_bytes, body)
    charset = re.search(r"charset\s*=\s*[\"']?([\w.:-]+)", (record.http or {}).get("content-type", ""), re.I)
    known = {
        "url": record.fields.get("warc-target-uri", "").strip("<>"),
        "date": record.fields.get("warc-date", ""),
        "encoding": charset[1] if charset else "",
    }
    return page_item(row, body, corpus, known, record.where)


class _Records:
    """Iterate over the records of a stream with at most one body in memory."""

    def __init__(self, content: Content, limit: int) -> None:
        self._content, self._stream, self._limit = content, content.stream, limit
        self._again = io.BytesIO()
        self._at = 0

    def __iter__(self) -> Iterator[_Record]:
        while line := self._next_line():
            at = self._at - len(line)
            if not _BEGINS.match(line):
                yield self._garbage(at, line)
            elif (fields := self._fields()) is None or not _LENGTH.fullmatch(
                fields.get("content-length", "")
            ):
                yield _Record(at=at, fields=fields or {}, problem=self._headless(fields))
            else:
                record = self._body(at, fields, int(fields["content-length"]))
                if self._content.broken and record.problem:
                    return  # that says the break
                yield record

    def _read(self, size: int) -> bytes:
        data = self._again.read(size)
        data += self._stream.read(size - len(data)) if len(data) < size else b""
        self._at += len(data)
        return data

    def _line(self) -> bytes:
        line = self._again.readline(LINE_BYTES)
        if not line.endswith(b"\n") and len(line) < LINE_BYTES:
            line += self._stream.readline(LINE_BYTES - len(line))
        self._at += len(line)
        return line

    def _put_back(self, data: bytes) -> None:
        self._at -= len(data)
        start = self._again.tell() - len(data)
        if start >= 0 and self._again.getbuffer()[start : start + len(data)] == data:
            self._again.seek(start)  # the line came from there: no copy of what follows it
        else:
            self._again = io.BytesIO(data + self._again.read())

    def _next_line(self) -> bytes:
        """Return the next line that is not blank, b"" at the end of the stream."""
        while (line := self._line()) and not line.strip():
            pass
        return line

    def _garbage(self, at: int, line: bytes) -> _Record:
        """Skip bytes that belong to no record, up to the line that begins the next record."""
        first, whole = line, line.endswith(b"\n")
        while line := self._line():
            if whole and _BEGINS.match(line):
                self._put_back(line)
                break
            whole = line.endswith(b"\n")
        problem = f"{self._at - at:,} bytes here are no record of WARC"
        return _Record(at=at, fields={}, problem=problem, content=first)

    def _fields(self) -> dict[str, str] | None:
        """Return the fields of a record's header; None if no blank line ends it."""
        lines, size = [], 0
        while (line := self._line()).strip():
            size += len(line)
            if size > HEADER_BYTES or _BEGINS.match(line):
                self._put_back(line)
                return None
            lines.append(line)
        return _parsed(b"".join(lines)) if line else None

    def _headless(self, fields: Mapping[str, str] | None) -> str:
        if fields is None:
            return "the header of this record does not end"
        length = fields.get("content-length", "")[:KIND_CHARACTERS]
        return f"the Content-Length of this record is {length or 'missing'}"

    def _body(self, at: int, fields: Mapping[str, str], length: int) -> _Record:
        """Read the body of a page, skip that of other records, and check that another record follows."""
        head = self._read(min(length, HTTP_HEAD_BYTES))
        record = _answer(_Record(at=at, fields=fields), head)
        if not record.kind and len(head) < min(length, self._limit + HTTP_HEAD_BYTES):
            head += self._read(min(length, self._limit + HTTP_HEAD_BYTES) - len(head))
            record = replace(record, content=head, giant=len(head) < length)
        whole, left = len(head) == length, length - len(head)
        while left and (block := self._read(min(left, BLOCK_BYTES))):
            left, whole = left - len(block), False
        gap, line = b"", self._line()
        while line and not line.strip():
            gap += line[: LINE_BYTES - len(gap)]
            line = self._line()
        self._put_back(line)
        if not left and (not line or _BEGINS.match(line) or gap.startswith(ENDS)):
            return record  # complete, even if garbage follows
        ends = f"no record follows after {length:,} bytes, its Content-Length"
        problem = "the file ends within this record" if left else ends
        if (whole or left) and (cut := _NEXT.search(head)) is not None:
            self._put_back(head[cut.end() :] + gap)  # its Content-Length reaches into the next record
            problem = ends
        return replace(record, kind="", problem=problem)


def _parsed(lines: bytes) -> dict[str, str]:
    """Return the first field of each name, in lower case; folded lines are joined."""
    fields: dict[str, str] = {}
    unfolded = re.sub(rb"\r?\n[ \t]+", b" ", lines).decode("utf-8", "replace")
    for line in unfolded.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip().lower(), value.strip())
    return fields


def _answer(record: _Record, head: bytes) -> _Record:
    """Return the record with its HTTP header if it is a page, else with its `kind` or `problem`.

    `head`: the first bytes of its body.
    """
    fields = record.fields
    if fields.get("warc-type", "").lower() != "response":
        return replace(record, kind=f"of type {fields.get('warc-type', 'unknown')[:KIND_CHARACTERS]}")
    protocol = fields.get("content-type", "application/http").lower()
    if not protocol.startswith("application/http"):
        return replace(record, kind=f"of type response ({protocol[:KIND_CHARACTERS]})")
    status = _STATUS.match(head)
    end = re.search(rb"\r?\n\r?\n", head)
    if status is None or end is None:
        return replace(record, problem="the answer has no HTTP header", content=head)
    http = _parsed(head[: end.start()].partition(b"\n")[2])
    kind = (http.get("content-type") or fields.get("warc-identified-payload-type") or "").partition(";")[0]
    kind = kind.strip().lower()
    if not status[1].startswith(b"2"):
        return replace(record, kind=f"with the HTTP status {status[1].decode()}")
    if kind in HTML or (not kind and _PAGE.match(head[end.end() :])):
        return replace(record, content=head, http=http)
    return replace(record, kind=f"with a body of {kind[:KIND_CHARACTERS] or 'no stated type'}")


def _decoded(message: bytes, limit: int) -> bytes:
    """Return at most `limit` + 1 bytes of the decoded body of an HTTP message; raises `OSError`.

    Some archives store decoded bodies under the original header, so weaker decodings are tried, too.
    """
    from fastwarc.warc import WarcRecord

    head = b"WARC/1.0\r\nWARC-Type: response\r\nContent-Type: application/http\r\nContent-Length: %d\r\n\r\n"
    problem: OSError | None = None
    for decode in ("all", "transfer", "content", "none"):
        try:
            record = WarcRecord.from_bytes(head % len(message) + message)
            record.parse_http(auto_decode=decode, max_header_len=HTTP_HEAD_BYTES, strict_mode=False)
            body = record.reader.read(limit + 1)
        except OSError as error:
            problem = problem or error
            continue
        if body and (problem is None or b"<" in body[:1_000]):
            return bytes(body)
    if problem is not None:
        raise problem
    return b""
