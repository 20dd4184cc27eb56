"""One pass of Sinkhorn's algorithm: one matrix product and one exponential per entry give both half steps.

Written as row softmax plus column sum (Feydy et al. 1810.08278 in the log domain; KL(P | a x b) convention):
memory O(N + M + chunk x M) instead of O(N x M). Exponentials are powers of two without a row maximum: half
the time of a softmax, and rows that could leave float32's range are done again with it. On two cores with
AVX-512 BF16 a million entries (d = 384) take 3.8 ms of float32 products, or 1.8 of bfloat16, and .3 of the
rest.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from tamis.base.progress import Advance, ignore
from tamis.transport.cost import Floats, TargetSide

if TYPE_CHECKING:
    import torch

Float32s = npt.NDArray[np.float32]
# A column this light has lost its float32 digits: its sum is found in the log domain instead.
LIGHT_COLUMN = 1e-25
# Row sums between these powers of two leave 86 more to the entries that make up light columns.
SMALLEST_POWER, LARGEST_POWER = -40, 100
TYPICAL_POWER, TYPICAL_ROWS = 30, 256
LOG2_E = math.log2(math.e)
LN_2 = math.log(2.0)


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


class Kernel:
    """The target side at one potential g [K] and one epsilon: (2 x.y + g - |y|^2) / epsilon + log b.

    Similarities are kept in units of log 2, less `shift`, which brings the row sums of target points near
    2^30 and depends on nothing else.
    """

    def __init__(self, target: TargetSide, g_k: Floats, epsilon: float) -> None:
        import torch

        bias_k = LOG2_E * (g_k - target.squared_norm_k) / epsilon + np.log2(target.mass_k)
        self.target, self.g_k, self.epsilon, self.scale = target, g_k, epsilon, 2.0 * LOG2_E / epsilon
        self._like = target.points_dm
        self.shift = float(bias_k.max())
        self.bias_k = self._tensor(bias_k - self.shift)
        self._in_range = True
        self._similarities_nk = torch.empty(0, len(bias_k), dtype=self._like.dtype, device=self._like.device)
        self._products_nk = self._similarities_nk.bfloat16()
        with exact_products():
            sample_nk = self.similarities(target.points_kd[:TYPICAL_ROWS])
        largest_n = sample_nk.amax(1)
        power_n = (sample_nk - largest_n[:, None]).exp2().sum(1).log2() + largest_n
        self.shift += float(power_n.double().mean()) - TYPICAL_POWER
        self.bias_k = self._tensor(bias_k - self.shift)

    def similarities(self, points_nd: "torch.Tensor") -> "torch.Tensor":
        """Similarities [n, K] of rows to targets, valid until the next call of any method."""
        import torch

        out_nk = self._buffer(len(points_nd))
        return torch.addmm(self.bias_k, points_nd, self.target.points_dm, alpha=self.scale, out=out_nk)

    def reduced_similarities(self, half_points_nd: "torch.Tensor", turn: int) -> "torch.Tensor":
        """The same from bfloat16 rows and products; `turn` counts chunks."""
        import torch

        count = len(half_points_nd)
        if len(self._products_nk) < count:
            self._products_nk = self._products_nk.new_empty(count, self._products_nk.shape[1])
        products_nk = self._products_nk[:count]
        torch.mm(half_points_nd, self.target.half_points_dm(turn), out=products_nk)
        return self.similarities_of_products(products_nk)

    def similarities_of_products(self, products_nk: "torch.Tensor") -> "torch.Tensor":
        """The same from products x.y."""
        import torch

        # Converted first: an addition of two types would take and return memory for a copy.
        out_nk = self._buffer(len(products_nk)).copy_(products_nk)
        return torch.add(self.bias_k, out_nk, alpha=self.scale, out=out_nk)

    def weigh(self, similarities: "Callable[[], torch.Tensor]") -> "RowWeights":
        """Row softmax, not yet divided by its row sums. Similarities are overwritten."""
        if self._in_range:
            weights_nk = similarities().exp2_()
            sum_n = weights_nk.sum(1)
            low, high = 2.0**SMALLEST_POWER, 2.0**LARGEST_POWER
            if bool(((sum_n > low) & (sum_n < high)).all()):
                return RowWeights(weights_nk=weights_nk, sum_n=sum_n, power_n=sum_n.double().log2())
            self._in_range = False
        weights_nk = similarities()
        largest_n = weights_nk.amax(1)
        sum_n = weights_nk.sub_(largest_n[:, None]).exp2_().sum(1)
        power_n = largest_n.double() + sum_n.double().log2()
        return RowWeights(weights_nk=weights_nk, sum_n=sum_n, power_n=power_n)

    def gradient(self, rows: "RowWeights", squared_norm_n: "torch.Tensor") -> "torch.Tensor":
        """Soft c-transform f [n] = |x|^2 - epsilon log sum exp, in float64."""
        return squared_norm_n.double() - self.epsilon * LN_2 * (rows.power_n + self.shift)

    def _buffer(self, count: int) -> "torch.Tensor":
        # Memory that is returned after every chunk is mapped again for the next: three times the time.
        if len(self._similarities_nk) < count:
            self._similarities_nk = self._similarities_nk.new_empty(count, self._similarities_nk.shape[1])
        return self._similarities_nk[:count]

    def _tensor(self, values_k: Floats) -> "torch.Tensor":
        import torch

        return torch.as_tensor(values_k, dtype=self._like.dtype, device=self._like.device)


@dataclass(frozen=True, kw_only=True)
class RowWeights:
    """Plan of rows before division: weights [n, K], overwritten by the next chunk; their sums, log2 sums."""

    weights_nk: "torch.Tensor"
    sum_n: "torch.Tensor"
    power_n: "torch.Tensor"


@dataclass(frozen=True, kw_only=True)
class RowChunk:
    """A chunk of a pass: how to compute its similarities [n, K], its masses [n] and squared norms [n]."""

    similarities: "Callable[[], torch.Tensor]"
    mass_n: "torch.Tensor"
    squared_norm_n: "torch.Tensor"


@dataclass(frozen=True, kw_only=True)
class PassResult:
    """Column sums r [K] of the plan, their logarithms [K], L1 distance of r to b, and the dual value D(g).

    gradient_n: scores of the rows [n], float32, where they were asked for.
    """

    column_sum_k: Floats
    log_column_sum_k: Floats
    marginal_error: float
    dual_value: float
    gradient_n: Float32s | None = None


@dataclass(frozen=True, kw_only=True)
class Totals:
    """What rows add: column sums [K], the primal part of the dual value, scores [n] if asked for."""

    column_sum_k: Floats
    primal: float
    gradient_n: Float32s | None = None


Evaluate = Callable[[Floats], PassResult]


class PassRows(Protocol):
    """The reference side of a pass: `count` rows."""

    count: int

    def chunks(self, kernel: Kernel, *, reduced: bool = False) -> Iterator[RowChunk]:
        """All rows, a chunk at a time; with `reduced`, with bfloat16 products."""

    def totals(self, kernel: Kernel, advance: Advance, *, reduced: bool, keep_gradient: bool) -> Totals:
        """What all rows add to a pass at the potential of the kernel."""


def evaluate(
    rows: PassRows,
    kernel: Kernel,
    advance: Advance = ignore,
    *,
    wanted_k: Floats | None = None,
    reduced: bool = False,
    keep_gradient: bool = False,
) -> PassResult:
    """One pass at a kernel's potential: Kang et al.'s semi-dual, streamed. Its column error is all the error.

    wanted_k: column sums to compare with, by default the masses b. reduced: bfloat16 products. Raises
    FloatingPointError when the pass overflows.
    """
    totals = rows.totals(kernel, advance, reduced=reduced, keep_gradient=keep_gradient)
    with exact_products():
        log_sum_k = _log_sums(rows, kernel, column_sum_k := totals.column_sum_k)
    if not math.isfinite(totals.primal):
        raise FloatingPointError(
            "a transport pass overflowed because the coordinates or 1 / epsilon are too large; scale the "
            "vectors down or raise epsilon"
        )
    wanted = kernel.target.mass_k if wanted_k is None else wanted_k
    return PassResult(
        column_sum_k=column_sum_k,
        log_column_sum_k=log_sum_k,
        marginal_error=float(np.abs(column_sum_k - wanted).sum()),
        dual_value=totals.primal + float(wanted @ kernel.g_k),
        gradient_n=totals.gradient_n,
    )


def totals_of(
    chunks: Iterator[RowChunk], kernel: Kernel, advance: Advance, *, keep_gradient: bool = False
) -> Totals:
    """What the rows of some chunks add to a pass, added in the order of the chunks."""
    import torch

    sum_k = torch.zeros(len(kernel.bias_k), dtype=torch.float64, device=kernel.bias_k.device)
    primal, kept = sum_k.new_zeros(()), []
    with exact_products():
        for chunk in chunks:
            weighed = kernel.weigh(chunk.similarities)
            sum_k += ((chunk.mass_n / weighed.sum_n) @ weighed.weights_nk).double()
            gradient_n = kernel.gradient(weighed, chunk.squared_norm_n)
            primal += (chunk.mass_n * gradient_n).sum()
            kept += [gradient_n.float().cpu()] if keep_gradient else []
            advance(len(gradient_n))
    return Totals(
        column_sum_k=sum_k.cpu().numpy(),
        primal=float(primal),
        gradient_n=torch.cat(kept).numpy() if keep_gradient else None,
    )


def _log_sums(rows: PassRows, kernel: Kernel, column_sum_k: Floats) -> Floats:
    """Logarithms of column sums; of columns too light for float32, that of the largest entry instead."""
    light_k = column_sum_k < LIGHT_COLUMN
    if not light_k.any():
        return np.log(column_sum_k)
    largest_k = np.full(len(column_sum_k), -np.inf)
    for chunk in rows.chunks(kernel):
        power_n = kernel.weigh(chunk.similarities).power_n.to(chunk.mass_n.dtype)
        log_plan_nk = chunk.similarities().add_((chunk.mass_n.log2() - power_n)[:, None])
        largest_k = np.maximum(largest_k, LN_2 * log_plan_nk.amax(0).double().cpu().numpy())
    return np.where(light_k, largest_k, np.log(np.maximum(column_sum_k, LIGHT_COLUMN)))
