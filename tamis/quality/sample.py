"""Which documents the judge is asked about, and which of them the grader must not learn from.

Both follow from a keyed hash of the id, so the sample stays uniform over a growing pool: a new document
enters by pushing out the largest key, and no document ever changes sides. About 1 microsecond an id.
"""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import polars as pl
from numpy.typing import NDArray

HOLD_OUT_SHARE = 0.3


def choose_sample(doc_ids: Sequence[str], size: int, seed: int) -> list[str]:
    """The `size` documents with the smallest keys, smallest first: a uniform sample without replacement.

    Bottom-k of a keyed hash (Cohen and Kaplan 2007): the samples of two pools merge into that of their
    union, and a document added elsewhere never brings an unsampled one in. All documents when there are
    fewer. Raises `ValueError` for a negative size.
    """
    if size < 0:
        raise ValueError(f"size = {size} must not be negative")
    unique = np.unique(np.asarray(doc_ids, dtype=np.str_))
    keys = _keys(unique.tolist(), "sample", seed)
    return unique[np.lexsort((unique, keys))[:size]].tolist()


def split_sample(
    doc_ids: Sequence[str],
    seed: int,
    *,
    hold_out: float = HOLD_OUT_SHARE,
    groups: Sequence[str] | None = None,
) -> pl.DataFrame:
    """A row per document in order: `doc_id` and `part`, "train" or "hold_out".

    A document's part depends on its id, the seed and the share alone. With `groups` (near-duplicate groups,
    say) all members of a group fall on one side. Raises `ValueError` for a share outside [0, 1] or unequal
    lengths.
    """
    if not 0 <= hold_out <= 1:
        raise ValueError(f"hold_out = {hold_out} must be between 0 and 1")
    members = doc_ids if groups is None else groups
    if len(members) != len(doc_ids):
        raise ValueError(
            f"members has {len(members)} groups for {len(doc_ids)} documents; pass one group per document"
        )
    share_n = _keys(members, "part", seed) / 2.0**64
    part = np.where(share_n < hold_out, "hold_out", "train")
    return pl.DataFrame(
        {"doc_id": list(doc_ids), "part": part.tolist()}, schema={"doc_id": pl.String, "part": pl.String}
    )


def hash_order(doc_ids: Sequence[str], seed: int) -> NDArray[np.intp]:
    """Positions that put documents in an order random with respect to everything but their ids.

    Raises `ValueError` for a repeated id.
    """
    ids = np.asarray(doc_ids, dtype=np.str_)
    if len(np.unique(ids)) != len(ids):
        raise ValueError("doc_ids must not repeat")
    return np.lexsort((ids, _keys(ids.tolist(), "order", seed)))


def _keys(names: Sequence[str], purpose: str, seed: int) -> NDArray[np.uint64]:
    # Separate purposes give separate keys: else the hold-out would be the sample's own head.
    key = f"{purpose}:{seed}".encode()
    digests = b"".join([blake2b(name.encode(), digest_size=8, key=key).digest() for name in names])
    return np.frombuffer(digests, dtype=">u8").astype(np.uint64)
