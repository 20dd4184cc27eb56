"""Density from and into the store: buckets hashed before, the sketch, and a score for each document."""

import contextlib
import mmap
import shutil
from collections.abc import Iterator
from functools import reduce
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tamis.base.files import whole_file
from tamis.base.progress import Advance, ignore
from tamis.base.threads import Behind
from tamis.coverage.sketch import DensitySketch
from tamis.engine import LOCAL, current_engine
from tamis.settings.config import DensitySection
from tamis.store.schemas import schema_of
from tamis.store.tables import Store, matrix_of
from tamis.store.vectors import VectorBlocks, require_documents

MOST_BYTES = 2**32
"""Of larger pools, 1.8 million documents at 1,200 rows, nothing is kept."""
FILE_BYTES = 2**27
MOST_FILES = 16
"""Files of less than half of `FILE_BYTES`."""
ID_CHARACTERS = 32
_DIGEST = np.dtype("<u8")
Buckets = NDArray[np.unsignedinteger]
Known = NDArray[np.void]
"""Documents [n]: `id`, `digest` of the vector, and `buckets` [rows]; mapped from a file or in memory."""
ROWS_A_SKETCH = 2**20
COUNTED_TOGETHER = 16_384


class _Index:
    """Documents of several files by id, ascending; of one that is in several the last counts.

    Buckets stay in the files, which are mapped: of a large pool they are hundreds of megabytes.
    """

    def __init__(self, parts: list[Known]) -> None:
        heads = [(np.empty(0, dtype=f"S{ID_CHARACTERS}"), np.empty(0, dtype=_DIGEST))]
        for part in parts:
            heads.append((part["id"].copy(), part["digest"].copy()))
            _give_back(part)
        ids, digests = (np.concatenate(column) for column in zip(*heads, strict=True))
        order = np.argsort(ids, kind="stable")
        self._row = order[np.append(ids[order][1:] != ids[order][:-1], [True])[: len(order)]]
        self.ids, self.digests = ids[self._row], digests[self._row]
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts], dtype=np.int64)
        self.part_n = np.searchsorted(self._ends, self._row, side="right")
        self.sizes_p = np.array([part.nbytes for part in parts], dtype=np.int64)

    def take(self, place_n: NDArray[np.int64]) -> Buckets:
        """Return the buckets [n, rows] of the documents at these places, of which there are some."""
        row_n, part_n = self._row[place_n], self.part_n[place_n]
        kind = self._parts[0].dtype["buckets"]
        found_nr = np.empty((len(place_n), *kind.shape), dtype=kind.base)
        for number in np.unique(part_n):
            mine = part_n == number
            part = self._parts[number]
            found_nr[mine] = part["buckets"][row_n[mine] - (self._ends[number] - len(part))]
            _give_back(part)
        return found_nr

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
        self._next = int(self._files[-1].stem.partition("-")[0]) + 1 if self._files else 0
        self._known = self._read()

    @staticmethod
    def fits(sketch: DensitySketch, documents: int) -> bool:
        """Whether the buckets of so many documents are kept."""
        return documents * sketch.rows * sketch.bucket_type.itemsize <= MOST_BYTES

    def of(
        self, blocks: Iterator[tuple[list[str], NDArray[np.float32]]], advance: Advance
    ) -> Iterator[tuple[list[str], Buckets]]:
        """Yield ids and buckets [rows, n] of blocks of ids and vectors [n, d]; keep what was hashed."""
        came: list[Known] = []
        used = np.zeros(len(self._known.ids), dtype=bool)
        with Behind() as behind:  # a file is written while the next documents are hashed
            for ids, vectors_nd in blocks:
                names, digests = np.array(ids, dtype=f"S{ID_CHARACTERS}"), _digests(vectors_nd)
                place_n = self._known.places(names, digests)
                new_n = place_n < 0
                used[place_n[~new_n]] = True
                hashed_nr = _transposed(self.sketch.buckets_of(vectors_nd[new_n]))
                if new_n.any():
                    came.append(self._joined(names[new_n], digests[new_n], hashed_nr))
                    if sum(part.nbytes for part in came) >= FILE_BYTES:
                        behind.do(self._write, came)
                        came = []
                if new_n.all():
                    buckets_nr = hashed_nr
                else:
                    buckets_nr = self._known.take(np.maximum(place_n, 0))
                    buckets_nr[new_n] = hashed_nr
                yield ids, _transposed(buckets_nr)
                advance(len(ids))
        self._write(came)
        self._tidy(used)

    def _joined(self, ids: NDArray[np.bytes_], digests: NDArray[np.uint64], buckets_nr: Buckets) -> Known:
        rows = np.empty(len(ids), dtype=self._kind)
        rows["id"], rows["digest"], rows["buckets"] = ids, digests, buckets_nr
        return rows

    def _write(self, came: list[Known]) -> None:
        """Write what was hashed as a file of its own."""
        if not came:
            return
        rows, number = np.concatenate(came), self._next
        self._next += 1
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / f"{number:08d}-{_sum_of(rows):016x}.npy"
            with whole_file(path, flushed=False) as draft, draft.open("wb") as file:
                np.save(file, rows)

    def _tidy(self, used: NDArray[np.bool_]) -> None:
        """Rewrite what is used of the files where many are small, or a fifth of it is not used."""
        small_p = self._known.sizes_p < FILE_BYTES // 2
        if used.sum() < 0.8 * len(used):
            old_p = np.ones_like(small_p)
        elif small_p.sum() >= MOST_FILES:
            old_p = small_p
        else:
            return
        place_n = np.flatnonzero(used & old_p[self._known.part_n])
        for start in range(0, len(place_n), step := max(FILE_BYTES // self._kind.itemsize, 1)):
            chosen_n = place_n[start : start + step]
            ids, digests = self._known.ids[chosen_n], self._known.digests[chosen_n]
            self._write([self._joined(ids, digests, self._known.take(chosen_n))])
        with contextlib.suppress(OSError):
            for number in np.flatnonzero(old_p):
                self._files[number].unlink(missing_ok=True)

    def _read(self) -> _Index:
        """Map all files; one that is damaged is removed."""
        parts: list[Known] = []
        files, self._files = self._files, []
        for path in files:
            with contextlib.suppress(OSError, ValueError, EOFError):  # cut off by a power cut
                part = np.load(path, mmap_mode="r", allow_pickle=False)
                if part.dtype == self._kind and path.stem.endswith(f"-{_sum_of(part):016x}"):
                    parts.append(part)
                    self._files.append(path)
                    _give_back(part)
                    continue
            path.unlink(missing_ok=True)
        return _Index(parts)


def _give_back(part: Known) -> None:
    """Let the system take the pages of a mapped file from this process; the next access reads them again."""
    if isinstance(part, np.memmap) and hasattr(mmap, "MADV_DONTNEED"):
        part._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]


def _transposed(buckets: Buckets) -> Buckets:
    """Return a matrix the other way round, copied by torch, which is several times as fast as numpy."""
    import torch

    signed = np.dtype(f"i{buckets.itemsize}")
    turned = torch.from_numpy(np.ascontiguousarray(buckets).view(signed)).t().contiguous()
    return np.asarray(turned.numpy().view(buckets.dtype))


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


def build_sketch(
    store: Store,
    table: str,
    section: DensitySection,
    seed: int,
    advance: Advance,
    cache: Path | None = None,
) -> DensitySketch:
    """A sketch of all vectors of a table, its width calibrated on the documents with the smallest ids.

    `cache`: a folder for the buckets of documents, so that only those are hashed that it does not know.
    """
    count = require_documents(store, table, 1)
    calibration_nd = smallest_id_vectors(store, table, section.calibration)
    empty = DensitySketch(
        calibration_nd.shape[1], rows=section.rows, hashes=section.hashes, expected=count, seed=seed
    )
    empty.calibrate(calibration_nd)
    vectors, engine = VectorBlocks(store, table), current_engine()
    if cache is not None and _keeps(empty, count):
        large = VectorBlocks(store, table, COUNTED_TOGETHER)  # counting passes over all counters of a row
        for _ids, buckets_rn in KeptBuckets(cache, empty).of(large.with_ids(), advance):
            empty.add_buckets(buckets_rn)
        return empty
    # A sketch of a part is as large as the whole one, so there are few.
    spans = vectors.spans(max(engine.parts // 4, 1), most=ROWS_A_SKETCH)
    return reduce(
        DensitySketch.merge, (part for _, part in engine.map(_counted, (empty, vectors), spans, advance))
    )


def _keeps(sketch: DensitySketch, count: int) -> bool:
    """Whether buckets are kept: of a pool that fits, which this process reads itself."""
    return current_engine() is LOCAL and KeptBuckets.fits(sketch, count)


def _counted(
    state: tuple[DensitySketch, VectorBlocks], span: tuple[int, int], advance: Advance
) -> DensitySketch:
    """What a part of the vectors adds to the sketch: counts, so that parts add up to the same bits."""
    empty, vectors = state
    sketch = empty.emptied()
    for vectors_nd in vectors.within(span):
        sketch.add(vectors_nd)
        advance(len(vectors_nd))
    return sketch


def score_density(
    store: Store, table: str, sketch: DensitySketch, advance: Advance = ignore, cache: Path | None = None
) -> np.ndarray:
    """Write the density of every document; returns the densities, [N]. `cache`: as of `build_sketch`."""
    vectors, engine = VectorBlocks(store, table), current_engine()
    if cache is not None and sketch.width is not None and _keeps(sketch, store.count(table)):
        kept = KeptBuckets(cache, sketch).of(vectors.with_ids(), advance)
        scored = ((ids, sketch.density_in(buckets_rn)) for ids, buckets_rn in kept)
        parts = [_rows(scored, store.count(table), sketch)]
    else:
        spans = vectors.spans(engine.parts)
        parts = [part for _, part in engine.map(_density, (sketch, vectors), spans, advance)]
    rows = pa.concat_tables([schema_of("scores_density").empty_table(), *parts])
    store.overwrite("scores_density", rows.sort_by("doc_id"))
    return rows["density"].to_numpy().astype(np.float32)


def _density(state: tuple[DensitySketch, VectorBlocks], span: tuple[int, int], advance: Advance) -> pa.Table:
    sketch, vectors = state

    def scored() -> Iterator[tuple[list[str], np.ndarray]]:
        for ids, vectors_nd in vectors.within(span).with_ids():
            yield ids, sketch.density(vectors_nd)
            advance(len(ids))

    return _rows(scored(), span[1] - span[0], sketch)


def _rows(blocks: Iterator[tuple[list[str], np.ndarray]], count: int, sketch: DensitySketch) -> pa.Table:
    """Return the rows of blocks of ids and densities, of `count` documents at most.

    They go into arrays that are made beforehand: a small piece that stays after each block would keep the
    allocator from using the block's 10 MB again, 2.4 GB in a million documents.
    """
    id_n, density_n, row = np.empty(count, dtype=f"S{ID_CHARACTERS}"), np.empty(count), 0
    for ids, found_n in blocks:
        id_n[row : row + len(ids)], density_n[row : row + len(ids)] = ids, found_n
        row += len(ids)
    names = pa.array(id_n[:row], pa.binary()).cast(pa.string())
    return pa.table(
        [names, density_n[:row], pa.repeat(sketch.fingerprint, row)], schema=schema_of("scores_density")
    )


def smallest_id_vectors(store: Store, table: str, count: int) -> np.ndarray:
    """Vectors of the documents with the smallest ids, in order of id, [n, d]."""
    ids = store.read(table, ["doc_id"])["doc_id"].sort().head(count).to_list()
    rows = pa.concat_tables(store.by_ids(table, ids, ["doc_id", "vector"])).sort_by("doc_id")
    return matrix_of(rows["vector"])
