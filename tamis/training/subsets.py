"""Halves of the pool, and nested random subsets: keyed hashes of its id.

A keyed hash (BLAKE2b) needs no table of draws: membership never depends on which other documents exist,
so it survives arrivals and withdrawals. It costs about 1 microsecond an id.
"""

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import overload

import numpy as np
import polars as pl

from tamis.base.arguments import as_whole, strings
from tamis.base.errors import BadArgumentError

FOLD_KEY = b"tamis.training.fold"


@overload
def fold_of(doc_ids: str) -> int: ...
@overload
def fold_of(doc_ids: list[str] | pl.Series) -> np.ndarray: ...
def fold_of(doc_ids: str | list[str] | pl.Series) -> int | np.ndarray:
    """Fold 0 or 1 of a document, or int8 [n] for many.

    A base model trained on fold 0 scores fold 1 and its twin the reverse, so that a perplexity always
    comes from a model that did not train on the document.
    """
    if isinstance(doc_ids, str):
        return int(_keyed([doc_ids], FOLD_KEY)[0] >> np.uint64(63))
    return (_keyed(strings("doc_ids", doc_ids), FOLD_KEY) >> np.uint64(63)).astype(np.int8)


def nested_subset(doc_ids: Sequence[str] | pl.Series, size: int, seed: int) -> list[str]:
    """`size` ids drawn at random without replacement; a smaller size gives a prefix of a larger one.

    The draw depends on the set of ids and the seed, never on the order of `doc_ids`. Raises
    `BadArgumentError` when ids repeat or there are fewer than `size` of them.
    """
    ids, size = strings("doc_ids", doc_ids), as_whole("size", size, 0)
    if len(set(ids)) != len(ids):
        raise BadArgumentError("doc_ids", "duplicates", "distinct documents to draw a subset from")
    if size > len(ids):
        raise BadArgumentError("size", repr(size), f"{len(ids)} at most, the number of documents")
    keys = _keyed(ids, b"tamis.training.subset:%d" % as_whole("seed", seed, 0))
    return [doc_id for _, doc_id in sorted(zip(keys.tolist(), ids, strict=True))[:size]]


def _keyed(doc_ids: Iterable[str], key: bytes) -> np.ndarray:
    digests = b"".join(blake2b(doc_id.encode(), digest_size=8, key=key).digest() for doc_id in doc_ids)
    return np.frombuffer(digests, dtype="<u8")
