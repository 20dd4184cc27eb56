"""A pass shared among the workers of an engine: each reads its rows of the stored pool itself.

What goes to a worker for a pass is the potential, and what comes back are the column sums of its rows; they
are added in the order of the rows, so their last bits alone differ from those of one process. Parts begin
where bfloat16 rounding begins its turn again (`TargetSide.half_points_dm`).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tamis.base.progress import Advance
from tamis.engine import LOCAL, current_engine
from tamis.store.vectors import VectorBlocks
from tamis.transport.blocks import RowSource
from tamis.transport.cost import Floats, Geometry
from tamis.transport.potential import resolve_device
from tamis.transport.rows import StreamedRows
from tamis.transport.sinkhorn import Kernel, PassRows, Totals, chunk_rows, totals_of  # fmt: skip
from tamis.transport.target_side import ROUNDING_TURNS, TargetSide  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Pool:
    """What a worker keeps from pass to pass: where the rows are, how they become points, and the target."""

    vectors: VectorBlocks
    count: int
    geometry: Geometry
    points_md: np.ndarray
    mass_m: Floats

    @cached_property
    def side(self) -> TargetSide:
        import torch

        return TargetSide(torch.from_numpy(self.points_md).to(resolve_device("auto")), self.mass_m)


@dataclass(frozen=True, kw_only=True)
class _Part:
    """Rows of one pass, and the potential [K] that it is at."""

    span: tuple[int, int]
    g_k: Floats
    epsilon: float
    reduced: bool


class SharedRows(StreamedRows):
    """Rows of equal mass of a stored table; whatever is no plain pass reads them here."""

    def __init__(self, rows: StreamedRows, vectors: VectorBlocks, target: TargetSide) -> None:
        super().__init__(rows.source, rows.geometry, rows.mass_n)
        place = target.points_dm.device.type
        self._spans = vectors.spans(
            current_engine().parts, unit=ROUNDING_TURNS * chunk_rows(len(target.mass_k), place)
        )
        self._pool = _Pool(
            vectors=vectors,
            count=self.count,
            geometry=rows.geometry,
            points_md=target.points_kd.cpu().numpy(),
            mass_m=target.mass_k,
        )

    def totals(self, kernel: Kernel, advance: Advance, *, reduced: bool, keep_gradient: bool) -> Totals:
        """What all rows add to a pass."""
        if keep_gradient:
            return super().totals(kernel, advance, reduced=reduced, keep_gradient=True)
        parts = (
            _Part(span=span, g_k=kernel.g_k, epsilon=kernel.epsilon, reduced=reduced) for span in self._spans
        )
        sum_k, primal = np.zeros(len(kernel.g_k)), 0.0
        for _part, totals in current_engine().map(_totals, self._pool, parts, advance):
            sum_k += totals.column_sum_k
            primal += totals.primal
        return Totals(column_sum_k=sum_k, primal=primal)


def _totals(pool: _Pool, part: _Part, advance: Advance) -> Totals:
    rows = part.span[1] - part.span[0]
    source = RowSource(pool.vectors.within(part.span), "reference")
    streamed = StreamedRows(source, pool.geometry, np.full(rows, 1.0 / pool.count))
    kernel = Kernel(pool.side, part.g_k, part.epsilon)
    return totals_of(streamed.chunks(kernel, reduced=part.reduced), kernel, advance)


def rows_of_pass(rows: StreamedRows, target: TargetSide) -> PassRows:
    """The rows of a reference that is read again on every pass, shared where the engine has workers."""
    stored = rows.source.rows
    alike = bool(rows.count) and rows.mass_n.min() == rows.mass_n.max()
    if current_engine() is LOCAL or not isinstance(stored, VectorBlocks) or not alike:
        return rows
    return SharedRows(rows, stored, target)
