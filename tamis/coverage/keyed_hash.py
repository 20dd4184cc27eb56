"""A number for each document that depends on its id, a seed and a purpose, and on nothing else.

Draws and ties decided by it do not change with the order, the sharding or the presence of other documents.
BLAKE2b rather than a vectorised mix: any id is well spread, at about 1 microsecond each.
"""

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from tamis.base.errors import BadArgumentError


def keyed_hash(doc_ids: Iterable[str], seed: int, purpose: str) -> NDArray[np.uint64]:
    """[n] uint64, uniform. `purpose` (at most 16 bytes) keeps draws of one seed independent of each other.

    `seed`: any whole number under 2^127, NumPy's too. Raises `BadArgumentError` for others and for ids that
    are no strings.
    """
    try:
        key = int(seed).to_bytes(16, "little", signed=True)
    except (TypeError, ValueError, OverflowError):
        raise BadArgumentError("seed", repr(seed), "a whole number under 2^127") from None
    keyed = hashlib.blake2b(digest_size=8, key=key, person=purpose.encode())
    digests = bytearray()
    for doc_id in doc_ids:
        one = keyed.copy()
        try:
            one.update(doc_id.encode())
        except AttributeError:
            raise BadArgumentError("doc_ids", f"a {type(doc_id).__name__}", "strings") from None
        digests += one.digest()
    return np.frombuffer(bytes(digests), dtype="<u8").astype(np.uint64)


def keyed_uniform(doc_ids: Iterable[str], seed: int, purpose: str) -> NDArray[np.float64]:
    """[n] float64 in the open interval (0, 1), from the upper 53 bits of `keyed_hash`."""
    return ((keyed_hash(doc_ids, seed, purpose) >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def keyed_gumbel(doc_ids: Iterable[str], seed: int, purpose: str) -> NDArray[np.float64]:
    """[n] standard Gumbel noise of the same kind: log weight + noise, largest first, draws by weight."""
    return -np.log(-np.log(keyed_uniform(doc_ids, seed, purpose)))
