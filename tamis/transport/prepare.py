"""What a solve needs before its first pass, and the order of its passes: ladder, sample, then all rows."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tamis.base.progress import Advance
from tamis.transport.cost import (
    BadShapeError,
    Floats,
    Matrix,
    TargetSide,
    as_weights,
    check_positive,
    check_whole,
    squared_norms,
    target_points,
)
from tamis.transport.iteration import Solution, iterate, plain_step
from tamis.transport.rows import KeptPlan, StoredRows, StreamedRows, keeps_plan
from tamis.transport.sinkhorn import Kernel, PassResult, PassRows, chunk_rows, evaluate

if TYPE_CHECKING:
    import torch

    from tamis.transport.potential import TargetPotential

SAMPLE_ROWS = 20_000
SAMPLE_PER_TARGET = 10
SAMPLE_PRODUCTS = 2**27
KEPT_SAMPLE_ROWS, KEPT_SAMPLE_PER_TARGET = 5_000, 2
READING_WIDTH = 1_000
LARGE_EPSILON = 0.1
FEW_TARGET_POINTS = 500
"""Points under which a call warns, as the template of tamis.toml does; runs warn under fewer
(`FEW` of tamis.corpus.targets).
"""
# Similarities are about mean cost / epsilon, or larger where points are farther from the origin than from
# each other; their last float32 bits show up in the column sums.
FLOAT32_FLOOR = 2.0**-22
SAMPLE_TOLERANCE = 2e-2
LADDER_BELOW, LADDER_TOP, LADDER_FACTOR = 0.01, 0.1, 3.0
LADDER_TOLERANCE, LADDER_PASSES = 0.03, 10
# Sums and derivatives of a sample are off alike, so a correction multiplies the error by about the first
# error: measured .9 to 1.1 times it, for samples of 5,000 to 100,000 rows. Where it gains less than a third,
# mixing takes over.
EXPECTED_FACTOR, LEAST_GAIN = 1.2, 0.7
INNER_SHARE, INNER_PASSES = 0.05, 30
# A column is never asked to carry more than e^3 times its share: far from the solution that is noise.
LARGEST_CHANGE = 3.0
# The first guess of how fast the sample problem contracts; only the certificate needs a measured one.
PLAIN_CONTRACTION = 0.5


class LargeEpsilon(UserWarning):
    """epsilon is above .1 of the mean cost, where scores re-select what the pool already has too much of."""


class FewTargetPoints(UserWarning):
    """Under 500 target points the choice depends on which ones were drawn (overlap .63-.76 at 100)."""


@dataclass(frozen=True, kw_only=True)
class SolveOptions:
    """What `solve_potential` takes besides target and reference, by the same names; seed draws the sample."""

    target_weights: Any
    reference_weights: Any
    relative_epsilon: float
    tolerance: float
    max_passes: int
    epsilon: float | None
    warm_start: "TargetPotential | None"
    center: Any
    normalize: bool
    device: str
    seed: int
    memory: int
    advance: Advance

    def __post_init__(self) -> None:
        for name in ("epsilon", "relative_epsilon", "tolerance"):
            value = getattr(self, name)
            if value is not None or name != "epsilon":
                check_positive(name, value)
        check_whole("max_passes", self.max_passes)
        if self.memory != 0:
            check_whole("memory", self.memory)
        check_whole("seed", self.seed, 0)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Target points [M, d], a sample of the reference as points [n, d], and what reading it all gave.

    mean_cost: exact, weighted. optimal_range: bound on osc g* (at most the range of the cost). rounding:
    what bfloat16 coordinates do to a similarity, in natural logarithms.
    """

    points_md: "torch.Tensor"
    mass_m: Floats
    sample_nd: "torch.Tensor"
    sample_mass_n: Floats
    mean_cost: float
    optimal_range: float
    epsilon: float

    @property
    def largest_similarity(self) -> float:
        """2 |x| |y| / epsilon of the longest points."""
        largest = float(self.points_md.norm(dim=1).max()) * float(self.sample_nd.norm(dim=1).max())
        return 2 * largest / self.epsilon

    @property
    def rounding(self) -> float:
        """The largest similarity times 2^-9 / sqrt(d): coordinates round independently of each other."""
        return self.largest_similarity * 2.0**-9 / self.points_md.shape[1] ** 0.5


