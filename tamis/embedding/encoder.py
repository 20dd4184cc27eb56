"""Encoders by name: a static model, the embedded MiniLM, or any sentence-transformers model, used alike.

`static` takes 0.5 ms of a core for a document of 1,300 characters and is bit-equal whatever it is batched
with; `minilm` understands word order and takes 90 ms.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from tamis.embedding.identity import fingerprint_of, locate
from tamis.embedding.sentence import SentenceEncoder
from tamis.embedding.static import load_static
from tamis.progress import Advance, ignore


class Encoder(Protocol):
    """Texts to vectors of length 1.

    name: as configured. fingerprint: equals `encoder_identity(name)`. dimension: d.
    """

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def dimension(self) -> int: ...

    def encode(self, texts: Sequence[str], advance: Advance = ignore) -> np.ndarray:
        """Vectors [n, d], float32, in the order of the texts; finite and of length 1 for any text."""
        ...


def load_encoder(name: str, *, cache: Path, device: str = "auto") -> Encoder:
    """Load an encoder: `static`, `minilm`, a sentence-transformers folder, or a hub id.

    cache: folder in which the static model is kept once it is distilled (12 s on two cores).
    device: "auto" = cuda when there is one, else cpu; the static model runs on the CPU.
    Raises `UnknownNameError`, `MissingPackageError` or `EncoderUnavailableError`.
    """
    files = locate(name)
    fingerprint = fingerprint_of(name, files)
    if name == "static":
        return load_static(files.folder, cache, fingerprint)
    return SentenceEncoder(name, files.folder, fingerprint, device)
