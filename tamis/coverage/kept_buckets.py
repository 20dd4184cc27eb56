"""Buckets of documents that were hashed before, kept in a cache: a few new documents cost their own hashing.

What a sketch counts and what a density reads of a document are its buckets, one a row. They depend on its
vector, the hash functions and the width alone, so a sketch that is counted again from them has the same bits
as one that hashes every vector, whatever came and went. 2.4 kB a document at 1,200 rows, in files of what
came together; a file that cannot be read costs the hashing of what was in it.
"""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

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
Known = NDArray[np.void]
"""Documents [n]: `id`, `digest` of the vector, and `buckets` [rows]; mapped from a file or in memory."""


class _Index:
    """Documents of several files by id, ascending; of one that is in several the last counts.

    Buckets stay in the files, which are mapped: of a large pool they are hundreds of megabytes.
    """

    def __init__(self, parts: list[Known]) -> None:
        ids = np.concatenate([np.empty(0, dtype=f"S{ID_CHARACTERS}"), *(part["id"] for part in parts)])
        digests = np.concatenate([np.empty(0, dtype=_DIGEST), *(part["digest"] for part in parts)])
        order = np.argsort(ids, kind="stable")
        last = np.append(ids[order][1:] != ids[order][:-1], [True])[: len(order)]
        self._row = order[last]
        self.ids, self.digests = ids[self._row], digests[self._row]
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts], dtype=np.int64)

    def take(self, place_n: NDArray[np.int64], out_nr: Buckets, into_n: NDArray[np.int64]) -> None:
        """Copy the buckets of documents at these places into rows of an array."""
        row_n = self._row[place_n]
        part_n = np.searchsorted(self._ends, row_n, side="right")
        for number in np.unique(part_n):
            mine = part_n == number
            part = self._parts[number]
            out_nr[into_n[mine]] = part["buckets"][row_n[mine] - (self._ends[number] - len(part))]

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
        self._kind = np.dtype(
            [
                ("id", f"S{ID_CHARACTERS}"),
                ("digest", _DIGEST),
                ("buckets", sketch.bucket_type, (sketch.rows,)),
            ]
        )
        for other in folder.glob("*") if folder.is_dir() else ():
            if other != self._folder:
                shutil.rmtree(other, ignore_errors=True)
        for older in self._folder.glob("*.npz"):  # an older form, which takes space
            older.unlink(missing_ok=True)
        self._files = sorted(self._folder.glob("*.npy"))
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
        came: list[Known] = []
        used = np.zeros(len(self._known.ids), dtype=bool)
        for ids, vectors_nd in blocks:
            names, digests = np.array(ids, dtype=f"S{ID_CHARACTERS}"), _digests(vectors_nd)
            place_n = self._known.places(names, digests)
            new_n = place_n < 0
            used[place_n[~new_n]] = True
            buckets_nr = np.empty((len(ids), self.sketch.rows), dtype=self.sketch.bucket_type)
            self._known.take(place_n[~new_n], buckets_nr, np.flatnonzero(~new_n))
            if new_n.any():
                buckets_nr[new_n] = self.sketch.buckets_of(vectors_nd[new_n]).T
                came.append(self._joined(names[new_n], digests[new_n], buckets_nr[new_n]))
            yield ids, np.ascontiguousarray(buckets_nr.T)
            advance(len(ids))
        self._keep(came, used)

    def _joined(self, ids: NDArray[np.bytes_], digests: NDArray[np.uint64], buckets_nr: Buckets) -> Known:
        rows = np.empty(len(ids), dtype=self._kind)
        rows["id"], rows["digest"], rows["buckets"] = ids, digests, buckets_nr
        return rows

    def _keep(self, came: list[Known], used: NDArray[np.bool_]) -> None:
        """Write what came as a file more, or all that is used as a single one where there are many."""
        many = len(self._files) >= MOST_FILES or used.sum() < 0.8 * len(used)
        if not (came or many):
            return
        if many:
            place_n = np.flatnonzero(used)
            kept_nr = np.empty((len(place_n), self.sketch.rows), dtype=self.sketch.bucket_type)
            self._known.take(place_n, kept_nr, np.arange(len(place_n)))
            came = [self._joined(self._known.ids[used], self._known.digests[used], kept_nr), *came]
        rows = np.concatenate([np.empty(0, dtype=self._kind), *came])
        number = int(self._files[-1].stem.partition("-")[0]) + 1 if self._files else 0
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / f"{number:08d}-{_sum_of(rows):016x}.npy"
            with whole_file(path, flushed=False) as draft, draft.open("wb") as file:
                np.save(file, rows)
            for old in self._files if many else ():
                old.unlink(missing_ok=True)

    def _read(self) -> _Index:
        """Map all files; one that is damaged is removed."""
        parts: list[Known] = []
        for path in self._files:
            with contextlib.suppress(OSError, ValueError, EOFError):  # cut off by a power cut
                part = np.load(path, mmap_mode="r", allow_pickle=False)
                if part.dtype == self._kind and path.stem.endswith(f"-{_sum_of(part):016x}"):
                    parts.append(part)
                    continue
            path.unlink(missing_ok=True)
        return _Index(parts)


def _sum_of(rows: Known) -> int:
    """Return the sum of the bytes of an array as words, modulo 2^64: it finds what a bad disk changed."""
    flat = np.frombuffer(rows, dtype=np.uint8)
    whole = len(flat) // 8 * 8
    rest = int(flat[whole:].sum(dtype=np.uint64))
    return (int(flat[:whole].view("<u8").sum(dtype=np.uint64)) + rest) % 2**64


def _digests(vectors_nd: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Return a digest [n] of vectors [n, d]: a sum of their bits times odd numbers, modulo 2^64."""
    bits_nd = np.ascontiguousarray(vectors_nd, dtype="<f4").view("<u4")
    factors_d = np.random.PCG64(0).random_raw(bits_nd.shape[1]) | np.uint64(1)
    return np.einsum("nd,d->n", bits_nd, factors_d, dtype=np.uint64, casting="unsafe").astype(_DIGEST)
