"""What an unconverged potential still shows: which documents are likely in or out of the true top k.

The bound on the gap is exact. The error of the scores is estimated, first order in the remaining step, times
a safety; the true error can be larger. benchmarks/transport_estimate.py counts how often, and by how much.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from tamis.base.arguments import is_whole
from tamis.transport.cost import BadShapeError, Floats, as_floats, as_weights
from tamis.transport.iteration import SLOWEST

if TYPE_CHECKING:
    from tamis.transport.potential import TargetPotential

Indices = npt.NDArray[np.int64]
FLOAT32_ROUNDING = 2.0**-21
SCORE_SAFETY = 5.0
# With more marginal error than this the first order says less, and the safety grows in proportion.
FIRST_ORDER_BELOW = 0.005
ACCEPT_BELOW = 0.05
REFINE_BELOW = 0.1


def gap_bound(marginal_error: float, potential_range: float, optimal_range: float) -> float:
    """Upper bound on OT - D(g): half the marginal error times (osc g* + osc g); exact, by concavity of D."""
    return 0.5 * marginal_error * (optimal_range + potential_range)


def score_error_estimate(
    marginal_error: float, step_range: float, contraction: float | None, a_priori: float
) -> float:
    """Estimate the largest |f_g - f*| up to a constant, which is at most osc(g - g*) / 2.

    osc(g - g*) ~ osc(step) / (1 - contraction), where step is that of the plain iteration at g. `a_priori` =
    osc g + osc g* always holds, and is the only bound when the contraction is unknown or too near 1 to be
    distinguished from it.
    """
    if step_range == 0:
        return 0.0
    if contraction is None or contraction >= SLOWEST:
        return 0.5 * a_priori
    safety = SCORE_SAFETY * max(1.0, marginal_error / FIRST_ORDER_BELOW)
    return 0.5 * min(a_priori, safety * step_range / (1 - contraction))


@dataclass(frozen=True, kw_only=True)
class EstimatedTopK:
    """Indices among the k smallest true scores by the estimated error, not among them, and undecided ones."""

    k: int
    threshold: float
    error_estimate: float
    likely_in: Indices
    likely_out: Indices
    undecided: Indices

    @property
    def counts(self) -> dict[str, int]:
        """How many documents are in, out and undecided."""
        return {
            "in": len(self.likely_in),
            "out": len(self.likely_out),
            "undecided": len(self.undecided),
        }


def estimated_top_k(potential: "TargetPotential", gradient: npt.ArrayLike, k: int) -> EstimatedTopK:
    """Split documents by how far they are from the cut after the k smallest scores.

    gradient [n] from `potential.gradient`. In: below the (k+1)-th score by more than twice
    `potential.error_estimate`; out: above the k-th by more than that. Right where the error is as estimated.
    Raises ValueError unless 1 <= k <= n.
    """
    score_n = as_floats(gradient, "gradient", "[n]")
    if score_n.ndim != 1 or not (is_whole(k, 1) and k <= len(score_n)):
        raise BadShapeError("gradient", f"shape {list(score_n.shape)} with k = {k}", "[n] with 1 <= k <= n")
    k = int(k)
    # A score is a difference of terms as large as the squared norms, which lose digits without centring.
    largest = max(float(np.abs(score_n).max()), float(np.square(potential.points).sum(1).max()))
    error = potential.error_estimate + FLOAT32_ROUNDING * largest
    order_n = np.argsort(score_n, kind="stable")
    last_in = float(score_n[order_n[k - 1]])
    first_out = float(score_n[order_n[k]]) if k < len(score_n) else np.inf
    in_n = score_n < first_out - 2 * error
    out_n = score_n > last_in + 2 * error
    return EstimatedTopK(
        k=k,
        threshold=last_in,
        error_estimate=error,
        likely_in=np.flatnonzero(in_n),
        likely_out=np.flatnonzero(out_n),
        undecided=np.flatnonzero(~in_n & ~out_n),
    )


def calibrate(gradient: npt.ArrayLike, weights: Any = None) -> npt.NDArray[np.float32]:
    """Scores [n] whose sign says whether more of a document lowers (negative) or raises the distance.

    (f - <a, f>) / (1 - sum a^2), which for uniform masses a is LAVA's N/(N-1) (f - mean f) (Just et al.
    2305.00054). The order never changes and the weighted mean is 0. Raises ValueError on weights that do
    not fit.
    """
    score_n = as_floats(gradient, "gradient", "[n]")
    if score_n.ndim != 1 or len(score_n) == 0:
        raise BadShapeError("gradient", f"shape {list(score_n.shape)}", "[n]")
    mass_n = as_weights(weights, len(score_n), "weights")
    spread = 1 - float(mass_n @ mass_n)
    if spread <= 0:
        return np.zeros(len(score_n), dtype=np.float32)
    return ((score_n - mass_n @ score_n) / spread).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class UnionCertificate:
    """What joining rows does to a potential solved without them: errors on the union, and what to do.

    marginal_error is measured, gap_bound exact, error_estimate (of the scores) an estimate.
    """

    marginal_error: float
    gap_bound: float
    error_estimate: float
    advice: Literal["accept", "refine", "solve"]


def union_certificate(
    potential: "TargetPotential", column_sums: "list[npt.ArrayLike]", rows: "list[int]"
) -> UnionCertificate:
    """Certificate of the potential for a pool made of parts with known column sums [M] and row counts.

    Sums come from `potential.column_sums(part)`, so no row is read again. Measured over 30 shards with 500
    target points and more: under .05 the top 10 % of a new solve overlaps by .98 or more (accept), under .1
    by .91 (refine: a few warm passes), above it down to .69 (solve: warm start). With 60 to 200 target points
    and 500 to 3,000 rows accepted cases went down to .88. Raises ValueError on sums that do not fit.
    """
    sums_pm = as_floats(column_sums, "column_sums", "[parts, M]")
    share_p = np.atleast_1d(as_floats(rows, "rows", "[parts]"))
    if not share_p.sum() > 0:
        raise BadShapeError("rows", f"{share_p.sum():g} rows in {share_p.size} parts", "at least one row")
    if sums_pm.shape != (len(share_p), len(potential.g)) or (share_p < 0).any():
        raise BadShapeError(
            "column_sums", f"shape {list(sums_pm.shape)}", f"[{len(share_p)}, {len(potential.g)}]"
        )
    union_m: Floats = share_p @ sums_pm / share_p.sum()
    error = float(np.abs(union_m - potential.target_weights).sum())
    kept_m = potential.target_weights > 0
    # A column that no part reaches is as light as a float can be, not a division by zero.
    reached_k = np.maximum(union_m[kept_m], np.finfo(np.float64).tiny)
    step_k = potential.epsilon * np.log(potential.target_weights[kept_m] / reached_k)
    a_priori = potential.potential_range + potential.optimal_range
    return UnionCertificate(
        marginal_error=error,
        gap_bound=gap_bound(error, potential.potential_range, potential.optimal_range),
        error_estimate=score_error_estimate(error, float(np.ptp(step_k)), potential.contraction, a_priori),
        advice="accept" if error < ACCEPT_BELOW else "refine" if error < REFINE_BELOW else "solve",
    )
