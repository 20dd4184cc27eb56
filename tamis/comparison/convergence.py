"""How much sooner a sampler reaches the loss that all data end with (arXiv 2402.09668, figure 1).

The loss on the way is measured at a learning rate that has still to fall, the full-data loss after it has,
so the tokens saved are understated for every sampler alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tamis.comparison.losses import Floats, interval, mean_of_runs, seed_weights

RESAMPLES = 2_000


@dataclass(frozen=True, kw_only=True)
class Convergence:
    """Share of the tokens that a sampler saves to reach the full-data loss, NaN where it never does.

    reached: share of resamplings over seeds in which it does; low, high: 95 % interval over those.
    """

    sampler: str
    budget: str
    saved: float
    reached: float
    low: float
    high: float


def crossing(share_p: Floats, loss_p: Floats, goal: float) -> float:
    """Where a curve first falls to the goal, in shares of the run, by straight lines between its points.

    NaN when it does not. The first point counts where it is low enough already.
    """
    below = np.flatnonzero(loss_p <= goal)
    if not len(below):
        return float("nan")
    at = int(below[0])
    if at == 0 or np.isnan(loss_p[at - 1]):
        return float(share_p[at])
    drop = loss_p[at - 1] - loss_p[at]
    return float(share_p[at - 1] + (share_p[at] - share_p[at - 1]) * (loss_p[at - 1] - goal) / drop)


def convergences(
    arms: Sequence[tuple[str, str]], curve_aijp: Floats, share_p: Floats, full: int, seed: int
) -> list[Convergence]:
    """Of every arm but `full` (its place), from curves [arm, data seed, training seed, point] on one grid."""
    _, data, training, points = curve_aijp.shape
    mean_ap = mean_of_runs(np.moveaxis(curve_aijp, -1, 1).reshape(len(arms), points, -1))
    weight_ijr = seed_weights(data, training, RESAMPLES, seed)
    goal_r = _weighted(curve_aijp[full], weight_ijr)[:, -1]  # as curves are: last bits decide ties
    found = []
    for place, (sampler, budget) in enumerate(arms):
        if place == full:
            continue
        curve_rp = _weighted(curve_aijp[place], weight_ijr)
        saved_r = 1 - np.array(
            [crossing(share_p, one, goal) for one, goal in zip(curve_rp, goal_r, strict=True)]
        )
        low, high = interval(saved_r)
        found.append(
            Convergence(
                sampler=sampler,
                budget=budget,
                saved=1 - crossing(share_p, mean_ap[place], float(mean_ap[full, -1])),
                reached=float(np.isfinite(saved_r).mean()),
                low=low,
                high=high,
            )
        )
    return found


def _weighted(curve_ijp: Floats, weight_ijr: Floats) -> Floats:
    """Mean curves [resample, point] of resampled runs, those that are missing left out."""
    present = np.isfinite(curve_ijp)
    total_rp = np.einsum("ijp,ijr->rp", np.where(present, curve_ijp, 0.0), weight_ijr)
    weight_rp = np.einsum("ijp,ijr->rp", present.astype(np.float64), weight_ijr)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(total_rp / weight_rp)
