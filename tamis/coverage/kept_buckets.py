"""Buckets of documents that were hashed before, kept in a cache: a few new documents cost their own hashing.

What a sketch counts and what a density reads of a document are its buckets, one a row. They depend on its
vector, the hash functions and the width alone, so a sketch that is counted again from them has the same bits
as one that hashes every vector, whatever came and went. 2.4 kB a document at 1,200 rows, in files of what
came together; a file that cannot be read costs the hashing of what was in it.
"""

import contextlib
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.base.files import whole_file
from tamis.base.progress import Advance
from tamis.coverage.sketch import DensitySketch

MOST_BYTES = 2**29
"""Of larger pools nothing is kept."""
MOST_FILES = 16
ID_CHARACTERS = 32
_DIGEST = np.dtype("<u8")
Buckets = NDArray[np.unsignedinteger]


@dataclass(frozen=True, kw_only=True)
class _Known:
    """Documents [n], the digest of the vector of each, and their buckets [n, rows]."""

    ids: NDArray[np.bytes_]
    digests: NDArray[np.uint64]
    buckets_nr: Buckets


class _Index:
    """Documents of several files by id, ascending; of one that is in several the last counts.

    Buckets stay in the arrays that they were read into: of a large pool they are hundreds of megabytes.
    """

    def __init__(self, parts: list[_Known]) -> None:
        ids = np.concatenate([np.empty(0, dtype=f"S{ID_CHARACTERS}"), *(part.ids for part in parts)])
        digests = np.concatenate([np.empty(0, dtype=_DIGEST), *(part.digests for part in parts)])
        order = np.argsort(ids, kind="stable")
        last = np.append(ids[order][1:] != ids[order][:-1], [True])[: len(order)]
        self._row = order[last]
        self.ids, self.digests = ids[self._row], digests[self._row]
        self._parts = parts
        self._ends = np.cumsum([len(part.ids) for part in parts], dtype=np.int64)

    def take(self, place_n: NDArray[np.int64], out_nr: Buckets, into_n: NDArray[np.int64]) -> None:
        """Copy the buckets of documents at these places into rows of an array."""
        row_n = self._row[place_n]
        part_n = np.searchsorted(self._ends, row_n, side="right")
        for number in np.unique(part_n):
            mine = part_n == number
            part = self._parts[number]
            out_nr[into_n[mine]] = part.buckets_nr[row_n[mine] - (self._ends[number] - len(part.ids))]

    def places(self, ids: NDArray[np.bytes_], digests: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return where each document is that is known with this very vector, -1 for the others."""
        if not len(self.ids):
            return np.full(len(ids), -1)
        place = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where((self.ids[place] == ids) & (self.digests[place] == digests), place, -1)


class KeptBuckets:
    """Buckets of the documents of one pool under the hash functions and the width of a sketch.

    `folder`: of the cache; those of another sketch leave it. Raises nothing for a cache that cannot be used.
    """

    def __init__(self, folder: Path, sketch: DensitySketch) -> None:
        self.sketch, self._folder = sketch, folder / sketch.family[:32]
        self._kind = sketch.bucket_type
        for other in folder.glob("*") if folder.is_dir() else ():
            if other != self._folder:
                shutil.rmtree(other, ignore_errors=True)
        self._files = sorted(self._folder.glob("*.npz"))
        self._known = self._read()

    @staticmethod
    def fits(sketch: DensitySketch, documents: int) -> bool:
        """Whether the buckets of so many documents are kept."""
        return documents * sketch.rows * sketch.bucket_type.itemsize <= MOST_BYTES

    def of(
        self, blocks: Iterator[tuple[list[str], NDArray[np.float32]]], advance: Advance
    ) -> Iterator[tuple[list[str], Buckets]]:
        """Yield ids and buckets [rows, n] of blocks of ids and vectors [n, d]; keep those that were hashed.

        They are written after the last block.
        """
        came: list[_Known] = []
        used = np.zeros(len(self._known.ids), dtype=bool)
        for ids, vectors_nd in blocks:
            names, digests = np.array(ids, dtype=f"S{ID_CHARACTERS}"), _digests(vectors_nd)
            place_n = self._known.places(names, digests)
            new_n = place_n < 0
            used[place_n[~new_n]] = True
            buckets_nr = np.empty((len(ids), self.sketch.rows), dtype=self._kind)
            self._known.take(place_n[~new_n], buckets_nr, np.flatnonzero(~new_n))
            if new_n.any():
                buckets_nr[new_n] = self.sketch.buckets_of(vectors_nd[new_n]).T
                came.append(_Known(ids=names[new_n], digests=digests[new_n], buckets_nr=buckets_nr[new_n]))
            yield ids, np.ascontiguousarray(buckets_nr.T)
            advance(len(ids))
        self._keep(came, used)

    def _keep(self, came: list[_Known], used: NDArray[np.bool_]) -> None:
        """Write what came as a file more, or all that is used as a single one where there are many."""
        many = len(self._files) >= MOST_FILES or used.sum() < 0.8 * len(used)
        if not (came or many):
            return
        rows = _joined(came, self.sketch.rows, self._kind)
        if many:
            place_n = np.flatnonzero(used)
            kept_nr = np.empty((len(place_n), self.sketch.rows), dtype=self._kind)
            self._known.take(place_n, kept_nr, np.arange(len(place_n)))
            kept = _Known(ids=self._known.ids[used], digests=self._known.digests[used], buckets_nr=kept_nr)
            rows = _joined([kept, rows], self.sketch.rows, self._kind)
        number = int(self._files[-1].stem) + 1 if self._files else 0
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / f"{number:08d}.npz"
            with whole_file(path, flushed=False) as draft, draft.open("wb") as file:
                np.savez(file, ids=rows.ids, digests=rows.digests, buckets_nr=rows.buckets_nr)
            for old in self._files if many else ():
                old.unlink(missing_ok=True)

    def _read(self) -> _Index:
        """Read all files; one that cannot be read is removed."""
        parts = []
        for path in self._files:
            try:
                with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                    part = _Known(**{name: stored[name] for name in ("ids", "digests", "buckets_nr")})
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
                path.unlink(missing_ok=True)  # cut off by a power cut
                continue
            if part.buckets_nr.shape == (len(part.ids), self.sketch.rows):
                parts.append(part)
        return _Index(parts)


def _joined(parts: list[_Known], rows: int, kind: np.dtype[Any]) -> _Known:
    ids = [np.empty(0, dtype=f"S{ID_CHARACTERS}"), *(part.ids for part in parts)]
    digests = [np.empty(0, dtype=_DIGEST), *(part.digests for part in parts)]
    buckets = [np.empty((0, rows), dtype=kind), *(part.buckets_nr for part in parts)]
    return _Known(
        ids=np.concatenate(ids), digests=np.concatenate(digests), buckets_nr=np.concatenate(buckets)
    )


def _digests(vectors_nd: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Return a digest [n] of vectors [n, d]: a sum of their bits times odd numbers, modulo 2^64."""
    bits = np.ascontiguousarray(vectors_nd, dtype="<f4").view("<u4").astype(np.uint64)
    factors = np.random.PCG64(0).random_raw(bits.shape[1]) | np.uint64(1)
    return (bits * factors).sum(axis=1, dtype=np.uint64).astype(_DIGEST)
