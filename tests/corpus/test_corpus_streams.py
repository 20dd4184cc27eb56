"""Compressed bytes: everything before a break is kept, and memory stays bounded."""

import gzip
import hashlib
import io
import tracemalloc

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.corpus.streams import Content

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
    with content_of(tmp_path_factory.mktemp("lines"), "", data) as content:
        lines = list(content.lines(limit))
    expected = [part.rstrip(b"\r\n") for part in io.BytesIO(data.removeprefix(b"\xef\xbb\xbf"))]
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
