"""Density from and into the store: the sketch over all stored vectors, then a score for each document.

Two streamed passes of 4,096 vectors a block; memory does not grow with the pool.
"""

from collections.abc import Iterator
from functools import reduce
from pathlib import Path

import numpy as np
import pyarrow as pa

from tamis.base.progress import Advance, ignore
from tamis.coverage.kept_buckets import ID_CHARACTERS, KeptBuckets
from tamis.coverage.sketch import DensitySketch
from tamis.engine import LOCAL, current_engine
from tamis.settings.config import DensitySection
from tamis.store.schemas import schema_of
from tamis.store.tables import Store, matrix_of
from tamis.store.vectors import VectorBlocks, require_documents

ROWS_A_SKETCH = 2**20
COUNTED_TOGETHER = 16_384


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
    parts = (part for _, part in engine.map(_counted, (empty, vectors), spans, advance))
    return reduce(DensitySketch.merge, parts)


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
    columns = [names, density_n[:row], pa.repeat(sketch.fingerprint, row)]
    return pa.table(columns, schema=schema_of("scores_density"))


def smallest_id_vectors(store: Store, table: str, count: int) -> np.ndarray:
    """Vectors of the documents with the smallest ids, in order of id, [n, d]."""
    ids = store.read(table, ["doc_id"])["doc_id"].sort().head(count).to_list()
    rows = pa.concat_tables(store.by_ids(table, ids, ["doc_id", "vector"])).sort_by("doc_id")
    return matrix_of(rows["vector"])
