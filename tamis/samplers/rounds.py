"""Selection in several rounds: Frank-Wolfe on the joint objective, over the pool with the chosen added."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tamis.base.arguments import as_number, is_whole
from tamis.base.progress import Advance, ignore
from tamis.transport.cost import (
    BadShapeError,
    Floats,
    Matrix,
    Rows,
    RowSource,
    as_floats,
    as_rows,
    as_weights,
    is_array,
)
from tamis.transport.ordering import Indices, check_k, ranks_of, smallest_first
from tamis.transport.potential import TargetPotential
from tamis.transport.prepare import FewTargetPoints
from tamis.transport.solve import solve_potential

if TYPE_CHECKING:
    import torch

BLOCK_ROWS = 8_192


class _Joined:
    """Rows [N, d] of a pool, and documents [k, d] after them."""

    def __init__(self, pool: Rows, vectors_kd: npt.NDArray[Any]) -> None:
        self._pool, self._vectors_kd = pool, vectors_kd

    def __iter__(self) -> Iterator[Matrix]:
        import torch

        added_kd = torch.from_numpy(self._vectors_kd)
        for _, block in RowSource(self._pool, "reference").chunks(BLOCK_ROWS):
            added_kd = added_kd.to(block.device)
            yield block
        yield added_kd


def rows_at(rows: Rows, positions: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Rows [k, d] at positions [k], in their order; blocks are read once."""
    if is_array(rows):
        taken = rows[positions.tolist()]  # type: ignore[index]
        return as_numpy(taken.detach()) if hasattr(taken, "detach") else np.asarray(taken)
    order_k = np.argsort(positions, kind="stable")
    sorted_k, found = positions[order_k], []
    for start, block in RowSource(rows, "candidates").chunks(BLOCK_ROWS):
        low, high = np.searchsorted(sorted_k, [start, start + len(block)])
        found.append(as_numpy(block[(sorted_k[low:high] - start).tolist()]))
    return np.concatenate(found)[np.argsort(order_k)]


def as_numpy(rows_kd: "torch.Tensor") -> npt.NDArray[Any]:
    """Rows of a tensor on any device; 16-bit ones as float32, since numpy has no bfloat16."""
    return (rows_kd.float() if rows_kd.element_size() == 2 else rows_kd).cpu().numpy()


@dataclass(frozen=True, kw_only=True)
class RoundsSelection:
    """What `select_in_rounds` chose.

    chosen [k]: positions in the candidates, in order of choice. round_of [k]: the round of each, from 1.
    objectives [rounds + 1]: J before the first round (nothing added, U = D_S) and after each.
    one_round_objective: J of the k smallest gradients at the pool; never below the last of `objectives`.
    rank [n]: score whose order is the choice, the rest by their last gradient; smallest first. potential:
    solved at the pool plus all that was chosen.
    """

    chosen: Indices
    round_of: npt.NDArray[np.int64]
    objectives: Floats
    one_round_objective: float
    rank: Floats
    potential: TargetPotential


def select_in_rounds(
    target: Matrix,
    candidates: Rows,
    k: int,
    *,
    rounds: int = 10,
    mixing: float = 0.5,
    quality: Any = None,
    quality_weight: float = 1.0,
    row_cost: Any = None,
    reference: "Rows | None" = None,
    reference_weights: Any = None,
    ids: Sequence[str] | None = None,
    advance: Advance = ignore,
    **solver: Any,
) -> RoundsSelection:
    """Choose k of the candidates [n, d] by rounds on J(U) = OT((1-l) D_S + l D_U, D_R) + E_U[cost].

    l = mixing, in (0, 1]. cost: quality_weight * (1 - quality) plus row_cost, both [n]; a round ranks by f +
    cost / l, f the gradient at the mixture so far. D_S: `reference` [N, d], by default the candidates. After
    t of T rounds U is t/T chosen and (T-t)/T D_S at the candidates' mean cost (Frank-Wolfe, equal steps). One
    round is returned where it is no worse; equal scores go by a hash of the id. `solver`: other arguments of
    `solve_potential`, which raises; D_S sets epsilon and centre, OT is the entropic dual value.
    """
    if not (0 < as_number(mixing) <= 1 and is_whole(rounds, 1)):
        raise BadShapeError(
            "mixing, rounds", f"{mixing!r}, {rounds!r}", "mixing above 0 and at most 1, rounds at least 1"
        )
    pool = candidates if reference is None else reference
    first = solve_potential(target, pool, reference_weights=reference_weights, advance=advance, **solver)
    gradient_n = first.gradient(candidates, advance=advance)
    pool = as_rows(pool)
    count = len(pool) if is_array(pool) else sum(len(block) for block in pool)  # type: ignore[arg-type]
    return _Joint(
        target=target,
        candidates=candidates,
        pool=pool,
        mass_n=as_weights(reference_weights, count, "reference_weights"),
        mixing=mixing,
        cost_n=_costs(quality, quality_weight, row_cost, len(gradient_n)),
        ids=ids,
        solver=solver,
        advance=advance,
    ).best(first, gradient_n.astype(np.float64), check_k(k, len(gradient_n)), int(rounds))


