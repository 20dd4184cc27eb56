"""A tiny tokenizer and a tiny base model, trained once for all tests of this folder."""

import random
from dataclasses import dataclass
from pathlib import Path

import pytest

from tamis.training import ModelShape, PretrainingOptions, Runtime, pretrain, train_tokenizer

TINY = ModelShape(
    hidden_size=32, intermediate_size=64, layers=2, heads=2, vocabulary=320, maximum_positions=128
)
OPTIONS = PretrainingOptions(tokens=3_000, sequence_length=32, batch_size=4, seed=3)
CPU = Runtime(device="cpu")
WORDS = (
    "distribution",
    "parameter",
    "scale",
    "mean",
    "of",
    "the",
    "sample",
    "returns",
    "an",
    "array",
    "shape",
    "test",
    "value",
    "naïve",
    "中文",
)


@dataclass(frozen=True)
class Tiny:
    """What most tests need: texts, a tokenizer folder, a pre-trained model folder and how it was trained."""

    texts: list[str]
    held_out: list[str]
    shape: ModelShape
    options: PretrainingOptions
    runtime: Runtime
    tokenizer: Path
    model: Path


def make_texts(count: int, seed: int) -> list[str]:
    """Sentences of 3 to 60 words."""
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(3, 60))) + "." for _ in range(count)]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Tiny:
    folder = tmp_path_factory.mktemp("tiny")
    texts = make_texts(120, seed=1)
    train_tokenizer(texts, folder / "tokenizer", vocabulary=TINY.vocabulary)
    pretrain(TINY, texts, folder / "tokenizer", OPTIONS, folder / "model", folder / "resume", runtime=CPU)
    return Tiny(
        texts=texts,
        held_out=make_texts(12, seed=2),
        shape=TINY,
        options=OPTIONS,
        runtime=CPU,
        tokenizer=folder / "tokenizer",
        model=folder / "model",
    )
