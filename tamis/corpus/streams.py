"""Bytes of a shard, decompressed, in bounded memory, with whatever is broken noted instead of raised.

Where compressed bytes break, the stream ends there and `broken` says why, so rows before the break are
read as usual. Lines are bounded: of a longer one only the beginning is kept and the rest is skipped to
the next newline. A 50 MB line in a gzip file costs about 11 MB at the default limit.
"""

import contextlib
import io
import math
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple

import zstandard

BLOCK_BYTES = 1 << 16
ZSTD_BYTES = 1 << 10
GZIP_FRAMING = 31
UTF8_MARK = b"\xef\xbb\xbf"
WIDE_MARKS = {
    b"\xff\xfe\0\0": "UTF-32",  # before that of UTF-16, with which it begins
    b"\0\0\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
HEAD_BYTES = 1_024
ENDS_EARLY = "the file ends before its end-of-stream marker (half-written or truncated)"


class BrokenStreamError(Exception):
    """Compressed bytes that cannot be decoded any further."""


class Line(NamedTuple):
    """One line without its newline; of a giant one, the beginning only."""

    content: bytes
    giant: bool
    ended: bool


class Content(AbstractContextManager["Content"]):
    """Context manager over the decompressed bytes of a file.

    Attributes: `stream` (buffered bytes, after a UTF-8 byte order mark), `encoding_problem` ("" or the
    name of an encoding that is not UTF-8). `most`: bytes after which reading ends, for a look at the head.
    Raises `OSError` when the file cannot be opened.
    """

    def __init__(self, path: Path, most: float = math.inf) -> None:
        self._file = path.open("rb")
        self._source = _Source(_BLOCKS.get(path.suffix.lower(), _plain)(self._file), most)
        self._size = os.fstat(self._file.fileno()).st_size
        self.stream = io.BufferedReader(self._source, BLOCK_BYTES)
        head = self.stream.peek(HEAD_BYTES)[:HEAD_BYTES]
        mark = head[:3]
        marked = (name for wide, name in WIDE_MARKS.items() if head.startswith(wide))
        self.encoding_problem = next(marked, "") or _wide_without_mark(head)
        self.empty = not mark
        if mark == UTF8_MARK:
            self.stream.read(3)

    @property
    def broken(self) -> str:
        """Why the bytes end before their time; "" when they do not, or not yet."""
        return self._source.broken

    @property
    def share(self) -> float:
        """Return the share of the file's bytes that has been read, 1 at its end."""
        return self._file.tell() / self._size if self._source.cut and self._size else 1.0

    def lines(self, limit: int) -> Iterator[Line]:
        """The lines, each of at most `limit` bytes or marked as giant."""
        while content := self.stream.readline(limit + 2):
            ended = content.endswith(b"\n")
            stripped = content.rstrip(b"\r\n")
            giant = len(stripped) > limit
            if giant and not ended:
                ended = self._skip_line()
            yield Line(stripped, giant, ended)

    def _skip_line(self) -> bool:
        while skipped := self.stream.readline(BLOCK_BYTES):
            if skipped.endswith(b"\n"):
                return True
        return False

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stream.close()
        self._file.close()


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
    """Blocks of bytes as a raw stream that ends where they break."""

    def __init__(self, blocks: Iterator[bytes], most: float) -> None:
        self._blocks, self._left = blocks, most
        self._rest = memoryview(b"")
        self.broken, self.cut = "", False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self._left <= 0:
            self.cut = True
            return 0
        while not self._rest:
            try:
                self._rest = memoryview(next(self._blocks))
            except StopIteration:
                return 0
            except (BrokenStreamError, zstandard.ZstdError) as error:
                self.broken = str(error)
                return 0
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        self._left -= size
        return size


def _plain(file: BinaryIO) -> Iterator[bytes]:
    return iter(partial(file.read, BLOCK_BYTES), b"")


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
    decoder, inside = zstandard.ZstdDecompressor().decompressobj(), False
    for block in iter(partial(file.read, ZSTD_BYTES), b""):
        data = block
        while data:
            inside = True
            yield decoder.decompress(data)
            data = b""
            if decoder.eof:
                data, inside = decoder.unused_data, False
                decoder = zstandard.ZstdDecompressor().decompressobj()
    if inside:
        raise BrokenStreamError(ENDS_EARLY)


_BLOCKS: dict[str, Callable[[BinaryIO], Iterator[bytes]]] = {".gz": _gunzip, ".zst": _unzstd}