@dataclass(frozen=True, kw_only=True)
class _Joint:
    """The joint objective over one pool: how to value a choice, and how to make one."""

    target: Matrix
    candidates: Rows
    pool: Rows
    mass_n: Floats
    mixing: float
    cost_n: Floats
    ids: Sequence[str] | None
    solver: dict[str, Any]
    advance: Advance

    def best(self, first: TargetPotential, gradient_n: Floats, k: int, rounds: int) -> RoundsSelection:
        """The choice of all rounds, or of one where that is no worse."""
        single = self._choose(first, gradient_n, k, 1)
        if min(rounds, k) == 1:
            return single
        several = self._choose(first, gradient_n, k, min(rounds, k))
        if several.objectives[-1] >= single.objectives[-1]:
            return single
        return replace(several, one_round_objective=float(single.objectives[-1]))

    def _choose(self, first: TargetPotential, gradient_n: Floats, k: int, rounds: int) -> RoundsSelection:
        potential, scores_n = first, self._scores(gradient_n)
        objectives = [first.dual_value + float(self.cost_n.mean())]
        chosen, vectors_kd = np.zeros(0, dtype=np.int64), None
        for turn in range(1, rounds + 1):
            size = k * turn // rounds - len(chosen)
            scores_n[chosen] = np.inf
            picked = smallest_first(scores_n, size, ids=self.ids, seed=self.solver.get("seed", 0))
            chosen = np.concatenate([chosen, picked])
            rows = rows_at(self.candidates, picked)
            vectors_kd = rows if vectors_kd is None else np.concatenate([vectors_kd, rows])
            share = len(chosen) / k
            potential = self._solve(potential, vectors_kd, self.mixing * share)
            cost = share * self.cost_n[chosen].mean() + (1 - share) * self.cost_n.mean()
            objectives.append(potential.dual_value + float(cost))
            scores_n = self._scores(potential.gradient(self.candidates, advance=self.advance))
        return RoundsSelection(
            chosen=chosen,
            round_of=np.repeat(
                np.arange(1, rounds + 1), np.diff([k * turn // rounds for turn in range(rounds + 1)])
            ),
            objectives=np.array(objectives),
            one_round_objective=objectives[-1],
            rank=ranks_of(chosen, scores_n, ids=self.ids, seed=self.solver.get("seed", 0)),
            potential=potential,
        )

    def _scores(self, gradient_n: npt.ArrayLike) -> Floats:
        return np.asarray(gradient_n, dtype=np.float64) + self.cost_n / self.mixing

    def _solve(self, warm: TargetPotential, vectors_kd: npt.NDArray[Any], share: float) -> TargetPotential:
        """Potential at (1 - share) D_S + share * uniform on the chosen, in the geometry of D_S."""
        added_k = np.full(len(vectors_kd), share / len(vectors_kd))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FewTargetPoints)
            return solve_potential(
                self.target,
                _Joined(self.pool, vectors_kd),
                reference_weights=np.concatenate([(1 - share) * self.mass_n, added_k]),
                advance=self.advance,
                **{
                    **self.solver,
                    "epsilon": None,
                    "warm_start": warm,
                    "center": False if warm.center is None else warm.center,
                },
            )


def _costs(quality: Any, quality_weight: float, row_cost: Any, count: int) -> Floats:
    cost_n = np.zeros(count)
    if not np.isfinite(as_number(quality_weight)):
        raise BadShapeError("quality_weight", repr(quality_weight), "a finite number")
    if quality is not None:
        cost_n += quality_weight * (1.0 - _column(quality, count, "quality"))
    if row_cost is not None:
        cost_n += _column(row_cost, count, "row_cost")
    return cost_n


def _column(values: Any, count: int, name: str) -> Floats:
    value_n = as_floats(values, name, f"[{count}], finite")
    if value_n.shape != (count,) or not np.isfinite(value_n).all():
        raise BadShapeError(name, f"shape {list(value_n.shape)}", f"[{count}], finite")
    return value_n
