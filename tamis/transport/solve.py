"""`solve_potential`: from a target and a reference pool to the M numbers that score any document.

It keeps the plan of a pool where that fits `memory`, and streams larger pools without storing their costs;
benchmarks/transport.py compares both with POT.
"""

import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from tamis.base.precision import BFLOAT16, precision_in_force
from tamis.base.progress import Advance, ignore
from tamis.transport.certificate import gap_bound, score_error_estimate
from tamis.transport.cost import (
    BadShapeError,
    Floats,
    Geometry,
    Matrix,
    Rows,
    RowSource,
    TargetSide,
    center_vector,
    survey,
)
from tamis.transport.iteration import Solution, slowest_contraction, spectral_rows
from tamis.transport.potential import Float32s, TargetPotential, resolve_device
from tamis.transport.prepare import READING_WIDTH, Problem, SolveOptions, Stages, explicit_center, prepare
from tamis.transport.rows import PLAN_BYTES, StoredRows, StreamedRows, on_device, rows_of_pass
from tamis.transport.sinkhorn import chunk_rows, exact_products

# Above this noise in a similarity, bfloat16 passes would say too little.
LARGEST_ROUNDING = 0.02
# In units of epsilon: steps that float32 cannot tell from none.
HIDDEN_STEP = 2.0**-20


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
    memory: int = PLAN_BYTES,
    advance: Advance = ignore,
) -> TargetPotential:
    """Potential of the entropic transport problem from a reference pool to a target (Kang et al. 2405.02774).

    target [M, d]; reference [N, d], or an iterable of [n_i, d] blocks that can be iterated again. Masses
    sum to 1 (default uniform). Cost: squared Euclidean after centring by the weighted reference mean (or
    the vector `center`) and normalising. epsilon is absolute, in units of the cost; without it
    relative_epsilon * weighted mean cost. A warm_start supplies g, centre and epsilon unless they are
    given. tolerance bounds the L1 distance of column sums to the target masses; where float32 cannot
    measure it (1e-5 at the default epsilon) products are float64, those of scores with the potential too; its
    column sums are returned as float32 and show errors down to 3e-8. memory: bytes for a plan of all rows,
    which makes passes cheap; 0 reads the rows in every pass. `advance` gets rows read, reading after
    reading. Raises ValueError on NaN, infinite or zero rows, on shapes and masses that do not fit and on
    one-shot generators; warns with `NotConverged`, `LargeEpsilon`, `FewTargetPoints`.
    """
    options = SolveOptions(
        target_weights=target_weights,
        reference_weights=reference_weights,
        relative_epsilon=relative_epsilon,
        tolerance=tolerance,
        max_passes=max_passes,
        epsilon=epsilon,
        warm_start=warm_start,
        center=center,
        normalize=normalize,
        device=device,
        seed=seed,
        memory=memory,
        advance=advance,
    )
    return _solve(target, reference, options, keep_gradient=False)[0]


def solve_and_score(target: Matrix, reference: Rows, **options: Any) -> tuple[TargetPotential, Float32s]:
    """The potential and the scores [N] of the reference itself, at the price of the potential.

    The last pass of a solve computes them anyway; they equal `potential.gradient(reference)`, bit for bit
    where rows are read in every pass (memory=0), else up to rounding.
    Takes and raises what `solve_potential` does.
    """
    whole = SolveOptions(**{**(solve_potential.__kwdefaults__ or {}), **options})
    potential, gradient_n = _solve(target, reference, whole, keep_gradient=True)
    assert gradient_n is not None
    return potential, gradient_n


def solve_uncertified(target: Matrix, reference: Rows, **options: Any) -> TargetPotential:
    """The potential of `solve_potential`, to the bit, without a measured contraction.

    Measuring it takes a third of a solve on a sample; without it the error estimate is the bound that always
    holds.
    """
    whole = SolveOptions(**{**(solve_potential.__kwdefaults__ or {}), **options})
    return _solve(target, reference, whole, keep_gradient=False, certified=False)[0]


