"""Compressed bytes: everything before a break is kept, and memory stays bounded."""

import gzip
import hashlib
import io
import tracemalloc

import pytest
import zstandard
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tamis.readers.streams import GZIP, ZSTD, ZSTD_SKIPPED, Content

PACK = {
    ".gz": lambda data: gzip.compress(data, mtime=0),
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
    "": lambda data: data,
}
# Lines that compress evenly, so that a share of the compressed bytes is a share of the text.
TEXT = b"".join(hashlib.sha256(b"%d" % number).hexdigest().encode() + b"\n" for number in range(12_000))
PACKED = {suffix: PACK[suffix](TEXT) for suffix in (".gz", ".zst")}
BLOCK_BYTES = {".gz": 70_000, ".zst": 135_000}


def content_of(tmp_path, suffix, data):
    path = tmp_path / f"file.txt{suffix}"
    path.write_bytes(data)
    return Content(path)


@pytest.mark.parametrize("suffix", PACK)
def test_members_follow_one_another(tmp_path, suffix):
    pack = PACK[suffix]
    with content_of(tmp_path, suffix, pack(TEXT) + pack(b"") + pack(b"the end")) as content:
        assert content.stream.read() == TEXT + b"the end"
        assert not content.broken


def test_zero_padding_after_a_gzip_member_is_allowed(tmp_path):
    with content_of(tmp_path, ".gz", gzip.compress(TEXT) + bytes(100_000)) as content:
        assert content.stream.read() == TEXT
        assert not content.broken


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("garbage", [b"garbage", b"\x1f\x8b", b"(\xb5/\xfd"])
def test_garbage_after_the_end_is_noted(tmp_path, suffix, garbage):
    with content_of(tmp_path, suffix, PACK[suffix](TEXT) + garbage) as content:
        assert content.stream.read() == TEXT
        assert content.broken


@given(st.sampled_from([".gz", ".zst"]), st.floats(0.001, 0.999))
@settings(deadline=None, max_examples=25)
def test_what_stands_before_a_truncation_is_kept(tmp_path_factory, suffix, share):
    data = PACKED[suffix]
    with content_of(tmp_path_factory.mktemp("cut"), suffix, data[: int(share * len(data)) + 1]) as content:
        kept = content.stream.read()
        assert content.broken
    assert TEXT.startswith(kept)
    assert len(kept) >= share * len(TEXT) - BLOCK_BYTES[suffix]


@given(st.sampled_from([".gz", ".zst"]), st.floats(0.3, 0.99))
@settings(deadline=None, max_examples=25)
def test_what_stands_before_a_corruption_is_kept(tmp_path_factory, suffix, share):
    data = bytearray(PACKED[suffix])
    place = int(share * len(data))
    data[place : place + 8] = bytes(byte ^ 0xFF for byte in data[place : place + 8])
    with content_of(tmp_path_factory.mktemp("bad"), suffix, bytes(data)) as content:
        kept = content.stream.read()
        assert content.broken
    sound = next(
        (place for place, pair in enumerate(zip(kept, TEXT, strict=False)) if pair[0] != pair[1]), len(kept)
    )
    assert sound >= share * len(TEXT) - BLOCK_BYTES[suffix]


@pytest.mark.parametrize("suffix", PACK)
def test_giant_lines_are_cut_in_bounded_memory(tmp_path, suffix):
    limit, giant = 100_000, bytes([65]) * 50_000_000
    packed = PACK[suffix](b"first\n" + giant + b"\nlast")
    del giant
    with content_of(tmp_path, suffix, packed) as content:
        tracemalloc.start()
        lines = list(content.lines(limit))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert [(line.content[:5], line.giant, line.ended) for line in lines] == [
        (b"first", False, True),
        (b"AAAAA", True, True),
        (b"last", False, False),
    ]
    assert peak < (60_000_000 if suffix == ".zst" else 3_000_000)


@given(
    st.lists(st.binary(max_size=12).map(lambda part: part.replace(b"\n", b"")), max_size=8),
    st.integers(1, 12),
)
@settings(deadline=None, max_examples=25)
def test_lines_agree_with_splitting(tmp_path_factory, parts, limit):
    data = b"\n".join(parts)
    assume(not data.startswith((GZIP, ZSTD)) and data[1:4] != ZSTD_SKIPPED)  # which are unpacked
    with content_of(tmp_path_factory.mktemp("lines"), "", data) as content:
        lines = list(content.lines(limit))
    mark = b"\xef\xbb\xbf"
    expected = [part.rstrip(b"\r\n").removeprefix(mark) for part in io.BytesIO(data.removeprefix(mark))]
    assert [line.giant for line in lines] == [len(part) > limit for part in expected]
    assert [line.content for line in lines if not line.giant] == [p for p in expected if len(p) <= limit]


def test_byte_order_marks(tmp_path):
    with content_of(tmp_path, ".gz", gzip.compress(b"\xef\xbb\xbfx")) as content:
        assert content.stream.read() == b"x"
    for start, name in ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16")):
        with content_of(tmp_path, "", start + b"x\0") as content:
            assert content.encoding_problem == name
    for mark, encoding in ((b"\xff\xfe\0\0", "utf-32-le"), (b"\0\0\xfe\xff", "utf-32-be")):
        with content_of(tmp_path, "", mark + "Words".encode(encoding)) as content:
            assert content.encoding_problem == "UTF-32"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("text", ["Words of a text", "\u043c\u0438\u0440, " * 300], ids=["ASCII", "Cyrillic"])
