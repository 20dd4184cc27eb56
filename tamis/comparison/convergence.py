"""Measure how much sooner a sampler reaches the loss that all data end with (arXiv 2402.09668, figure 1).

The loss on the way is measured at a learning rate that has still to fall, the full-data loss after it has,
so the tokens saved are understated for every sampler alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np

from tamis.comparison.losses import Floats, interval, mean_of_drawn, mean_of_runs, seed_weights

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
    """Return where a curve first falls to the goal, in shares of the run, by lines between its points.

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
    # The goals are computed as curves are: last bits decide ties.
    goal_r = mean_of_drawn(curve_aijp[full], weight_ijr, "ijp,ijr->rp")[:, -1]
    found = []
    for place, (sampler, budget) in enumerate(arms):
        if place == full:
            continue
        curve_rp = mean_of_drawn(curve_aijp[place], weight_ijr, "ijp,ijr->rp")
        saved_r = 1 - np.array([*map(crossing, repeat(share_p), curve_rp, goal_r)])
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
