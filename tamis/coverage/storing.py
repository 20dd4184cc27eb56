"""Density from and into the store: the sketch over all stored vectors, then a score for each document.

Two streamed passes of 4,096 vectors a block; memory does not grow with the pool.
"""

from functools import reduce

import numpy as np
import pyarrow as pa

from tamis.base.progress import Advance, ignore
from tamis.coverage.sketch import DensitySketch
from tamis.engine import current_engine
from tamis.settings.config import DensitySection
from tamis.store.schemas import schema_of
from tamis.store.tables import Store, matrix_of
from tamis.store.vectors import VectorBlocks, require_documents

ROWS_A_SKETCH = 2**20


def build_sketch(
    store: Store, table: str, section: DensitySection, seed: int, advance: Advance
) -> DensitySketch:
    """A sketch of all vectors of a table, its width calibrated on the documents with the smallest ids."""
    count = require_documents(store, table, 1)
    calibration_nd = smallest_id_vectors(store, table, section.calibration)
    empty = DensitySketch(
        calibration_nd.shape[1], rows=section.rows, hashes=section.hashes, expected=count, seed=seed
    )
    empty.calibrate(calibration_nd)
    vectors, engine = VectorBlocks(store, table), current_engine()
    # A sketch of a part is as large as the whole one, so there are few.
    spans = vectors.spans(max(engine.parts // 4, 1), most=ROWS_A_SKETCH)
    parts = (part for _, part in engine.map(_counted, (empty, vectors), spans, advance))
    return reduce(DensitySketch.merge, parts)


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


def score_density(store: Store, table: str, sketch: DensitySketch, advance: Advance = ignore) -> np.ndarray:
    """Write the density of every document; returns the densities, [N]."""
    vectors, engine = VectorBlocks(store, table), current_engine()
    spans = vectors.spans(engine.parts)
    parts = [part for _, part in engine.map(_density, (sketch, vectors), spans, advance)]
    rows = pa.concat_tables([schema_of("scores_density").empty_table(), *parts])
    store.overwrite("scores_density", rows.sort_by("doc_id"))
    return rows["density"].to_numpy().astype(np.float32)


def _density(state: tuple[DensitySketch, VectorBlocks], span: tuple[int, int], advance: Advance) -> pa.Table:
    sketch, vectors = state
    parts = []
    for ids, vectors_nd in vectors.within(span).with_ids():
        columns = [ids, sketch.density(vectors_nd).astype(np.float64), [sketch.fingerprint] * len(ids)]
        parts.append(pa.table(columns, schema=schema_of("scores_density")))
        advance(len(ids))
    return pa.concat_tables(parts)


def smallest_id_vectors(store: Store, table: str, count: int) -> np.ndarray:
    """Vectors of the documents with the smallest ids, in order of id, [n, d]."""
    ids = store.read(table, ["doc_id"])["doc_id"].sort().head(count).to_list()
    rows = pa.concat_tables(store.by_ids(table, ids, ["doc_id", "vector"])).sort_by("doc_id")
    return matrix_of(rows["vector"])
