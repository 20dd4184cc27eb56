"""Rows of the reference side of a pass: kept with their products or as a plan, or read again each time.

Products of a sample that fit `CACHED_BYTES` are kept, in 16 bits where a pass over all rows corrects the
result: a pass over 20,000 x 1,000 then takes 12 ms of two cores instead of 90, for 40 MB. A plan of all rows
that fits the memory that a solve may take is kept, too (`KeptPlan`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from tamis.base.progress import Advance
from tamis.engine import LOCAL, current_engine
from tamis.store.vectors import VectorBlocks
from tamis.transport.cost import (
    ROUNDING_TURNS,
    Floats,
    Geometry,
    Rows,
    RowSource,
    TargetSide,
    as_matrix,
    is_array,
    squared_norms,
)
from tamis.transport.potential import resolve_device
from tamis.transport.sinkhorn import (  # fmt: skip
    LN_2,
    LOG2_E,
    Kernel,
    PassRows,  # fmt: skip
    RowChunk,
    Totals,
    chunk_rows,
    exact_products,
    totals_of,
)

if TYPE_CHECKING:
    import torch

CACHED_BYTES = 256 * 2**20
PLAN_BYTES = 1_000_000_000
"""What the plan of all rows may take unless a caller says otherwise."""
# Log2 of how far a column may move from the potential that a plan was computed at. Entries that underflowed
# there, at 2^-126 of their row, stay under a light column's 2^-83 (sinkhorn.py).
LARGEST_MOVE = 40.0
MOVED_ROWS = 512
# A larger share of a GPU is idle than of a machine that others use.
CACHED_SHARE_OF_GPU = 0.25


def on_device(rows: Rows, device: str) -> Rows:
    """An array on a GPU once instead of on every pass, when it takes a share of the free memory at most."""
    import torch

    if not device.startswith("cuda") or not is_array(rows):
        return rows
    tensor = as_matrix(rows, "reference")  # type: ignore[arg-type]
    size = tensor.numel() * tensor.element_size()
    return tensor.to(device) if size <= cached_bytes(torch.device(device)) else rows


class StoredRows:
    """Rows kept as points; with few enough of them, their products with the target too.

    compact: kept in float16, whose error of 2^-12 means nothing to a sample. reduced: products of bfloat16.
    """

    def __init__(
        self,
        points_nd: "torch.Tensor",
        mass_n: Floats,
        target: TargetSide,
        *,
        compact: bool = False,
        reduced: bool = False,
    ) -> None:
        import torch

        self.count, self._reduced = len(points_nd), reduced
        self._chunk = chunk_rows(len(target.mass_k), points_nd.device.type)
        self._mass_n = torch.as_tensor(mass_n, dtype=points_nd.dtype, device=points_nd.device)
        self._squared_norm_n = squared_norms(points_nd)
        size = self.count * len(target.mass_k) * (2 if compact else points_nd.element_size())
        self._products_nk: torch.Tensor | None = None
        # Points are let go where their products replace them: 30 MB of 20,000 rows with d = 384.
        self._points_nd = points_nd
        if size <= cached_bytes(points_nd.device):
            self._products_nk = self._products(points_nd, target, compact)
            self._points_nd = points_nd.new_empty(0, points_nd.shape[1])  # a slice would hold them all

    def _products(self, like: "torch.Tensor", target: TargetSide, compact: bool) -> "torch.Tensor":
        import torch

        dtype = torch.float16 if compact else like.dtype
        products_nk = torch.empty(self.count, len(target.mass_k), dtype=dtype, device=like.device)
        with exact_products():
            for turn, start in enumerate(range(0, self.count, self._chunk)):
                rows = slice(start, start + self._chunk)
                if self._reduced:
                    products_nk[rows] = like[rows].bfloat16() @ target.half_points_dm(turn)
                else:
                    products_nk[rows] = like[rows] @ target.points_dm
        return products_nk

    def chunks(self, kernel: Kernel, *, reduced: bool = False) -> Iterator[RowChunk]:
        """All rows, a chunk at a time, with the products that they were stored for."""
        for turn, start in enumerate(range(0, self.count, self._chunk)):
            rows = slice(start, start + self._chunk)
            if self._products_nk is None:
                similarities = _similarities(kernel, self._points_nd[rows], turn, reduced=self._reduced)
            else:
                similarities = partial(kernel.similarities_of_products, self._products_nk[rows])
            yield RowChunk(
                similarities=similarities,
                mass_n=self._mass_n[rows],
                squared_norm_n=self._squared_norm_n[rows],
            )

    def totals(self, kernel: Kernel, advance: Advance, *, reduced: bool, keep_gradient: bool) -> Totals:
        """What all rows add to a pass."""
        return totals_of(self.chunks(kernel, reduced=reduced), kernel, advance, keep_gradient=keep_gradient)


class StreamedRows:
    """Rows that are read and prepared again on every pass: of a source, with masses, and a way to points."""

    def __init__(self, source: RowSource, geometry: Geometry, mass_n: Floats) -> None:
        self.count = len(mass_n)
        self.source, self.geometry, self.mass_n = source, geometry, mass_n

    def chunks(self, kernel: Kernel, *, reduced: bool = False) -> Iterator[RowChunk]:
        """All rows, a chunk at a time; with `reduced`, with bfloat16 products."""
        import torch

        like = kernel.target.points_dm
        size = chunk_rows(like.shape[1], like.device.type)
        for start, raw_nd in self.source.chunks(size):
            points_nd = self.geometry.points(raw_nd, first_row=start, name=self.source.name, like=like)
            mass_n = self.mass_n[start : start + len(points_nd)]
            yield RowChunk(
                similarities=_similarities(kernel, points_nd, start // size, reduced=reduced),
                mass_n=torch.as_tensor(mass_n, dtype=like.dtype, device=like.device),
                squared_norm_n=squared_norms(points_nd),
            )

    def totals(self, kernel: Kernel, advance: Advance, *, reduced: bool, keep_gradient: bool) -> Totals:
        """What all rows add to a pass."""
        return totals_of(self.chunks(kernel, reduced=reduced), kernel, advance, keep_gradient=keep_gradient)


class KeptPlan:
    """All rows as their plan at one potential [N, K], in which rows sum to 1.

    A pass at another potential multiplies columns, so it costs two products of the plan with a vector and
    neither a matrix product nor an exponential: a tenth of a pass that reads rows. The plan is computed in
    the first pass, and once more where a column has moved too far since (Schmitzer 1610.06519, absorption).
    """

    def __init__(self, rows: StreamedRows) -> None:
        self.count = rows.count
        self._rows = rows
        self._at: Kernel | None = None
        self._plan_nk: torch.Tensor | None = None

    def chunks(self, kernel: Kernel, *, reduced: bool = False) -> Iterator[RowChunk]:
        """All rows, read again, a chunk at a time."""
        return self._rows.chunks(kernel, reduced=reduced)

    def totals(self, kernel: Kernel, advance: Advance, *, reduced: bool, keep_gradient: bool) -> Totals:
        """What all rows add to a pass; always with the products of the type that rows have."""
        import torch

        factor_k = self._factor(kernel)
        if factor_k is None:
            self._compute(kernel, advance)
            factor_k = torch.ones_like(kernel.bias_k)
        else:
            advance(self.count)
        assert self._plan_nk is not None
        sum_k = torch.zeros(len(factor_k), dtype=torch.float64, device=factor_k.device)
        sum_n = torch.empty(self.count, dtype=factor_k.dtype, device=factor_k.device)
        with exact_products():
            for start in range(0, self.count, MOVED_ROWS):  # the second product finds its rows in the cache
                rows = slice(start, start + MOVED_ROWS)
                torch.mv(self._plan_nk[rows], factor_k, out=sum_n[rows])
                sum_k += ((self._mass_n[rows] / sum_n[rows]) @ self._plan_nk[rows]).double()
        gradient_n = self._gradient_n - kernel.epsilon * LN_2 * sum_n.double().log2()
        return Totals(
            column_sum_k=(sum_k * factor_k.double()).cpu().numpy(),
            primal=float(self._mass_n.double() @ gradient_n),
            gradient_n=gradient_n.float().cpu().numpy() if keep_gradient else None,
        )

    def _factor(self, kernel: Kernel) -> "torch.Tensor | None":
        """What moving the potential multiplies columns by [K]; None where the plan is to be computed."""
        import torch

        if self._at is None or self._at.epsilon != kernel.epsilon:
            return None
        move_k = LOG2_E * (kernel.g_k - self._at.g_k) / kernel.epsilon
        if np.abs(move_k).max() > LARGEST_MOVE:
            return None
        return torch.as_tensor(np.exp2(move_k), dtype=kernel.bias_k.dtype, device=kernel.bias_k.device)

    def _compute(self, kernel: Kernel, advance: Advance) -> None:
        """Compute the plan, the masses and the gradient [N] at a potential, from rows read once."""
        import torch

        like = kernel.bias_k
        if self._plan_nk is None:
            self._plan_nk = torch.empty(self.count, len(like), dtype=like.dtype, device=like.device)
            self._mass_n = torch.as_tensor(self._rows.mass_n, dtype=like.dtype, device=like.device)
            self._gradient_n = torch.empty(self.count, dtype=torch.float64, device=like.device)
        start = 0
        with exact_products():
            for chunk in self._rows.chunks(kernel):
                weighed = kernel.weigh(chunk.similarities)
                rows = slice(start, start + len(weighed.sum_n))
                torch.div(weighed.weights_nk, weighed.sum_n[:, None], out=self._plan_nk[rows])
                self._gradient_n[rows] = kernel.gradient(weighed, chunk.squared_norm_n)
                start = rows.stop
                advance(len(weighed.sum_n))
        self._at = kernel


def _similarities(
    kernel: Kernel, points_nd: "torch.Tensor", turn: int, *, reduced: bool
) -> "Callable[[], torch.Tensor]":
    if reduced:
        return partial(kernel.reduced_similarities, points_nd.bfloat16(), turn)
    return partial(kernel.similarities, points_nd)


def cached_bytes(device: "torch.device", on_cpu: int = CACHED_BYTES) -> int:
    """Return what products may take on a device: a number of bytes, of a GPU a share of what is free."""
    import torch

    if device.type != "cuda":
        return on_cpu
    return int(CACHED_SHARE_OF_GPU * torch.cuda.mem_get_info(device)[0])


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