def _solve(
    target: Matrix,
    reference: Rows,
    options: SolveOptions,
    *,
    keep_gradient: bool,
    certified: bool = True,
) -> tuple[TargetPotential, Float32s | None]:
    if not isinstance(options.warm_start, TargetPotential | None):
        raise BadShapeError(
            "warm_start",
            f"a {type(options.warm_start).__name__}",
            "a TargetPotential, such as TargetPotential.load(path)",
        )
    if options.epsilon is None and options.warm_start is not None:
        options = replace(options, epsilon=options.warm_start.epsilon)
    place = resolve_device(options.device)
    source = RowSource(on_device(reference, place), "reference")
    with exact_products():
        mean_d, mass_n = survey(
            source, options.reference_weights, chunk_rows(READING_WIDTH, place), options.advance
        )
        geometry = Geometry(center_d=_center(options, mean_d), normalize=options.normalize)
        rows = StreamedRows(source, geometry, mass_n)
        problem = prepare(target, rows, options, place)
    stages = _stages(problem, rows, options, keep_gradient)
    problem = stages.problem
    solution, passes = stages.run(*_start(options, stages.side))
    _warn_unless_converged(solution, passes, options, problem)
    if certified:
        measured = slowest_contraction(
            problem.sample_nd, problem.sample_mass_n, stages.side, solution.g_k, problem.epsilon
        )
        # The contraction that the certificate may rely on.
        solution = replace(solution, contraction=max(measured, solution.contraction or 0.0))
    potential = _potential(solution, passes, stages.side, problem, geometry, options.tolerance)
    gradient_n = solution.result.gradient_n
    if keep_gradient and (gradient_n is None or problem.points_md.element_size() > 4):
        gradient_n = potential.gradient(reference, device=options.device, advance=options.advance)
    return potential, gradient_n


def _stages(problem: Problem, rows: StreamedRows, options: SolveOptions, keep_gradient: bool) -> Stages:
    """The problem with its rows ready; bfloat16, if in force, serves the first passes and a sample."""
    side = TargetSide(problem.points_md, problem.mass_m)
    partial = rows.count > len(problem.sample_nd)
    place = str(problem.points_md.device)
    compact = partial and problem.points_md.element_size() == 4 and problem.rounding <= LARGEST_ROUNDING
    reduced = compact and precision_in_force(place) == BFLOAT16
    stored = StoredRows(problem.sample_nd, problem.sample_mass_n, side, compact=compact, reduced=reduced)
    # Of the sample the spectrum needs these rows only; their masses keep their proportions.
    picked = spectral_rows(stored.count, len(side.mass_k))
    return Stages(
        side=side,
        stored=stored,
        full=rows_of_pass(rows, side, options.memory) if partial else None,
        problem=replace(
            problem, sample_nd=problem.sample_nd[picked], sample_mass_n=problem.sample_mass_n[picked]
        ),
        options=options,
        reduced=reduced,
        keep_gradient=keep_gradient,
    )


def _warn_unless_converged(
    solution: Solution, passes: float, options: SolveOptions, problem: Problem
) -> None:
    error = solution.result.marginal_error
    if error <= options.tolerance:
        return
    warnings.warn(
        f"the potential did not converge: after {passes:.1f} passes the marginal error is {error:.3g}, above "
        f"the tolerance {options.tolerance:.3g}; raise max_passes (now {options.max_passes}), continue with "
        "warm_start=, allow a larger tolerance, or raise epsilon (a smaller epsilon needs more passes; now "
        f"epsilon is {problem.epsilon / problem.mean_cost:.3g} times the mean cost)",
        NotConverged,
        stacklevel=4,
    )


def _center(options: SolveOptions, mean_d: Floats) -> Floats | None:
    if explicit_center(options.center):
        return center_vector(options.center)
    if not options.center:
        return None
    return mean_d if options.warm_start is None else options.warm_start.center


def _start(options: SolveOptions, side: TargetSide) -> tuple[Floats | None, float | None]:
    """Potential [K] and contraction to start from."""
    warm_start = options.warm_start
    if warm_start is None:
        return None, None
    if len(warm_start.potential) != side.count:
        raise BadShapeError(
            "warm_start", f"{len(warm_start.potential)} target points", f"{side.count}, as in target"
        )
    if warm_start.normalize != options.normalize:
        raise BadShapeError(
            "warm_start", f"normalize={warm_start.normalize}", f"normalize={options.normalize}"
        )
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
    g_k = solution.g_k
    g_range, step_range = float(np.ptp(g_k)), float(np.ptp(solution.step_k))
    if len(g_k) > 1:  # a step of 0 is one that rounding hides
        step_range = max(step_range, HIDDEN_STEP * problem.epsilon)
    return TargetPotential(
        points=problem.points_md.cpu().numpy(),
        potential=side.expand(g_k),
        target_weights=problem.mass_m,
        center=geometry.center_d,
        normalize=geometry.normalize,
        epsilon=problem.epsilon,
        mean_cost=problem.mean_cost,
        marginal_error=result.marginal_error,
        dual_value=result.dual_value,
        gap_bound=gap_bound(result.marginal_error, g_range, problem.optimal_range),
        error_estimate=score_error_estimate(
            result.marginal_error, step_range, solution.contraction, g_range + problem.optimal_range
        ),
        passes=passes,
        converged=result.marginal_error <= tolerance,
        optimal_range=problem.optimal_range,
        contraction=solution.contraction,
    )
