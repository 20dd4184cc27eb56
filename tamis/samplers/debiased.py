"""got-d-debiased: near the goal, and not merely where the pool is crowded.

The gradient of the transport distance looks at the goal alone. Texts that are broken alike lie close together
and near many goals; less the pool's own potential they rank by how much more of the goal than of the pool is
near them.
"""

from collections.abc import Sequence
from typing import Any

from tamis.base.progress import Advance, ignore
from tamis.samplers.choice import Choice, choose
from tamis.samplers.pool_potential import SAMPLE, PoolPotential, draw_sample, solve_pool_potential
from tamis.samplers.rounds import rows_at
from tamis.transport.cost import Matrix, Rows, RowSource
from tamis.transport.potential import Float32s, TargetPotential
from tamis.transport.solve import solve_and_score


def pool_potential(
    potential: TargetPotential,
    pool: Rows,
    *,
    ids: Sequence[str],
    sample: int = SAMPLE,
    itself: bool = False,
    seed: int = 0,
) -> PoolPotential:
    """The own potential of a pool [n, d], in the geometry of a potential solved on it, from a sample of it.

    A hash of (seed, id) draws the sample, so that the order of the rows changes nothing. Raises as
    `solve_pool_potential`.
    """
    drawn_s = draw_sample(ids, sample, seed)
    return solve_pool_potential(
        rows_at(RowSource(pool, "pool").rows, drawn_s),
        potential,
        ids=[ids[row] for row in drawn_s],
        pool_rows=len(ids),
        itself=itself,
    )


def debiased_scores(
    target: Matrix,
    candidates: Rows,
    *,
    ids: Sequence[str] | None = None,
    sample: int = SAMPLE,
    itself: bool = False,
    seed: int = 0,
    advance: Advance = ignore,
    **solver: Any,
) -> tuple[TargetPotential, PoolPotential, Float32s]:
    """Both potentials and the scores [n], f_ab - p_aa, of the candidates [n, d] as the pool, smallest first.

    sample: documents that p_aa is solved on, drawn by ids, or by positions without them. itself: whether a
    document counts as its own neighbour, as in the divergence of Feydy et al. `solver`: other
    arguments of `solve_potential`, which raises; f_ab is the score of got-d.
    """
    potential, toward_n = solve_and_score(target, candidates, seed=seed, advance=advance, **solver)
    named = [str(row) for row in range(len(toward_n))] if ids is None else list(ids)
    own = pool_potential(potential, candidates, ids=named, sample=sample, itself=itself, seed=seed)
    device = solver.get("device", "auto")
    return potential, own, toward_n - own.gradient(candidates, ids=named, device=device, advance=advance)


def debiased(
    target: Matrix,
    candidates: Rows,
    k: int,
    *,
    seed: int = 0,
    ids: Sequence[str] | None = None,
    advance: Advance = ignore,
    **options: Any,
) -> Choice:
    """The k candidates [n, d] with the smallest score of `debiased_scores`, which takes the options.

    Raises as it does, and ValueError unless 1 <= k <= n.
    """
    score_n = debiased_scores(target, candidates, ids=ids, seed=seed, advance=advance, **options)[2]
    return choose(score_n, k, ids=ids, seed=seed)