def prepare(target: Matrix, reference: StreamedRows, options: SolveOptions, device: str) -> Problem:
    """Read the reference as points: float32, or float64 when the tolerance is below what float32 can measure.

    Raises ValueError on rows or shapes that do not fit; warns with `LargeEpsilon` and `FewTargetPoints`.
    """
    import torch

    for dtype in (torch.float32, torch.float64):
        points_md = target_points(target, reference.geometry, torch.empty(0, dtype=dtype, device=device))
        if points_md.shape[1] != reference.source.width:
            raise BadShapeError(
                "target",
                f"width {points_md.shape[1]}",
                f"width {reference.source.width}, the width of the reference",
            )
        mass_m = as_weights(options.target_weights, len(points_md), "target_weights")
        problem = _read(points_md, mass_m, reference, options)
        relative = problem.epsilon / problem.mean_cost
        if options.tolerance >= FLOAT32_FLOOR * max(1 / relative, problem.largest_similarity):
            break
    if relative > LARGE_EPSILON * (1 + 1e-6):
        warnings.warn(
            f"epsilon is {relative:.3g} times the mean cost; values above {LARGE_EPSILON} blur the scores, "
            "so choose a smaller epsilon or relative_epsilon",
            LargeEpsilon,
            stacklevel=4,
        )
    if len(mass_m) < FEW_TARGET_POINTS:
        warnings.warn(
            f"the target contains only {len(mass_m)} points; with fewer than {FEW_TARGET_POINTS}, the "
            "selection depends too much on the particular points, so treat it as provisional",
            FewTargetPoints,
            stacklevel=4,
        )
    return problem


def _read(
    points_md: "torch.Tensor",
    mass_m: Floats,
    reference: StreamedRows,
    options: SolveOptions,
) -> Problem:
    import torch

    source, mass_n = reference.source, reference.mass_n
    kept = keeps_plan(reference, points_md, options.memory)
    chosen_n = spread_sample(mass_n, _sample_rows(len(mass_n), len(mass_m), kept=kept), options.seed)
    middle_d = points_md.mean(0)
    total_d = torch.zeros(points_md.shape[1], dtype=torch.float64)
    square, radius = 0.0, 0.0
    sample_nd = points_md.new_empty(len(chosen_n), points_md.shape[1])
    for start, raw_nd in source.chunks(chunk_rows(READING_WIDTH, points_md.device.type)):
        points_nd = reference.geometry.points(raw_nd, first_row=start, name=source.name, like=points_md)
        end = start + len(points_nd)
        chunk_mass_n = torch.from_numpy(mass_n[start:end])
        total_d += (chunk_mass_n.to(points_nd) @ points_nd).double().cpu()
        squared_norm_n = squared_norms(points_nd)
        square += float(chunk_mass_n @ squared_norm_n.double().cpu())
        squared_radius_n = squared_norm_n - 2 * (points_nd @ middle_d) + middle_d @ middle_d
        radius = max(radius, float(squared_radius_n.max().clamp_min(0).sqrt()))
        low, high = np.searchsorted(chosen_n, [start, end])
        sample_nd[low:high] = points_nd[torch.from_numpy(chosen_n[low:high] - start).to(points_nd.device)]
        options.advance(len(points_nd))
    mean_cost = _mean_cost(points_md, mass_m, total_d, square)
    return Problem(
        points_md=points_md,
        mass_m=mass_m,
        sample_nd=sample_nd,
        sample_mass_n=mass_n[chosen_n] / mass_n[chosen_n].sum(),
        mean_cost=mean_cost,
        optimal_range=(radius + float((points_md - middle_d).norm(dim=1).max())) ** 2,
        epsilon=options.epsilon or options.relative_epsilon * mean_cost,
    )


