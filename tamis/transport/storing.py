"""Transport from and into the store: the potential of a target, then the gradient of each document.

The pool is streamed 4,096 vectors at a time at a pinned version; what is kept of it are M floats.
"""

from collections.abc import Iterator

import numpy as np
import polars as pl
import pyarrow as pa

from tamis.config import TransportSection
from tamis.progress import Advance, ignore
from tamis.store.schemas import schema_of
from tamis.store.tables import Store, matrix_of, quoted
from tamis.store.vectors import VectorBlocks
from tamis.transport import TargetPotential, nearest_cost, solve_potential


def target_vectors(store: Store, table: str, target: str, split: str = "train") -> np.ndarray:
    """Vectors of one split of a target's examples, in order of id, [M, d]."""
    where = f"target = {quoted(target)}"
    ids = store.read("target_examples", ["doc_id"], f"{where} AND split = {quoted(split)}")
    vectors = pl.DataFrame(pl.from_arrow(store.read_arrow(table, ["doc_id"], where))).with_row_index(
        "position"
    )
    positions = vectors.join(ids, on="doc_id", how="semi").sort("doc_id")["position"]
    return matrix_of(store.read_arrow(table, ["vector"], where)["vector"].take(positions.to_arrow()))


def solve_for_target(
    store: Store, target_table: str, pool_table: str, target: str, section: TransportSection, seed: int
) -> TargetPotential:
    """Solve the potential of a target against the whole stored pool."""
    return solve_potential(
        target_vectors(store, target_table, target),
        VectorBlocks(store, pool_table),
        relative_epsilon=section.relative_epsilon,
        tolerance=section.tolerance,
        max_passes=section.max_passes,
        seed=seed,
    )


def score_pool(
    store: Store,
    potential: TargetPotential,
    pool_table: str,
    target_table: str,
    target: str,
    fingerprint: str,
    advance: Advance = ignore,
) -> np.ndarray:
    """Write gradient and nearest cost of every document for a target; returns the gradients, [N]."""
    target_md = target_vectors(store, target_table, target)
    gradients: list[np.ndarray] = []
    table = f"transport_{target}"

    def rows() -> Iterator[pa.Table]:
        for ids, vectors_nd in VectorBlocks(store, pool_table).with_ids():
            gradients.append(potential.gradient(vectors_nd).astype(np.float64))
            nearest_n = nearest_cost(target_md, vectors_nd, center=potential.center).astype(np.float64)
            advance(len(ids))
            columns = [[target] * len(ids), ids, gradients[-1], nearest_n, [fingerprint] * len(ids)]
            yield pa.table(columns, schema=schema_of(table))

    store.overwrite(table, pa.concat_tables(rows()).sort_by("doc_id"))
    return np.concatenate(gradients)
