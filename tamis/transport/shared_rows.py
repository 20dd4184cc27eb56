"""A pass shared among the workers of an engine: each reads its rows of the stored pool itself.

What goes to a worker for a pass is the potential, and what comes back are the column sums of its rows; they
are added in the order of the rows, so their last bits alone differ from those of one process. Parts begin
where bfloat16 rounding begins its turn again (`TargetSide.half_points_dm`).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from tamis.base.progress import Advance
from tamis.engine import LOCAL, current_engine
from tamis.store.vectors import VectorBlocks
from tamis.transport.blocks import RowSource
from tamis.transport.cost import Floats, Geometry
from tamis.transport.potential import resolve_device
from tamis.transport.rows import KeptPlan, StreamedRows, cached_bytes
from tamis.transport.sinkhorn import Kernel, PassRows, Totals, chunk_rows, totals_of  # fmt: skip
from tamis.transport.target_side import ROUNDING_TURNS, TargetSide  # fmt: skip

if TYPE_CHECKING:
    import torch


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


def is_shared(rows: StreamedRows) -> bool:
    """Return whether workers of the engine read the rows."""
    alike = bool(rows.count) and bool(rows.mass_n.min() == rows.mass_n.max())
    return current_engine() is not LOCAL and isinstance(rows.source.rows, VectorBlocks) and alike


def keeps_plan(rows: StreamedRows, points_md: "torch.Tensor", memory: int) -> bool:
    """Return whether the plan of all rows is kept: it fits the memory [bytes], and one process reads them."""
    size = rows.count * len(points_md) * points_md.element_size()
    return not is_shared(rows) and size <= cached_bytes(points_md.device, memory)


def rows_of_pass(rows: StreamedRows, target: TargetSide, memory: int) -> PassRows:
    """Return the rows of a reference for passes: a kept plan, shared by workers, or read each time."""
    stored = rows.source.rows
    if keeps_plan(rows, target.points_kd, memory):
        return KeptPlan(rows)
    if is_shared(rows):
        assert isinstance(stored, VectorBlocks)
        return SharedRows(rows, stored, target)
    return rows
