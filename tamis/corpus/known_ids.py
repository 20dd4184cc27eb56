"""Which documents are there: 16 bytes an id in sorted runs, so that asking about some costs those alone.

Runs are merged when one is no longer than twice the next, so there are few, and an id is moved a logarithmic
number of times: 1,000,000 ids that come 10,000 at a time take a second in all.
"""

import numpy as np
import polars as pl

_BYTES, _AT_ONCE = 16, 65_536
_KEY = f"S{_BYTES}"  # all of one length, so that padding cannot make two equal


class KnownIds:
    """A set of document ids that grows."""

    def __init__(self, doc_ids: pl.Series) -> None:
        self._runs = [np.sort(_keys(doc_ids))]

    def among(self, doc_ids: pl.Series) -> pl.Series:
        """Mask of the ids that are in the set."""
        keys = _keys(doc_ids)
        found = np.zeros(len(keys), dtype=bool)
        for run in self._runs:
            place = np.searchsorted(run, keys)
            inside = place < len(run)
            found[inside] |= run[place[inside]] == keys[inside]
        return pl.Series(found)

    def add(self, doc_ids: pl.Series) -> None:
        """Take ids that are not in the set."""
        run = np.sort(_keys(doc_ids))
        while self._runs and len(self._runs[-1]) <= 2 * len(run):
            run = np.sort(np.concatenate([self._runs.pop(), run]), kind="stable")  # which merges sorted parts
        self._runs.append(run)


def _keys(doc_ids: pl.Series) -> np.ndarray:
    blocks = (doc_ids[start : start + _AT_ONCE] for start in range(0, len(doc_ids), _AT_ONCE))
    parts = [np.frombuffer(bytes.fromhex("".join(block)), dtype=_KEY) for block in blocks]
    return np.concatenate([np.empty(0, dtype=_KEY), *parts])
