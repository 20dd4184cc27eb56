"""`solve_potential`: from a target and a reference pool to the M numbers that score any document.

It streams the pool and never stores its costs. 20,000 x 1,000 x 384 real vectors to a marginal error of 1e-3
take 0.45 s of one core; benchmarks/transport.py compares with POT.
"""

import warnings
from typing import Any

import numpy as np

from tamis.progress import Advance, ignore
from tamis.transport.anderson import Solution
from tamis.transport.blocks import BadShapeError, Matrix, Rows, RowSource
from tamis.transport.certificate import gap_bound, score_error_bound
from tamis.transport.cost import Floats, Geometry, center_vector, survey
from tamis.transport.potential import TargetPotential, resolve_device
from tamis.transport.prepare import READING_WIDTH, Accuracy, Problem, explicit_center, prepare
from tamis.transport.sinkhorn import StoredRows, StreamedRows, TargetSide, chunk_rows
from tamis.transport.stages import Stages


class NotConverged(UserWarning):
    """The marginal error was still above the tolerance after max_passes."""


def solve_potential(
    target: Matrix,
    reference: Rows,
    *,
    target_weights: Any = None,
    reference_weights: Any = None,
    relative_epsilon: float = 0.03,
    tolerance: float = 1e-3,
    max_passes: int = 500,
    epsilon: float | None = None,
    warm_start: TargetPotential | None = None,
    center: Any = True,
    normalize: bool = True,
    device: str = "auto",
    seed: int = 0,
    advance: Advance = ignore,
) -> TargetPotential:
    """Potential of the entropic transport problem from a reference pool to a target (Kang et al. 2405.02774).

    target [M, d]; reference [N, d], or an iterable of [n_i, d] blocks that can be iterated again. Masses
    sum to 1 (default uniform). Cost: squared Euclidean after centring by the weighted reference mean (or
    the vector `center`) and normalising. epsilon is absolute, in units of the cost; without it
    relative_epsilon * weighted mean cost. A warm_start supplies g, centre and epsilon unless they are
    given. tolerance bounds the L1 distance of column sums to the target masses; where float32 cannot
    measure it (1e-5 at the default epsilon) products are float64. `advance` gets rows read, reading after
    reading. Raises ValueError on NaN, infinite or zero rows, on shapes and masses that do not fit and on
    one-shot generators; warns with `NotConverged`, `LargeEpsilon`, `FewTargetPoints`.
    """
    accuracy = Accuracy(
        epsilon=warm_start.epsilon if epsilon is None and warm_start is not None else epsilon,
        relative_epsilon=relative_epsilon,
        tolerance=tolerance,
        max_passes=max_passes,
        seed=seed,
    )
    place = resolve_device(device)
    source = RowSource(reference, "reference")
    mean_d, mass_n = survey(source, reference_weights, chunk_rows(READING_WIDTH, place), advance)
    geometry = Geometry(center_d=_center(center, mean_d, warm_start), normalize=normalize)
    problem = prepare(target, target_weights, source, mass_n, geometry, accuracy, place, advance)
    side = TargetSide(problem.points_md, problem.mass_m)
    partial = len(mass_n) > len(problem.sample_nd)
    stages = Stages(
        side=side,
        stored=StoredRows(problem.sample_nd, problem.sample_mass_n, side),
        full=StreamedRows(source, geometry, mass_n) if partial else None,
        problem=problem,
        accuracy=accuracy,
        advance=advance,
    )
    solution, passes = stages.run(*_start(warm_start, side, normalize))
    error = solution.result.marginal_error
    if error > tolerance:
        text = f"marginal error {error:.3g} after {passes:.1f} passes, above the tolerance {tolerance:.3g}"
        warnings.warn(text, NotConverged, stacklevel=2)
    return _potential(solution, passes, side, problem, geometry, tolerance)


def _center(center: Any, mean_d: Floats, warm_start: TargetPotential | None) -> Floats | None:
    if explicit_center(center):
        return center_vector(center)
    if not center:
        return None
    return mean_d if warm_start is None else warm_start.center


def _start(
    warm_start: TargetPotential | None, side: TargetSide, normalize: bool
) -> tuple[Floats | None, float | None]:
    """Potential [K] and contraction to start from."""
    if warm_start is None:
        return None, None
    if len(warm_start.potential) != side.count:
        expected = f"{side.count}, as in target"
        raise BadShapeError("warm_start", f"{len(warm_start.potential)} target points", expected)
    if warm_start.normalize != normalize:
        raise BadShapeError("warm_start", f"normalize={warm_start.normalize}", f"normalize={normalize}")
    return warm_start.potential[side.kept_m], warm_start.contraction


def _potential(
    solution: Solution,
    passes: float,
    side: TargetSide,
    problem: Problem,
    geometry: Geometry,
    tolerance: float,
) -> TargetPotential:
    result = solution.result
    g_k = solution.g_k - side.mass_k @ solution.g_k
    g_range, step_range = float(np.ptp(g_k)), float(np.ptp(solution.step_k))
    a_priori = g_range + problem.optimal_range
    return TargetPotential(
        points=problem.points_md.float().cpu().numpy(),
        potential=side.expand(g_k),
        target_weights=problem.mass_m,
        center=geometry.center_d,
        normalize=geometry.normalize,
        epsilon=problem.epsilon,
        mean_cost=problem.mean_cost,
        marginal_error=result.marginal_error,
        dual_value=result.dual_value,
        gap_bound=gap_bound(result.marginal_error, g_range, problem.optimal_range),
        error_bound=score_error_bound(result.marginal_error, step_range, solution.contraction, a_priori),
        passes=passes,
        converged=result.marginal_error <= tolerance,
        optimal_range=problem.optimal_range,
        contraction=solution.contraction,
    )
