"""Scores of a target, of documents that its potential has not scored yet; cost of the nearest point."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from tamis.base.progress import Advance, ignore
from tamis.engine import current_engine
from tamis.store.schemas import schema_of
from tamis.store.tables import Store, matrix_of, one_of, quoted
from tamis.store.vectors import VectorBlocks
from tamis.transport.cost import (
    BadShapeError,
    Geometry,
    Matrix,
    Rows,
    RowSource,
    center_vector,
    survey,
    target_points,
    whole_tiles,
)
from tamis.transport.potential import Float32s, TargetPotential, resolve_device
from tamis.transport.prepare import READING_WIDTH, explicit_center
from tamis.transport.sinkhorn import chunk_rows, exact_products

IDS_A_DELETE = 1_000
REWRITE_ABOVE = 0.5
"""Share of new rows from which the whole table is written in one go instead of merged."""


def nearest_cost(
    target: Matrix,
    candidates: Rows,
    *,
    center: Any = True,
    normalize: bool = True,
    device: str = "auto",
    advance: Advance = ignore,
) -> Float32s:
    """Smallest cost [n] of each candidate [n, d] to a target point [M, d]; copies have the same one.

    center: True (mean of the candidates), False or None, or a vector [d], such as `potential.center`. Raises
    ValueError on bad rows or shapes, and on a generator where the mean needs a second reading.
    """
    import torch

    place = resolve_device(device)
    like = torch.empty(0, dtype=torch.float32, device=place)
    explicit = explicit_center(center)
    source = RowSource(candidates, "candidates", once=explicit or not center)
    mean_d = survey(source, None, chunk_rows(READING_WIDTH, "cpu"))[0] if not explicit and center else None
    geometry = Geometry(center_d=center_vector(center) if explicit else mean_d, normalize=normalize)
    points_md = target_points(target, geometry, like)
    squared_norm_m = points_md.square().sum(1)
    costs = []
    size = chunk_rows(len(points_md), place)
    for start, raw_nd in source.chunks(size):
        whole_nd = whole_tiles(raw_nd, size if start else 0)
        points_nd = geometry.points(whole_nd, first_row=start, name="candidates", like=like)
        if points_nd.shape[1] != points_md.shape[1]:
            raise BadShapeError("candidates", f"width {points_nd.shape[1]}", f"width {points_md.shape[1]}")
        with exact_products():
            # Candidates are the columns: as rows, some processors sum copies of one in another order.
            partial_mn = torch.addmm(squared_norm_m[:, None], points_md, points_nd.T, alpha=-2.0)
        cost_n = (partial_mn.amin(0) + points_nd.square().sum(1)).clamp_min(0)[: len(raw_nd)]
        costs.append(cost_n.cpu().numpy())
        advance(len(raw_nd))
    return np.concatenate([np.zeros(0, dtype=np.float32), *costs])


class Scoring(Protocol):
    """A computation of the rows of a table, one for each document of the pool."""

    @property
    def table(self) -> str:
        """The table that the rows are of."""

    @property
    def fingerprint(self) -> str:
        """The version that the rows will carry."""

    def rows(self, ids: list[str], vectors_nd: np.ndarray) -> pa.Table:
        """Rows of the table for some documents."""


@dataclass(frozen=True, kw_only=True)
class PoolScoring:
    """What scores a pool: the potential, the target's vectors [M, d], and the version the rows will carry."""

    potential: TargetPotential
    target_md: np.ndarray
    target: str
    fingerprint: str

    @property
    def table(self) -> str:
        """The table of the target's scores."""
        return f"transport_{self.target}"

    def rows(self, ids: list[str], vectors_nd: np.ndarray) -> pa.Table:
        """Rows of the table `transport_<target>` for some documents."""
        gradient_n = self.potential.gradient(vectors_nd).astype(np.float64)
        nearest_n = nearest_cost(self.target_md, vectors_nd, center=self.potential.center).astype(np.float64)
        return pa.table(
            [[self.target] * len(ids), ids, gradient_n, nearest_n, [self.fingerprint] * len(ids)],
            schema=schema_of(self.table),
        )


def score_pool(store: Store, scoring: Scoring, pool_table: str, advance: Advance = ignore) -> int:
    """Bring the rows of every document up to date; returns how many were computed."""
    table = scoring.table
    pool = store.read(pool_table, ["doc_id"])
    current = store.read(table, ["doc_id"], f"fingerprint = {quoted(scoring.fingerprint)}")
    missing = pool.join(current, on="doc_id", how="anti")["doc_id"].sort().to_list()
    if len(missing) > REWRITE_ABOVE * len(pool) or not store.exists(table):
        vectors, engine = VectorBlocks(store, pool_table), current_engine()
        scored = engine.map(_rows_of_span, (scoring, vectors), vectors.spans(engine.parts), advance)
        rows = pa.concat_tables([schema_of(table).empty_table(), *(part for _span, part in scored)])
        store.overwrite(table, rows.sort_by("doc_id"))
        return len(pool)
    blocks_of_new = store.by_ids(pool_table, missing, ["doc_id", "vector"])
    for _block, rows in current_engine().map(_rows_of_block, scoring, blocks_of_new, advance):
        store.merge(table, rows)
    gone = store.read(table, ["doc_id"]).join(pool, on="doc_id", how="anti")["doc_id"].to_list()
    for start in range(0, len(gone), IDS_A_DELETE):
        store.delete(table, one_of("doc_id", gone[start : start + IDS_A_DELETE]))
    return len(missing)


def _rows_of_block(scoring: Scoring, block: pa.Table, advance: Advance) -> pa.Table:
    rows = scoring.rows(block["doc_id"].to_pylist(), matrix_of(block["vector"]))
    advance(block.num_rows)
    return rows


def _rows_of_span(state: tuple[Scoring, VectorBlocks], span: tuple[int, int], advance: Advance) -> pa.Table:
    scoring, vectors = state
    parts = []
    for ids, vectors_nd in vectors.within(span).with_ids():
        parts.append(scoring.rows(ids, vectors_nd))
        advance(len(ids))
    return pa.concat_tables(parts)


def score_range(store: Store, target: str) -> tuple[float, float]:
    """Smallest and largest gradient of a target."""
    scores = store.read(f"transport_{target}", ["transport_gradient"])["transport_gradient"]
    return float(scores.min() or 0.0), float(scores.max() or 0.0)  # type: ignore[arg-type]
