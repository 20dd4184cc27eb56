"""Density from and into the store: the sketch over all stored vectors, then a score for each document.

Two streamed passes of 4,096 vectors a block; memory does not grow with the pool.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from tamis.config import DensitySection
from tamis.coverage.sketch import DensitySketch
from tamis.progress import Advance, ignore
from tamis.store.schemas import schema_of
from tamis.store.tables import Store, matrix_of
from tamis.store.vectors import VectorBlocks, require_documents


def build_sketch(
    store: Store, table: str, section: DensitySection, seed: int, advance: Advance
) -> DensitySketch:
    """A sketch of all vectors of a table, its width calibrated on the documents with the smallest ids."""
    count = require_documents(store, table, 1)
    calibration_nd = smallest_id_vectors(store, table, section.calibration)
    sketch = DensitySketch(
        calibration_nd.shape[1], rows=section.rows, hashes=section.hashes, expected=count, seed=seed
    )
    sketch.calibrate(calibration_nd)
    for vectors_nd in VectorBlocks(store, table):
        sketch.add(vectors_nd)
        advance(len(vectors_nd))
    return sketch


def score_density(store: Store, table: str, sketch: DensitySketch, advance: Advance = ignore) -> np.ndarray:
    """Write the density of every document; returns the densities, [N]."""
    densities: list[np.ndarray] = []

    def rows() -> Iterator[pa.Table]:
        for ids, vectors_nd in VectorBlocks(store, table).with_ids():
            densities.append(sketch.density(vectors_nd))
            advance(len(ids))
            columns = [ids, densities[-1].astype(np.float64), [sketch.fingerprint] * len(ids)]
            yield pa.table(columns, schema=schema_of("scores_density"))

    store.overwrite("scores_density", pa.concat_tables(rows()).sort_by("doc_id"))
    return np.concatenate(densities) if densities else np.empty(0)


def smallest_id_vectors(store: Store, table: str, count: int) -> np.ndarray:
    """Vectors of the documents with the smallest ids, in order of id, [n, d]."""
    ids = store.read(table, ["doc_id"])["doc_id"].sort().head(count).to_list()
    rows = pa.concat_tables(store.by_ids(table, ids, ["doc_id", "vector"])).sort_by("doc_id")
    return matrix_of(rows["vector"])
