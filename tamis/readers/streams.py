"""Bytes of a shard, decompressed, in bounded memory; what is broken is noted instead of raised.

About how many rows they hold is told by a footer, or by the lines.
"""

import codecs
import contextlib
import io
import math
import os
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from tamis.readers.arrow_values import open_arrow

BLOCK_BYTES = 1 << 16
ZSTD_BYTES, ZSTD_HEAD_BYTES = 1 << 10, 6
GZIP_FRAMING = 31
UTF8_MARK = b"\xef\xbb\xbf"
WIDE_MARKS = {
    b"\xff\xfe\0\0": "UTF-32",  # before that of UTF-16, with which it begins
    b"\0\0\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
HEAD_BYTES = 1_024
LONGEST_WINDOW = 1 << 31
"""Bytes: that of `zstd --long=31`, the largest that its command line takes."""
MOST_LAYERS = 3
"""A file that was compressed again and again is read; more is taken for a trap."""
GZIP, ZSTD, ZSTD_SKIPPED = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x2a\x4d\x18"
PARQUET, ARROW, ARROW_STREAM = "Parquet", "Arrow", "an Arrow stream"
FORMATS = {
    b"PAR1": PARQUET,
    b"ARROW1": ARROW,
    b"\xff\xff\xff\xff": ARROW_STREAM,
    b"PK\x03\x04": "a zip archive",
    b"\xfd7zXZ\0": "compressed by xz",
    b"BZh": "compressed by bzip2",
    b"\x04\x22\x4d\x18": "compressed by lz4",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"%PDF-": "a PDF",
    b"SQLite format 3\0": "a SQLite database",
}
"""Names of formats, none of which is text, by the first bytes of a file."""
ENDS_EARLY = "the file ends before its end-of-stream marker (half-written or truncated)"
SECONDS, LINE_FEED = 60, 0x0A
LINES, HEADED, TEXTS = (".jsonl", ".ndjson", ".csv", ".tsv"), (".csv", ".tsv"), (".txt", ".md")
PAGES, ARCHIVES = (".html", ".htm"), (".warc",)
SINGLE = (*TEXTS, *PAGES)
"""Files of one document each."""
COLUMNAR = (".parquet", ".arrow")


class BrokenStreamError(Exception):
    """Compressed bytes that cannot be decoded any further."""


class Line(NamedTuple):
    """One line without its newline; of a giant one, the beginning only."""

    content: bytes
    giant: bool
    ended: bool


class Content(AbstractContextManager["Content"]):
    """Context manager over the decompressed bytes of a file.

    Attributes: `stream` (buffered bytes, after a UTF-8 byte order mark), `head` (the first bytes),
    `encoding_problem` ("" or the name of an encoding that is not UTF-8), `format` ("" or what a file is that
    is no text). `most`: decompressed bytes after which reading ends, for a look at the head. Raises `OSError`
    when the file cannot be opened.
    """

    def __init__(self, path: Path, most: float = math.inf) -> None:
        self._file = path.open("rb")
        head = self._file.read(HEAD_BYTES)
        self._file.seek(0)
        named = head and path.suffix.lower() in (".gz", ".zst")
        blocks = _neither if named and not (is_plain_text(head) or format_of(head)) else _plain
        self._sources = [_Source((_unpacking(head) or blocks)(self._file))]
        self.stream = io.BufferedReader(self._sources[0], BLOCK_BYTES)
        head = self.stream.peek(HEAD_BYTES)[:HEAD_BYTES]
        while (unpacked := _unpacking(head)) and len(self._sources) < MOST_LAYERS:
            self._sources.append(_Source(unpacked(self.stream)))
            self.stream = io.BufferedReader(self._sources[-1], BLOCK_BYTES)
            head = self.stream.peek(HEAD_BYTES)[:HEAD_BYTES]
        self._sources[-1].most = most
        self._size = os.fstat(self._file.fileno()).st_size
        self.head, self.format = head, format_of(head)
        marked = (name for wide, name in WIDE_MARKS.items() if head.startswith(wide))
        self.encoding_problem = next(marked, "") or _wide_without_mark(head)
        self.empty = not head
        if head.startswith(UTF8_MARK):
            self.stream.read(len(UTF8_MARK))

    @property
    def broken(self) -> str:
        """Why the bytes end before their time; "" when they do not, or not yet."""
        return next((source.broken for source in self._sources if source.broken), "")

    @property
    def cut(self) -> bool:
        """Return whether reading has ended at `most`."""
        return self._sources[-1].cut

    @property
    def share(self) -> float:
        """Return the share of the file's bytes that has been read, 1 at its end."""
        return self._file.tell() / self._size if self.cut and self._size else 1.0

    def lines(self, limit: int) -> Iterator[Line]:
        """The lines, each of at most `limit` bytes or marked as giant.

        Where files were put together, the byte order mark of a later one is left out.
        """
        while content := self.stream.readline(limit + len(UTF8_MARK) + 2):
            ended = content.endswith(b"\n")
            stripped = content.rstrip(b"\r\n").removeprefix(UTF8_MARK)
            giant = len(stripped) > limit
            yield Line(stripped, giant, ended or (giant and self._skip_line()))

    def _skip_line(self) -> bool:
        """Read to the end of a line, and return whether it has one."""
        skipped = iter(partial(self.stream.readline, BLOCK_BYTES), b"")
        return any(part.endswith(b"\n") for part in skipped)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stream.close()
        self._file.close()


def format_of(head: bytes) -> str:
    """Return what a file is that begins so and is no text, "" where nothing says it."""
    if is_plain_text(head):
        return ""
    if _unpacking(head):
        return f"compressed by {'gzip' if head.startswith(GZIP) else 'zstd'}"
    return next((name for magic, name in FORMATS.items() if head.startswith(magic)), "")


def is_plain_text(head: bytes) -> bool:
    """Return whether the first bytes of a file are text in UTF-8 without control characters."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head, len(head) < HEAD_BYTES)
    except UnicodeDecodeError:
        return False
    return not any(letter < " " and letter not in "\t\n\r\f\x1b" for letter in text)


def _unpacking(head: bytes) -> Callable[[BinaryIO], Iterator[bytes]] | None:
    """Return what decompresses a file that begins so; None where it is not compressed."""
    if head.startswith(GZIP):
        return _gunzip
    skipped = head[1:4] == ZSTD_SKIPPED and head[0] & 0xF0 == 0x50
    return _unzstd if skipped or head.startswith(ZSTD) else None


def _wide_without_mark(head: bytes) -> str:
    """Name the encoding where NUL bytes between letters say that it is none of single bytes."""
    places = [place for place, byte in enumerate(head) if not byte] if 0 in head else []
    if len(places) < max(4, len(head) / 16):  # in Cyrillic, only spaces and signs have one
        return ""
    wide = len({place % 2 for place in places}) == 1 or _is_utf_32(head)
    return "UTF-16 or UTF-32 without a byte-order mark (NUL bytes between letters)" if wide else ""


def _is_utf_32(head: bytes) -> bool:
    """Return whether these bytes are text in UTF-32, not text with a hole or padding of NUL bytes."""
    whole = head[: len(head) // 4 * 4]
    for codec in ("utf-32-le", "utf-32-be"):
        with contextlib.suppress(UnicodeDecodeError):
            return "\0" not in whole.decode(codec)
    return False


class _Source(io.RawIOBase):
    """Blocks of bytes as a raw stream that ends where they break, or after `most` bytes: then it is `cut`."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks, self._passed = blocks, 0
        self._rest = memoryview(b"")
        self.most, self.broken, self.cut = math.inf, "", False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._rest:
            try:
                self._rest = memoryview(next(self._blocks))
            except StopIteration:
                return 0
            except (BrokenStreamError, zstandard.ZstdError) as error:
                self.broken = str(error)
                return 0
        if self._passed >= self.most:
            self.cut = True
            return 0
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        self._passed += size
        return size


def _plain(file: BinaryIO) -> Iterator[bytes]:
    return iter(partial(file.read, BLOCK_BYTES), b"")


def _neither(file: BinaryIO) -> Iterator[bytes]:
    """Refuse a file that is called compressed."""
    yield from ()
    raise BrokenStreamError("the file is neither compressed by gzip or zstd nor text in UTF-8")


def _gunzip(file: BinaryIO) -> Iterator[bytes]:
    """Members one after the other; zero padding behind a member is allowed, as in `gzip`."""
    decoder, inside, members = zlib.decompressobj(GZIP_FRAMING), False, 0
    for block in _plain(file):
        data = block
        while data := data.lstrip(b"\0") if members and not inside else data:
            inside = True
            yield from _inflate(decoder, data)
            data = decoder.unconsumed_tail
            if decoder.eof:
                data, decoder, inside = decoder.unused_data, zlib.decompressobj(GZIP_FRAMING), False
                members += 1
    if inside:
        yield decoder.flush()
        raise BrokenStreamError(ENDS_EARLY)


def _inflate(decoder: "zlib._Decompress", data: bytes) -> Iterator[bytes]:
    """Decode at most a block; when the bytes are corrupt, first yield the bytes before the fault."""
    spare = decoder.copy()
    try:
        yield decoder.decompress(data, BLOCK_BYTES)
    except zlib.error as error:
        for position in range(len(data)):
            try:
                yield spare.decompress(data[position : position + 1])
            except zlib.error:
                break
        raise BrokenStreamError(str(error)) from error


def _unzstd(file: BinaryIO) -> Iterator[bytes]:
    """Frames one after the other, fed in small pieces since 1 KB may hold 32 MB of one repeated byte."""
    reader = zstandard.ZstdDecompressor(max_window_size=LONGEST_WINDOW)
    decoder, head = reader.decompressobj(), b""
    for block in iter(partial(file.read, ZSTD_BYTES), b""):
        data = block
        while data:
            head = head or data[:ZSTD_HEAD_BYTES]
            try:
                yield decoder.decompress(data)
            except zstandard.ZstdError as error:
                raise BrokenStreamError(_too_long(head) or str(error)) from error
            data = b""
            if decoder.eof:
                data, head, decoder = decoder.unused_data, b"", reader.decompressobj()
    if head:
        raise BrokenStreamError(ENDS_EARLY)


def _too_long(head: bytes) -> str:
    """Return what is wrong with a frame that begins so, if it is its window (RFC 8878, 3.1.1.1)."""
    if len(head) < ZSTD_HEAD_BYTES or not head.startswith(ZSTD) or head[4] & 0x20:
        return ""
    exponent, eighths = head[5] >> 3, head[5] & 7
    window = (1 << (10 + exponent)) // 8 * (8 + eighths)
    if window <= LONGEST_WINDOW:
        return ""
    return (
        f"the zstd window is {window / (1 << 30):,.0f} GB, and {LONGEST_WINDOW >> 30} GB at most are read; "
        "compress the file again with `zstd --long=31` or less"
    )


def ending_of(name: str) -> str:
    """Return the extension of a file, in lower case and without that of its compression."""
    return Path(name.lower().removesuffix(".gz").removesuffix(".zst")).suffix


def holds_pages(name: str) -> bool:
    """Return whether a file of this name holds web pages."""
    return ending_of(name) in (*PAGES, *ARCHIVES)


def rows_told(path: Path) -> int | None:
    """Return how many rows a file tells that it has, Parquet and Arrow under any name; None if nothing."""
    ending = ending_of(path.name)
    if ending in SINGLE:
        return 1
    with contextlib.suppress(OSError, ValueError, pa.ArrowException), Content(path) as content:
        if content.format == PARQUET:
            return pq.read_metadata(path).num_rows
        is_text = not content.format and is_plain_text(content.head)
        if content.format in (ARROW, ARROW_STREAM) or (ending == ".arrow" and not is_text):
            options = pa.ipc.IpcReadOptions(included_fields=[0])
            with pa.memory_map(str(path)) as source:
                return sum(batch.num_rows for batch in open_arrow(source, options)[1])
        if (ending in LINES and not content.format) or (ending in COLUMNAR and is_text):
            lines = _lines(content)
            return lines - 1 if ending in HEADED and lines > 1 else lines or None
    return None


def rows_told_apart(path: Path) -> int | None:
    """Return what `rows_told` does, asked in a process of its own; None where that dies or takes a minute."""
    # Without -P a folder `tamis` in the working directory would be run.
    command = [sys.executable, "-P", "-m", "tamis.readers.streams", str(path)]
    try:
        return int(subprocess.check_output(command, stderr=subprocess.PIPE, text=True, timeout=SECONDS))
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def _lines(content: Content) -> int:
    """Count lines, the last one also without an end; they end as most of them do, in LF or CR."""
    if content.encoding_problem:
        return _wide_lines(content)
    feeds = returns = 0
    last = b""
    while block := content.stream.read(BLOCK_BYTES):
        feeds, returns, last = feeds + block.count(b"\n"), returns + block.count(b"\r"), block
    return (feeds or returns) + (bool(last) and not last.endswith((b"\n", b"\r")))


def _wide_lines(content: Content) -> int:
    """Count lines of UTF-16 or UTF-32, of which two bytes hold a line feed, in the order in which more do."""
    counts, last = Counter[str](), {"<u2": LINE_FEED, ">u2": LINE_FEED}
    while block := content.stream.read(BLOCK_BYTES):
        for order in last:
            units = np.frombuffer(block[: len(block) // 2 * 2], order)
            counts[order] += int((units == LINE_FEED).sum())
            last[order] = next((int(unit) for unit in units[:-3:-1] if unit), last[order])
    order, lines = max(counts.items(), key=lambda one: one[1], default=("<u2", 0))
    return lines + (last[order] != LINE_FEED)


if __name__ == "__main__":
    print(rows_told(Path(sys.argv[1])))
