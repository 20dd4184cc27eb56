"""The documents that the judge is asked about, and those of them that the grader must not learn from.

Both follow from a keyed hash of the id, so the sample stays uniform over a growing pool: a new document
enters by pushing out the largest key, and no document ever changes sides. About 1 microsecond an id.
"""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.base.arguments import as_list, as_share, as_whole
from tamis.base.errors import BadArgumentError

HOLD_OUT_SHARE = 0.3


def choose_sample(doc_ids: Sequence[str], size: int, seed: int) -> list[str]:
    """The `size` documents with the smallest keys, smallest first: a uniform sample without replacement.

    Bottom-k of a keyed hash (Cohen and Kaplan 2007): the samples of two pools merge into that of their
    union, and a document added elsewhere never brings an unsampled one in. All documents when there are
    fewer. Raises `BadArgumentError` for a negative size.
    """
    size = as_whole("size", size, 0)
    unique = np.unique(np.asarray(doc_ids, dtype=np.str_))
    return unique[np.lexsort((unique, _keys(unique.tolist(), "sample", seed)))[:size]].tolist()


def split_sample(
    doc_ids: Sequence[str],
    seed: int,
    *,
    hold_out: float = HOLD_OUT_SHARE,
    groups: Sequence[str] | None = None,
) -> pl.DataFrame:
    """A row per document in order: `doc_id` and `part`, "train" or "hold_out".

    A document's part depends on its id, the seed and the share alone. With `groups` (near-duplicate groups,
    say) all members of a group fall on one side. Raises `BadArgumentError` for a share outside [0, 1] or
    unequal lengths.
    """
    hold_out, doc_ids = as_share("hold_out", hold_out), as_list("doc_ids", doc_ids, "strings")
    members = doc_ids if groups is None else as_list("groups", groups, "strings")
    if len(members) != len(doc_ids):
        raise BadArgumentError("groups", f"{len(members)} groups", f"{len(doc_ids)}, one per document")
    share_n = _keys(members, "part", seed) / 2.0**64
    return pl.DataFrame(
        {"doc_id": list(doc_ids), "part": np.where(share_n < hold_out, "hold_out", "train").tolist()},
        schema={"doc_id": pl.String, "part": pl.String},
    )


def hash_order(doc_ids: Sequence[str], seed: int) -> NDArray[np.intp]:
    """Positions that put documents in an order random with respect to everything but their ids.

    Raises `BadArgumentError` for a repeated id.
    """
    ids = np.asarray(doc_ids, dtype=np.str_)
    if len(np.unique(ids)) != len(ids):
        raise BadArgumentError("doc_ids", "an id in several rows", "an id in one row only")
    return np.lexsort((ids, _keys(ids.tolist(), "order", seed)))


def _keys(names: Sequence[str], purpose: str, seed: int) -> NDArray[np.uint64]:
    # Separate purposes give separate keys: else the hold-out would be the sample's own head.
    key = f"{purpose}:{seed}".encode()
    try:
        digests = b"".join([blake2b(name.encode(), digest_size=8, key=key).digest() for name in names])
    except AttributeError:
        raise BadArgumentError("doc_ids", "elements that are no strings", "strings") from None
    return np.frombuffer(digests, dtype=">u8").astype(np.uint64)
