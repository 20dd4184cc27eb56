"""Documents whose vectors all but coincide, kept current from a persistent index: paraphrases and templates.

As tamis/corpus/repeats.py, with cosine in place of words: sign patterns of random projections propose
pairs (at the threshold all but 1 in 1,000), the cosine decides, and the smallest doc_id is kept. Projections
are of whole numbers and exact, so the same vectors give the same keys on every machine.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.base.progress import Advance, ignore
from tamis.corpus.repeats import Keys, Relation, Update, mostly_shared, update
from tamis.corpus.stage import NEAR_DUPLICATES
from tamis.duplicates.minhash import Buckets
from tamis.duplicates.near_duplicates import drop_greedily
from tamis.store.tables import Store, matrix_of

CODE_VERSION = "1"
TABLE, INDEX = "near_copies", "near_copy_bands"
_RECALL, _MOST_BANDS, _MOST_BITS = 0.999, 32, 24
_POINT_SCALE, _LARGEST_DIRECTION = 4_096, 127


def update_near_copies(
    store: Store, embeddings: str, threshold: float, *, afresh: bool = False, advance: Advance = ignore
) -> Update:
    """Make the table of near copies what it is for the documents that repeat no other's words.

    embeddings: table of vectors; threshold: cosine from which two documents count as the same. Documents over
    half of whose words their file shares are left out: a vector is of the whole text, so theirs are alike
    whatever their own words say.
    """
    bits, bands = bits_and_bands(threshold)
    first = next(store.batches(embeddings, ["fingerprint"], rows=1), None)
    encoder = first["fingerprint"].to_pylist()[:1] if first is not None else []
    relation = Relation(
        table=TABLE,
        index=INDEX,
        fingerprint=f"signs-{CODE_VERSION}-{bits}-{bands}-{threshold:g}-{''.join(encoder)}",
        bands=bands,
        hashed=lambda ids, advance: _hashed(store, embeddings, ids, bits, bands, advance),
        dropped=lambda ids, buckets: _dropped(store, embeddings, ids, buckets, threshold),
    )
    repeated = store.read(NEAR_DUPLICATES.name, ["doc_id"])
    held = (
        store.read(embeddings, ["doc_id"])
        .join(repeated, on="doc_id", how="anti")
        .filter(~pl.col("doc_id").is_in(mostly_shared(store).implode()))
    )
    return update(store, relation, held["doc_id"].sort(), afresh=afresh, advance=advance)


def bits_and_bands(threshold: float) -> tuple[int, int]:
    """Most bits a band, and the bands, that still propose a pair at the threshold all but 1 in 1,000 times.

    Two vectors at angle a fall on the same side of a random plane with chance 1 - a / pi (Charikar 2002).
    """
    same_side = 1 - math.acos(min(threshold, 1.0)) / math.pi
    for bits in range(_MOST_BITS, 1, -1):
        bands = math.ceil(math.log(1 - _RECALL) / math.log1p(-(same_side**bits))) if same_side < 1 else 1
        if bands <= _MOST_BANDS:
            return bits, bands
    return 1, _MOST_BANDS


def sign_keys(vectors_nd: NDArray[np.floating[Any]], bits: int, bands: int) -> NDArray[np.uint64]:
    """Return band keys [n, bands] of vectors: their side of each of `bits` random planes."""
    unit_nd = _unit(vectors_nd)
    draws_dp = np.random.default_rng(0).standard_normal((vectors_nd.shape[1], bits * bands))
    # Float64 products of whole directions with whole points are exact.
    directions_dp = np.clip(np.round(draws_dp * 32), -_LARGEST_DIRECTION, _LARGEST_DIRECTION)
    sides_np = (np.round(unit_nd * _POINT_SCALE) @ directions_dp) >= 0
    weights_b = np.uint64(1) << np.arange(bits, dtype=np.uint64)
    return np.asarray((sides_np.reshape(len(unit_nd), bands, bits) * weights_b).sum(2, dtype=np.uint64))


def _unit(vectors_nd: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    exact_nd = vectors_nd.astype(np.float64)
    return exact_nd / np.maximum(np.linalg.norm(exact_nd, axis=1, keepdims=True), 1e-12)


def _hashed(
    store: Store, embeddings: str, doc_ids: pl.Series, bits: int, bands: int, advance: Advance
) -> Iterator[Keys]:
    for block in store.by_ids(embeddings, doc_ids.to_list(), ["doc_id", "vector"]):
        keys_nb = sign_keys(matrix_of(block["vector"]), bits, bands)
        yield Keys(doc_ids=pl.Series("doc_id", block["doc_id"]), bands_nb=keys_nb)
        advance(len(keys_nb))


@dataclass(frozen=True)
class _Cosines:
    """Cosines of documents, by position."""

    unit_nd: NDArray[np.float64]

    def of_pairs(self, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.float64]:
        """Cosine [m] of the vectors a[i] and b[i]."""
        return np.asarray(np.einsum("md,md->m", self.unit_nd[a], self.unit_nd[b]))


def _dropped(
    store: Store, embeddings: str, ids: pl.Series, buckets: Buckets, threshold: float
) -> pl.DataFrame:
    blocks = list(store.by_ids(embeddings, ids.to_list(), ["doc_id", "vector"]))
    vectors = [matrix_of(block["vector"]) for block in blocks]
    none = pl.Series("doc_id", [], pl.String)
    held = pl.concat([none, *(pl.Series("doc_id", block["doc_id"]) for block in blocks)])
    numbered = held.to_frame().with_row_index("place")
    places = ids.to_frame("doc_id").join(numbered, on="doc_id", how="left", maintain_order="left")["place"]
    unit_nd = _unit(np.concatenate(vectors)[places.to_numpy()]) if vectors else np.empty((0, 1))
    kept, cosine = drop_greedily(buckets, _Cosines(unit_nd), len(ids), threshold)
    dropped = np.flatnonzero(kept < len(ids))
    return pl.DataFrame(
        {"doc_id": ids.gather(dropped), "kept": ids.gather(kept[dropped]), "cosine": cosine[dropped]}
    )
