"""Static encoder: one vector a token, distilled from MiniLM, and the mean of them for a document.

The recipe is Model2Vec's (Tulkens and van Dongen 2024; github.com/MinishLab/model2vec): each token of the
vocabulary goes through the model alone, principal components keep 256 of 384 dimensions, and a weight
from Zipf's law replaces word frequency. Distilling takes 22 s of one core, once for each user
of a checkout; a wheel carries the result. A document of 750 characters then takes 0.05 ms on two cores
(`python -m benchmarks.encoding`). Word order is lost.

Token vectors are stored in 16 bits, so their sums in 64 bits are exact up to 2^25 tokens: a document's
vector has the same bits in whatever order, batch or machine it is computed.
"""

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tamis.base.arguments import strings
from tamis.base.files import user_cache
from tamis.base.imports import ONE_MODEL_AT_A_TIME
from tamis.base.installation import PACKAGE
from tamis.base.progress import Advance, ignore, say
from tamis.embedding.quiet import quiet_libraries
from tamis.embedding.words import word_tokenizer

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix
    from tokenizers import Tokenizer

DIMENSION = 256
SIF_COEFFICIENT = 1e-4
OUTSIDE_TEXT = re.compile(r"\[(unused\d+|CLS|SEP|MASK)\]")
UNKNOWN_TOKEN = "[UNK]"
RECIPE = f"model2vec pca={DIMENSION} sif={SIF_COEFFICIENT} float16 sum"
TOKENS_PER_BATCH = 512
BATCH_DOCUMENTS = 1_024
THREADS = 2
"""Batches at a time: the tokenizer has threads of its own, the sums have not."""
BATCH_CHARACTERS = 4_000_000
VECTORS_FILE, TOKENIZER_FILE, DIGEST_FILE = "vectors.safetensors", "tokenizer.json", "SHA256"
SHIPPED = PACKAGE / "embedding" / "distilled"
"""The encoder that a wheel carries (.ci/building.py); a checkout has none."""


class StaticEncoder:
    """An `Encoder` that adds up token vectors.

    A text without any known token has the vector of the unknown token.
    """

    def __init__(self, tokenizer: "Tokenizer", vectors_vd: np.ndarray, fingerprint: str) -> None:
        self.name, self.fingerprint = "static", fingerprint
        self.dimension = int(vectors_vd.shape[1])
        self._tokenizer = tokenizer
        self._unknown = int(tokenizer.token_to_id(UNKNOWN_TOKEN))
        self._vectors_vd = vectors_vd.astype(np.float64)
        # Whether 16 bits hold each number, so that sums are the same in any order.
        self._exact = vectors_vd.dtype == np.float16 or np.array_equal(
            self._vectors_vd.astype(np.float16), self._vectors_vd
        )
        self._words = word_tokenizer(tokenizer, self._unknown) if self._exact else None

    def __reduce__(self) -> tuple[Any, ...]:
        """As what it was made of: 16 bits a number where that is all they hold."""
        vectors_vd = self._vectors_vd.astype(np.float16) if self._exact else self._vectors_vd
        return StaticEncoder, (self._tokenizer, vectors_vd, self.fingerprint)

    def encode(self, texts: Sequence[str], advance: Advance = ignore) -> np.ndarray:
        """Vectors [n, d], float32, of length 1, in the order of the texts; bit-equal in any batch."""
        texts = strings("texts", texts)
        vectors_nd = np.empty((len(texts), self.dimension), dtype=np.float32)
        batches = list(text_runs(texts, BATCH_DOCUMENTS, BATCH_CHARACTERS))
        with ThreadPoolExecutor(THREADS) as pool:
            done = pool.map(lambda rows: self._encode_batch(list(map(valid_text, texts[rows]))), batches)
            for rows, vectors_bd in zip(batches, done, strict=True):
                vectors_nd[rows] = vectors_bd
                advance(len(vectors_bd))
        return vectors_nd

    def _encode_batch(self, texts: list[str]) -> np.ndarray:
        counts_nv = self._words.count(texts) if self._words else self._token_counts(texts)
        sums_nd = counts_nv @ self._vectors_vd
        sums_nd[~sums_nd.any(axis=1)] = self._vectors_vd[self._unknown]
        # A running sum has one order of addition; np.sum would choose it by shape and instruction set.
        norms_n = np.sqrt(np.add.accumulate(sums_nd**2, axis=1)[:, -1])
        return np.asarray(sums_nd / norms_n[:, None], dtype=np.float32)

    def _token_counts(self, texts: list[str]) -> "csr_matrix":
        """Return how often each known token is in each text [n, V], by the tokenizer alone."""
        from scipy import sparse

        encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        ids = (np.array(encoding.ids, dtype=np.int64) for encoding in encodings)
        known = [tokens[tokens != self._unknown] for tokens in ids]
        starts = np.concatenate([[0], np.cumsum([len(tokens) for tokens in known])])
        return sparse.csr_matrix(
            (np.ones(starts[-1]), np.concatenate(known), starts), shape=(len(texts), len(self._vectors_vd))
        )


