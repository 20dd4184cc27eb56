"""One pass of Sinkhorn's algorithm: one matrix product and one exponential per entry give both half steps.

Written as row softmax plus column sum (Feydy et al. 1810.08278 in the log domain; KL(P | a x b) convention):
memory O(N + M + chunk x M) instead of O(N x M). Products are float32: bfloat16 ones took half the time on two
cores, but their 8 bits moved the column sums by 1.5e-3 in L1, so at tolerance 1e-3 they would serve two of
five full passes. Products that fit `CACHED_BYTES` are kept: a later pass over 20,000 x 1,000 then takes 27 ms
of one core instead of 220.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tamis.progress import Advance, ignore
from tamis.transport.blocks import RowSource
from tamis.transport.cost import Floats, Geometry

if TYPE_CHECKING:
    import torch

CACHED_BYTES = 256 * 2**20
# A column this light has lost its float32 digits: its sum is found in the log domain instead.
LIGHT_COLUMN = 1e-25


@contextmanager
def exact_products() -> "Iterator[None]":
    """Float32 products with all their bits, whatever precision (TF32) the caller allows elsewhere."""
    import torch

    # The setting of each backend: torch refuses to read the general one where a caller has used these.
    backends = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # type: ignore[attr-defined]
    allowed = [backend.fp32_precision for backend in backends]
    reduced = [pair for pair in zip(backends, allowed, strict=True) if pair[1] not in ("none", "ieee")]
    for backend, _ in reduced:
        backend.fp32_precision = "ieee"
    try:
        yield
    finally:
        for backend, precision in reduced:
            backend.fp32_precision = precision


def chunk_rows(target_count: int, device_type: str) -> int:
    """Rows of a chunk: its similarities fit the second-level cache of a CPU, or keep a GPU busy."""
    if device_type == "cpu":
        return max(64, min(512, 2**20 // target_count))
    return max(1_024, min(65_536, 2**26 // target_count))


class TargetSide:
    """What a pass knows of the target: points, masses and squared norms, of those with mass only."""

    def __init__(self, points_md: "torch.Tensor", mass_m: Floats) -> None:
        self.kept_m = np.flatnonzero(mass_m > 0)
        self.count = len(mass_m)
        kept_md = points_md if len(self.kept_m) == len(mass_m) else points_md[self.kept_m.tolist()]
        self.points_dm = kept_md.T.contiguous()
        self.mass_k = mass_m[self.kept_m]
        # Norms of the rounded points that the products use: rounding then moves points, not their cost.
        self.squared_norm_k: Floats = kept_md.double().square().sum(1).cpu().numpy()

    def expand(self, values_k: Floats) -> Floats:
        """Values of the kept columns as [M], zero for targets without mass."""
        values_m = np.zeros(self.count)
        values_m[self.kept_m] = values_k
        return values_m


class Kernel:
    """The target side at one potential g [K] and one epsilon: (2 x.y + g - |y|^2) / epsilon + log b."""

    def __init__(self, target: TargetSide, g_k: Floats, epsilon: float) -> None:
        import torch

        bias_k = (g_k - target.squared_norm_k) / epsilon + np.log(target.mass_k)
        self.target, self.epsilon, self.scale = target, epsilon, 2.0 / epsilon
        self.shift = float(bias_k.max())
        like = target.points_dm
        self.bias_k = torch.as_tensor(bias_k - self.shift, dtype=like.dtype, device=like.device)

    def similarities(self, points_nd: "torch.Tensor") -> "torch.Tensor":
        """Similarities [n, K] of rows to targets, less `shift`."""
        import torch

        return torch.addmm(self.bias_k, points_nd, self.target.points_dm, alpha=self.scale)

    def similarities_of_products(self, products_nk: "torch.Tensor") -> "torch.Tensor":
        """The same from stored products x.y."""
        import torch

        return torch.add(self.bias_k, products_nk, alpha=self.scale)

    def gradient(self, similarities_nk: "torch.Tensor", squared_norm_n: "torch.Tensor") -> "torch.Tensor":
        """Soft c-transform f [n] = |x|^2 - epsilon log sum exp, in float64."""
        log_sum_n = similarities_nk.logsumexp(1).double() + self.shift
        return squared_norm_n.double() - self.epsilon * log_sum_n


@dataclass(frozen=True, kw_only=True)
class RowChunk:
    """A chunk of a pass: similarities [n, K], masses [n] and squared norms [n]."""

    similarities_nk: "torch.Tensor"
    mass_n: "torch.Tensor"
    squared_norm_n: "torch.Tensor"


class StoredRows:
    """Rows kept as points; with few enough of them, their products with the target too."""

    def __init__(self, points_nd: "torch.Tensor", mass_n: Floats, target: TargetSide) -> None:
        import torch

        self.count = len(points_nd)
        self._points_nd, self._chunk = points_nd, chunk_rows(len(target.mass_k), points_nd.device.type)
        self._mass_n = torch.as_tensor(mass_n, dtype=points_nd.dtype, device=points_nd.device)
        self._squared_norm_n = points_nd.square().sum(1)
        size = self.count * len(target.mass_k) * points_nd.element_size()
        self._products_nk = points_nd @ target.points_dm if size <= CACHED_BYTES else None

    def chunks(self, kernel: Kernel) -> Iterator[RowChunk]:
        """Similarities of all rows to the target, a chunk at a time."""
        for start in range(0, self.count, self._chunk):
            rows = slice(start, start + self._chunk)
            if self._products_nk is not None:
                similarities_nk = kernel.similarities_of_products(self._products_nk[rows])
            else:
                similarities_nk = kernel.similarities(self._points_nd[rows])
            yield RowChunk(
                similarities_nk=similarities_nk,
                mass_n=self._mass_n[rows],
                squared_norm_n=self._squared_norm_n[rows],
            )


class StreamedRows:
    """Rows that are read and prepared anew on every pass."""

    def __init__(self, source: RowSource, geometry: Geometry, mass_n: Floats) -> None:
        self.count = len(mass_n)
        self._source, self._geometry, self._mass_n = source, geometry, mass_n

    def chunks(self, kernel: Kernel) -> Iterator[RowChunk]:
        """Similarities of all rows to the target, a chunk at a time."""
        import torch

        like = kernel.target.points_dm
        for start, raw_nd in self._source.chunks(chunk_rows(like.shape[1], like.device.type)):
            points_nd = self._geometry.points(raw_nd, first_row=start, name=self._source.name, like=like)
            mass_n = torch.as_tensor(
                self._mass_n[start : start + len(points_nd)], dtype=like.dtype, device=like.device
            )
            yield RowChunk(
                similarities_nk=kernel.similarities(points_nd),
                mass_n=mass_n,
                squared_norm_n=points_nd.square().sum(1),
            )


@dataclass(frozen=True, kw_only=True)
class PassResult:
    """Column sums r [K] of the plan, their logarithms [K], L1 distance of r to b, and the dual value D(g)."""

    column_sum_k: Floats
    log_column_sum_k: Floats
    marginal_error: float
    dual_value: float


Evaluate = Callable[[Floats], PassResult]


def evaluate(
    rows: StoredRows | StreamedRows,
    target: TargetSide,
    g_k: Floats,
    epsilon: float,
    advance: Advance = ignore,
) -> PassResult:
    """One pass at potential g [K]: reference/transport section 4.2 of Kang et al.'s semi-dual, streamed.

    The row sums of the plan are exact by construction, so the column error is the whole error of g.
    """
    import torch

    kernel = Kernel(target, g_k, epsilon)
    sum_k = torch.zeros(len(g_k), dtype=torch.float64, device=kernel.bias_k.device)
    primal = torch.zeros((), dtype=torch.float64, device=kernel.bias_k.device)
    with exact_products():
        for chunk in rows.chunks(kernel):
            plan_nk = chunk.similarities_nk.softmax(1)
            sum_k += (chunk.mass_n @ plan_nk).double()
            # log sum exp = S - log softmax in any column; the largest one has all its digits.
            log_sum_n = chunk.similarities_nk.amax(1).double() - plan_nk.amax(1).double().log()
            gradient_n = chunk.squared_norm_n.double() - epsilon * (log_sum_n + kernel.shift)
            primal += chunk.mass_n.double() @ gradient_n
            advance(len(plan_nk))
        column_sum_k = sum_k.cpu().numpy()
        log_sum_k = _log_sums(rows, kernel, column_sum_k)
    return PassResult(
        column_sum_k=column_sum_k,
        log_column_sum_k=log_sum_k,
        marginal_error=float(np.abs(column_sum_k - target.mass_k).sum()),
        dual_value=float(primal) + float(target.mass_k @ g_k),
    )


def _log_sums(rows: StoredRows | StreamedRows, kernel: Kernel, column_sum_k: Floats) -> Floats:
    """Logarithms of column sums; of columns too light for float32, that of the largest entry instead."""
    light_k = column_sum_k < LIGHT_COLUMN
    if not light_k.any():
        return np.log(column_sum_k)
    largest_k = np.full(len(column_sum_k), -np.inf)
    for chunk in rows.chunks(kernel):
        log_sum_n = chunk.similarities_nk.logsumexp(1)
        log_plan_nk = chunk.similarities_nk + (chunk.mass_n.log() - log_sum_n)[:, None]
        largest_k = np.maximum(largest_k, log_plan_nk.amax(0).double().cpu().numpy())
    return np.where(light_k, largest_k, np.log(np.maximum(column_sum_k, LIGHT_COLUMN)))