def _sample_rows(count: int, targets: int, *, kept: bool) -> int:
    """At least 20,000 and 10 M; a tenth of the rows where their products still fit 16 bits of 256 MiB.

    A plan that is kept makes passes over all rows cheap, so that its sample only leads near the solution.
    """
    if kept and count > max(SAMPLE_ROWS, SAMPLE_PER_TARGET * targets):
        return max(KEPT_SAMPLE_ROWS, KEPT_SAMPLE_PER_TARGET * targets)
    return max(SAMPLE_ROWS, SAMPLE_PER_TARGET * targets, min(count // 10, SAMPLE_PRODUCTS // targets))


def _mean_cost(points_md: "torch.Tensor", mass_m: Floats, mean_d: "torch.Tensor", square: float) -> float:
    """Sum of a_i b_j |x_i - y_j|^2 from the mean [d] and the mean square norm of the reference points."""
    import torch

    target_md, target_mass_m = points_md.double().cpu(), torch.from_numpy(mass_m)
    target_square = float(target_mass_m @ target_md.square().sum(1))
    mean_cost = square + target_square - 2 * float(mean_d @ (target_mass_m @ target_md))
    if mean_cost <= 1e-12 * (square + target_square):
        raise BadShapeError(
            "target", "the same single point as the reference", "points that differ from the reference"
        )
    return mean_cost


def spread_sample(mass_n: Floats, size: int, seed: int) -> npt.NDArray[np.int64]:
    """Sorted rows with mass: one drawn from each of `size` equal stretches, so every shard has its share."""
    (present_n,) = np.nonzero(mass_n)
    if len(mass_n) <= size:
        return np.arange(len(mass_n))
    if len(present_n) <= size:
        return present_n
    within = np.random.default_rng(seed).random(size)
    position_n = ((np.arange(size) + within) * (len(present_n) / size)).astype(np.int64)
    return present_n[np.minimum(position_n, len(present_n) - 1)]


def explicit_center(center: Any) -> bool:
    """Whether `center` is a vector rather than a yes or no."""
    return not (center is None or isinstance(center, bool | np.bool_))


@dataclass(frozen=True, kw_only=True)
class Stages:
    """A problem ready to run. `full` is None when the stored rows are all there is."""

    side: TargetSide
    stored: StoredRows
    full: PassRows | None
    problem: Problem
    options: SolveOptions
    reduced: bool
    keep_gradient: bool

    def run(self, start_k: Floats | None, contraction: float | None) -> tuple[Solution, float]:
        """Solve from g = 0 or a given g [K]; also how many readings of the reference the work comes to."""
        limit = self.options.max_passes
        if self.full is None:
            g_k, used = self._ladder(limit // 2) if start_k is None else (start_k, 0)
            solution = self._iterate(self.stored, g_k, self.options.tolerance, limit - used, contraction)
            return solution, float(used + solution.passes)
        g_k, contraction, share = self._on_sample() if start_k is None else (start_k, contraction, 0.0)
        if isinstance(self.full, KeptPlan):
            solution = self._iterate(self.full, g_k, self.options.tolerance, int(limit - share), contraction)
            return solution, share + solution.passes
        return self._on_all(g_k, contraction, share, warm=start_k is not None)

    def _on_sample(self) -> tuple[Floats, float | None, float]:
        """Potential [K] and contraction from the sample, and the share of a full reading that it took."""
        limit = int((self.options.max_passes - 1) / (2 * self._share))
        if limit == 0:
            return np.zeros(len(self.side.mass_k)), None, 0.0
        g_k, used = self._ladder(limit // 2)
        loose = max(self.options.tolerance, SAMPLE_TOLERANCE)
        solution = self._iterate(self.stored, g_k, loose, limit - used, None)
        g_k = solution.g_k + solution.step_k
        return g_k, solution.contraction, (used + solution.passes) * self._share

    def _on_all(
        self, g_k: Floats, contraction: float | None, used: float, *, warm: bool
    ) -> tuple[Solution, float]:
        """Passes over all rows, each followed by a correction on the sample, while that helps."""
        assert self.full is not None
        limit, tolerance = self.options.max_passes, self.options.tolerance
        best: Solution | None = None
        error, gain, best_k = np.inf, 1.0, g_k
        while True:
            expected = 0.0 if warm and error == np.inf else EXPECTED_FACTOR * gain * error
            reduced = self.reduced and expected > tolerance and limit - used >= 2
            g_k = g_k - self.side.mass_k @ g_k
            result = evaluate(
                self.full,
                Kernel(self.side, g_k, self.problem.epsilon),
                self.options.advance,
                reduced=reduced,
                keep_gradient=self.keep_gradient and not reduced,
            )
            used += 1
            if not reduced and (best is None or result.marginal_error <= best.result.marginal_error):
                step_k = plain_step(result, self.side.mass_k, self.problem.epsilon)
                best = Solution(g_k=g_k, result=result, step_k=step_k, passes=1, contraction=contraction)
            if best is not None and (best.result.marginal_error <= tolerance or limit - used < 1):
                return best, used
            inner = min(INNER_PASSES, int((limit - used - 1) / self._share))
            if result.marginal_error > LEAST_GAIN * error or inner < 2:
                best_k = g_k if result.marginal_error < error else best_k
                break
            gain = gain if error < np.inf else min(1.0, result.marginal_error)
            error, best_k = result.marginal_error, g_k
            g_k, passes = self._correct(g_k, result, tolerance, inner)
            used += passes * self._share
        return self._mix(best, best_k, contraction, used)

    def _correct(
        self, g_k: Floats, whole: PassResult, tolerance: float, max_passes: int
    ) -> tuple[Floats, int]:
        """The next potential [K] after a pass over all rows at g [K], and the passes over the sample."""
        here = evaluate(self.stored, Kernel(self.side, g_k, self.problem.epsilon), self.options.advance)
        change_k = np.log(self.side.mass_k) - whole.log_column_sum_k
        log_wanted_k = here.log_column_sum_k + np.clip(change_k, -LARGEST_CHANGE, LARGEST_CHANGE)
        wanted_k = np.exp(log_wanted_k - log_wanted_k.max())
        wanted_k = np.maximum(wanted_k / wanted_k.sum(), np.finfo(np.float64).tiny)
        first = replace(
            here,
            marginal_error=float(np.abs(here.column_sum_k - wanted_k).sum()),
            dual_value=here.dual_value + float((wanted_k - self.side.mass_k) @ g_k),
        )
        solution = iterate(
            lambda next_k: evaluate(
                self.stored,
                Kernel(self.side, next_k, self.problem.epsilon),
                self.options.advance,
                wanted_k=wanted_k,
            ),
            g_k,
            wanted_k,
            epsilon=self.problem.epsilon,
            tolerance=max(INNER_SHARE * whole.marginal_error, 0.1 * tolerance),
            max_passes=max_passes,
            contraction=PLAIN_CONTRACTION,
            first=first,
        )
        return solution.g_k + solution.step_k, solution.passes

    def _mix(
        self, best: Solution | None, g_k: Floats, contraction: float | None, used: float
    ) -> tuple[Solution, float]:
        """Float32 passes over all rows with Anderson mixing, from the best potential so far."""
        assert self.full is not None
        first = None if best is None else best.result
        left = int(self.options.max_passes - used) + (first is not None)
        start_k = g_k if best is None else best.g_k
        solution = self._iterate(self.full, start_k, self.options.tolerance, left, contraction, first)
        return solution, used + solution.passes - (first is not None)

    @property
    def _share(self) -> float:
        """What a pass over the sample is of one over all rows."""
        assert self.full is not None
        return self.stored.count / self.full.count

    def _ladder(self, limit: int) -> tuple[Floats, int]:
        """From g = 0, a few passes at each of some larger epsilons; returns g [K] and the passes made."""
        g_k, used = np.zeros(len(self.side.mass_k)), 0
        relative = self.problem.epsilon / self.problem.mean_cost
        rungs = int(np.log(LADDER_TOP / relative) / np.log(LADDER_FACTOR))
        for rung in range(rungs if relative < LADDER_BELOW else 0, 0, -1):
            epsilon = self.problem.epsilon * LADDER_FACTOR**rung
            passes = min(LADDER_PASSES, limit - used)
            if passes < 1:
                break
            solution = iterate(
                self._passes(self.stored, epsilon),
                g_k,
                self.side.mass_k,
                epsilon=epsilon,
                tolerance=LADDER_TOLERANCE,
                max_passes=passes,
            )
            g_k, used = solution.g_k + solution.step_k, used + solution.passes
        return g_k, used

    def _iterate(
        self,
        rows: PassRows,
        g_k: Floats,
        tolerance: float,
        limit: int,
        contraction: float | None,
        first: PassResult | None = None,
    ) -> Solution:
        return iterate(
            self._passes(rows, self.problem.epsilon),
            g_k,
            self.side.mass_k,
            epsilon=self.problem.epsilon,
            tolerance=tolerance,
            max_passes=max(1, limit),
            contraction=contraction,
            first=first,
        )

    def _passes(self, rows: PassRows, epsilon: float) -> Callable[[Floats], PassResult]:
        keep = self.keep_gradient and rows is self.full
        return lambda g_k: evaluate(
            rows, Kernel(self.side, g_k, epsilon), self.options.advance, keep_gradient=keep
        )