def test_wide_letters_without_a_mark_are_found(tmp_path, text, encoding):
    with content_of(tmp_path, "", text.encode(encoding)) as content:
        assert content.encoding_problem.startswith("UTF-16 or UTF-32 without")


@pytest.mark.parametrize(
    "text",
    [
        "one\0 of a longer text",
        "a\0b",
        "\0one\0three\0five\0\0six",
        "ab\0" * 50,
        '{"text": "one"}\n' + "\0" * 900,
        "{}\n" + "\0" * 900,
        "\0" * 600 + '{"text": "one"}\n' * 60,
    ],
)
def test_a_text_with_some_nuls_is_utf_8(tmp_path, text):
    with content_of(tmp_path, "", text.encode()) as content:
        assert not content.encoding_problem


@pytest.mark.parametrize("called", ["", ".gz", ".zst"])
@pytest.mark.parametrize("packed", PACK)
def test_a_file_is_what_its_first_bytes_say(tmp_path, called, packed):
    for text in (TEXT, b"one line", "caf\u00e9 \u4e2d".encode()):
        with content_of(tmp_path, called, PACK[packed](text)) as content:
            assert content.stream.read() == text
            assert (content.broken, content.format) == ("", "")


def test_a_file_that_was_compressed_twice_is_read(tmp_path):
    with content_of(tmp_path, ".gz", PACK[".gz"](PACK[".zst"](TEXT))) as content:
        assert content.stream.read() == TEXT
    with content_of(tmp_path, ".gz", PACK[".gz"](PACK[".gz"](TEXT)[:-4])) as content:
        assert content.stream.read() == TEXT
        assert content.broken
    many = PACK[".gz"](PACK[".gz"](PACK[".gz"](PACK[".gz"](TEXT))))
    with content_of(tmp_path, ".gz", many) as content:
        assert content.format == "compressed by gzip"


@pytest.mark.parametrize("packed", [*PACK, "twice"])
def test_a_look_at_the_head_ends_after_so_many_bytes(tmp_path, packed):
    data = PACK[".zst"](PACK[".gz"](TEXT)) if packed == "twice" else PACK[packed](TEXT)
    path = tmp_path / "file.txt"
    path.write_bytes(data)
    with Content(path, 100_000) as content:
        head = content.stream.read()
        assert (content.cut, content.broken) == (True, "")
        assert 0 < content.share < 1
    assert TEXT.startswith(head)
    assert 100_000 <= len(head) < 100_000 + 2 * 65_536
    with Content(path, len(TEXT)) as content:
        assert content.stream.read() == TEXT
        assert (content.cut, content.share) == (False, 1), "the file ends there as well"


@pytest.mark.parametrize("called", [".gz", ".zst"])
def test_what_is_neither_compressed_nor_text_is_named(tmp_path, called):
    for data in (b"\x00\x01\x02", b"caf\xe9", b"\x1f"):
        with content_of(tmp_path, called, data) as content:
            assert content.stream.read() == b""
            assert content.broken == "the file is neither compressed by gzip or zstd nor text in UTF-8"


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"PAR1\x15\x04", "Parquet"),
        (b"PK\x03\x04\x14\0", "a zip archive"),
        (b"BZh91AY&SY\xe7", "compressed by bzip2"),
        (b"\xfd7zXZ\0", "compressed by xz"),
        (b"PAR1 is how these files begin.", ""),
        (b"BZh, said the bee.", ""),
    ],
)
def test_other_formats_are_named(tmp_path, head, name):
    with content_of(tmp_path, "", head) as content:
        assert content.format == name


@pytest.mark.parametrize("log", [27, 28, 31])
def test_long_windows_of_zstd_are_read(tmp_path, log):
    options = zstandard.ZstdCompressionParameters(window_log=log, enable_ldm=True)
    frames = []
    for part in (TEXT, b"the end"):
        writer = zstandard.ZstdCompressor(compression_params=options).compressobj()
        frames.append(writer.compress(part) + writer.flush())
    with content_of(tmp_path, ".zst", b"".join(frames)) as content:
        assert content.stream.read() == TEXT + b"the end"
        assert not content.broken


def test_a_window_that_is_too_long_is_named(tmp_path):
    head = b"\x28\xb5\x2f\xfd\x00" + bytes([(32 - 10) << 3])
    with content_of(tmp_path, ".zst", PACK[".zst"](TEXT) + head + bytes(20)) as content:
        assert content.stream.read() == TEXT, "what stands before it is read"
        assert content.broken.startswith("the zstd window is 4 GB, and 2 GB at most are read")
        assert "--long=31" in content.broken


def test_frames_of_zstd_that_hold_nothing_are_skipped(tmp_path):
    skipped = b"\x50\x2a\x4d\x18\x04\0\0\0abcd"
    with content_of(tmp_path, ".jsonl", skipped + PACK[".zst"](TEXT) + skipped) as content:
        assert content.stream.read() == TEXT
        assert not content.broken


def test_marks_of_files_that_were_put_together_are_left_out(tmp_path):
    with content_of(tmp_path, "", b"\xef\xbb\xbfone\n\xef\xbb\xbftwo\nthree \xef\xbb\xbf four") as content:
        lines = [line.content for line in content.lines(100)]
    assert lines == [b"one", b"two", b"three \xef\xbb\xbf four"]