def text_runs(texts: Sequence[str], most_documents: int, most_characters: int) -> Iterator[slice]:
    """Yield runs of texts, bounded in documents and characters."""
    start, characters = 0, 0
    for position, text in enumerate(texts):
        characters += len(text)
        full = position + 1 - start == most_documents or characters >= most_characters
        if full or position + 1 == len(texts):
            yield slice(start, position + 1)
            start, characters = position + 1, 0


def load_static(teacher: Path, cache: Path, fingerprint: str) -> StaticEncoder:
    """Load the static encoder from `cache`, the installed package or the user's cache, else distil it.

    It is stored in `cache`, so that a copied home takes its encoder along, and in the user's cache where the
    package carries none, so that a second project does not distil again. Files are used only if their digest
    is right; where nothing can be written, a line on stderr says so. Processes may do this at the same time.
    """
    from safetensors.numpy import load, save
    from tokenizers import Tokenizer

    name = f"static-{fingerprint}"
    places, shipped = [cache / "encoders" / name], SHIPPED / name
    if not shipped.is_dir():
        places.append(user_cache() / "encoders" / name)
    kept = [_read(place) for place in places]
    found = next((files for files in kept if files is not None), None) or _read(shipped)
    if found is None:
        tokenizer, vectors_vd = distil(teacher)
        found = tokenizer.encode(), save({"vectors": vectors_vd})
    failed: dict[Path, str] = {}
    for place in (place for place, files in zip(places, kept, strict=True) if files is None):
        try:
            if _read(place) is None:  # nor has another process stored it since
                _write(place, *found)
        except OSError as error:
            failed[place] = error.strerror or str(error)
    stored = [str(place.parent) for place in places if place not in failed]
    effect = (
        f"the encoder is stored only in {stored[0]}"
        if stored
        else "the next run will distil the encoder again"
    )
    for place, reason in failed.items():
        say(f"cannot store the static encoder in {place.parent} ({reason}); {effect}")
    return StaticEncoder(Tokenizer.from_str(found[0].decode()), load(found[1])["vectors"], fingerprint)


