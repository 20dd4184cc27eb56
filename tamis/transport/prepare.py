"""What a solve needs before its first pass: target points, mean cost, epsilon, a sample of the reference.

The reference is read once for its mean and once as points, so that both are exact; together the readings cost
a fifth of a pass at M = 1,000. Only a sample is kept: 100,000 of 1,000,000 rows at M = 1,000, which saves one
of three passes over all of them against a sample of 20,000.
"""

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tamis.base.progress import Advance
from tamis.transport.blocks import BadShapeError, Matrix, check_positive, check_seed, check_whole
from tamis.transport.cost import Floats, as_weights, squared_norms, target_points
from tamis.transport.rows import StreamedRows
from tamis.transport.shared_rows import keeps_plan
from tamis.transport.sinkhorn import chunk_rows

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
        check_seed(self.seed)


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

    def with_rows(self, picked: npt.NDArray[np.int64]) -> "Problem":
        """The problem with these rows of its sample only, whose masses keep their proportions."""
        return replace(self, sample_nd=self.sample_nd[picked], sample_mass_n=self.sample_mass_n[picked])

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
            expected = f"width {reference.source.width}, the width of the reference"
            raise BadShapeError("target", f"width {points_md.shape[1]}", expected)
        mass_m = as_weights(options.target_weights, len(points_md), "target_weights")
        problem = _read(points_md, mass_m, reference, options)
        relative = problem.epsilon / problem.mean_cost
        if options.tolerance >= FLOAT32_FLOOR * max(1 / relative, problem.largest_similarity):
            break
    _warn(relative, len(mass_m))
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
    target_radius = float((points_md - middle_d).norm(dim=1).max())
    return Problem(
        points_md=points_md,
        mass_m=mass_m,
        sample_nd=sample_nd,
        sample_mass_n=mass_n[chosen_n] / mass_n[chosen_n].sum(),
        mean_cost=mean_cost,
        optimal_range=(radius + target_radius) ** 2,
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
        expected = "points that differ from the reference"
        raise BadShapeError("target", "the same single point as the reference", expected)
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


def _warn(relative_epsilon: float, target_count: int) -> None:
    if relative_epsilon > LARGE_EPSILON * (1 + 1e-6):
        text = (
            f"epsilon is {relative_epsilon:.3g} times the mean cost; values above {LARGE_EPSILON} blur the "
            "scores, so choose a smaller epsilon or relative_epsilon"
        )
        warnings.warn(text, LargeEpsilon, stacklevel=5)
    if target_count < FEW_TARGET_POINTS:
        text = (
            f"the target contains only {target_count} points; with fewer than {FEW_TARGET_POINTS}, the "
            "selection depends too much on the particular points, so treat it as provisional"
        )
        warnings.warn(text, FewTargetPoints, stacklevel=5)


def explicit_center(center: Any) -> bool:
    """Whether `center` is a vector rather than a yes or no."""
    return not (center is None or isinstance(center, bool | np.bool_))
