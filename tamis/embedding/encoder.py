"""Encoders by name: a static model, the embedded MiniLM, or any sentence-transformers model, used alike.

`static` takes 0.05 ms on two cores for a document of 750 characters and is bit-equal whatever it is batched
with; `minilm` understands word order and takes 90 ms of a core for 1,300 characters.
"""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Protocol

import numpy as np

from tamis.base.arguments import strings
from tamis.base.progress import Advance, ignore
from tamis.base.unfit import PLAIN, Refusal, Unfit, read_each
from tamis.embedding.identity import AUTO, fingerprint_of, locate, model_folder, resolved_precision
from tamis.embedding.sentence import SentenceEncoder, UnusableVectorError, groups
from tamis.embedding.static import load_static


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
        """Vectors [n, d], float32, in the order of the texts; finite and of length 1 for any text.

        Raises `UnusableVectorError` where the model gives one that is not.
        """


def encode_each(
    encoder: Encoder, texts: Sequence[str], advance: Advance = ignore
) -> tuple[np.ndarray, dict[int, Refusal]]:
    """Vectors [n, d] of the texts, and by position why some have none; these rows are NaN.

    Raises what the encoder raises when a plain sentence has no vector either.
    """

    texts = strings("texts", texts)
    left = len(texts)

    def count(rows: int) -> None:
        nonlocal left
        left -= rows
        advance(rows)

    def read(some: list[str]) -> np.ndarray:
        try:
            return encoder.encode(some, count if len(some) == len(texts) else ignore)
        except UnusableVectorError as error:
            return error.vectors_nd

    cuts = list(accumulate(map(len, groups(texts))))[:-1]
    parts, refused = read_each(read, texts, cuts)  # so that vectors are those of the same batches
    if left:
        count(left)
    vectors_nd = np.full((len(texts), encoder.dimension), np.nan, dtype=np.float32)
    for places, found_md in parts:
        norms_m = np.linalg.norm(found_md, axis=1)
        usable_m = np.isfinite(norms_m) & (norms_m > 0)
        vectors_nd[np.asarray(places, dtype=np.intp)[usable_m]] = found_md[usable_m]
    why = Refusal(reason=Unfit.NO_VECTOR, detail="the encoder gave a vector that is zero or not finite")
    without = np.flatnonzero(np.isnan(vectors_nd).any(axis=1)).tolist()
    empty = {place: why for place in without if place not in refused}
    if empty:
        plain_d = encoder.encode([PLAIN])[0]
        if not np.isfinite(plain_d).all() or not plain_d.any():
            raise UnusableVectorError(encoder.name, min(empty), vectors_nd)
    return vectors_nd, refused | empty


def load_encoder(
    name: str | Path, *, cache: str | Path, device: str = "auto", precision: str = AUTO
) -> Encoder:
    """Load an encoder: a built-in one (`BUILT_IN`), a sentence-transformers folder, or a hub id.

    cache: folder in which the static model is kept once it is distilled (12 s on two cores).
    device: "auto" = cuda if there is one, else cpu. precision: "auto" = the one in
    force (tamis.base.precision). The static model runs on the CPU, in float32.
    Raises `UnknownNameError`, `MissingPackageError` or `EncoderUnavailableError`.
    """
    files, precision = locate(name), resolved_precision(name, precision)
    fingerprint = fingerprint_of(name, files, precision)
    if name == "static":
        return load_static(files.folder, Path(cache), fingerprint)
    return SentenceEncoder(str(name), model_folder(str(name), files), fingerprint, device, precision)