def distil(teacher: Path, dimension: int = DIMENSION) -> tuple[str, np.ndarray]:
    """Distil a BERT-like model: its tokenizer as JSON, and a vector per token id [V, d] in float16."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(teacher / TOKENIZER_FILE))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    vocabulary = sorted((index, token) for token, index in tokenizer.get_vocab().items())
    ids_k = np.array([index for index, token in vocabulary if not OUTSIDE_TEXT.fullmatch(token)])
    opening, *_, closing = tokenizer.encode("a").ids
    raw_kd = _token_vectors(teacher, ids_k, opening, closing)
    vectors_vd = np.zeros((len(vocabulary), dimension), dtype=np.float16)
    vectors_vd[ids_k] = principal_components(raw_kd, dimension) * zipf_weights(len(ids_k))[:, None]
    return tokenizer.to_str(), vectors_vd


def principal_components(vectors_nd: np.ndarray, count: int) -> np.ndarray:
    """Scores of centred vectors [n, d] on their first `count` components, largest first [n, count].

    The sign of a component is such that its largest score is positive.
    """
    centred_nd = vectors_nd - vectors_nd.mean(axis=0)
    _, components_dd = np.linalg.eigh(centred_nd.T @ centred_nd)
    scores_nc = centred_nd @ components_dd[:, ::-1][:, :count]
    return scores_nc * np.sign(scores_nc[np.abs(scores_nc).argmax(axis=0), np.arange(scores_nc.shape[1])])


def zipf_weights(count: int) -> np.ndarray:
    """Weights a / (a + p) of smooth inverse frequency, with p from the rank in the vocabulary [count].

    Arora et al. 2017, section 3, with p_r proportional to 1 / (r + 1) for rank r from 1, as in Model2Vec.
    """
    inverse_rank = 1.0 / np.arange(2, count + 2)
    return SIF_COEFFICIENT / (SIF_COEFFICIENT + inverse_rank / inverse_rank.sum())


def _token_vectors(teacher: Path, ids_k: np.ndarray, opening: int, closing: int) -> np.ndarray:
    """Mean of the last hidden states of `opening token closing`, a row per token [k, D], float64."""
    import torch
    from transformers import AutoModel

    with quiet_libraries(), ONE_MODEL_AT_A_TIME:
        model = AutoModel.from_pretrained(
            str(teacher),
            dtype=torch.float32,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
        )
    model.eval()
    blocks = []
    for start in range(0, len(ids_k), TOKENS_PER_BATCH):
        tokens_b = torch.from_numpy(ids_k[start : start + TOKENS_PER_BATCH])
        inputs_b3 = torch.stack(
            [torch.full_like(tokens_b, opening), tokens_b, torch.full_like(tokens_b, closing)], dim=1
        )
        with torch.inference_mode():
            states_b3d = model(input_ids=inputs_b3).last_hidden_state
        blocks.append(states_b3d.mean(dim=1).numpy())
    return np.concatenate(blocks).astype(np.float64)


def _read(folder: Path) -> tuple[bytes, bytes] | None:
    """The files of a stored encoder, tokenizer and vectors; None when they are missing or damaged."""
    try:
        tokenizer, vectors = ((folder / name).read_bytes() for name in (TOKENIZER_FILE, VECTORS_FILE))
        return (
            (tokenizer, vectors)
            if (folder / DIGEST_FILE).read_text() == _digest(tokenizer, vectors)
            else None
        )
    except (OSError, UnicodeDecodeError):
        return None


def _write(folder: Path, tokenizer: bytes, vectors: bytes) -> None:
    """Store an encoder so that a reader sees all of it or nothing."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".static-", dir=folder.parent) as scratch:
        made = Path(scratch) / "made"
        made.mkdir()
        (made / TOKENIZER_FILE).write_bytes(tokenizer)
        (made / VECTORS_FILE).write_bytes(vectors)
        (made / DIGEST_FILE).write_text(_digest(tokenizer, vectors))
        if os.path.lexists(folder) and _read(folder) is None:  # a link that leads nowhere, too
            shutil.move(folder, Path(scratch) / "damaged")
        try:
            os.rename(made, folder)
        except OSError:
            # Another process stored its own first; both come from the same files.
            if not folder.exists():
                raise


def _digest(*contents: bytes) -> str:
    return hashlib.sha256(b"".join(hashlib.sha256(content).digest() for content in contents)).hexdigest()


def valid_text(text: str) -> str:
    """Return a text in valid Unicode."""
    return text.encode("utf-8", "replace").decode("utf-8")
