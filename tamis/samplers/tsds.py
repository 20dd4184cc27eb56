"""TSDS: neighbours of the target, thinned where they crowd (Liu et al., NeurIPS 2024, arXiv 2410.11303).

KNN-KDE, their method for pools with near-duplicates: every target point spreads its mass over neighbours in
inverse proportion to their density, as far out as the trade-off of distance and spread goes. Closed form, one
search; the density costs the square of how many candidates are anyone's neighbours (20,000: 10 s).
"""

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from tamis.base.progress import Advance, ignore
from tamis.samplers.choice import Choice, choose
from tamis.samplers.neighbours import Sides, nearest_neighbours, sides_of
from tamis.samplers.rounds import rows_at
from tamis.transport.cost import BadShapeError, Floats, Matrix, Rows, check_positive, check_whole
from tamis.transport.ordering import gumbel_noise, hash_order
from tamis.transport.scoring import nearest_cost
from tamis.transport.sinkhorn import exact_products

DENSITY_ROWS = 1_024
# A share of a target point's mass that may be no more than rounding of float32 densities.
ROUNDING = 1e-6


def neighbour_density(
    target: Matrix,
    candidates: Rows,
    k: int,
    *,
    seed: int = 0,
    ids: Sequence[str] | None = None,
    spread: float = 0.5,
    scale: float = 5.0,
    bandwidth: float = 0.75,
    neighbours: int = 5_000,
    draw: bool = True,
    center: Any = True,
    normalize: bool = True,
    device: str = "auto",
    advance: Advance = ignore,
) -> Choice:
    """k of the candidates [n, d], drawn without replacement with the probabilities of KNN-KDE.

    spread: their alpha, weight of distance against diversity. scale: their C. bandwidth: sigma of the kernel
    max(0, 1 - distance^2 / sigma^2); all three as published, in distances (not squared) between points of
    norm 1. neighbours: how many of a target point are looked at, at most a tenth of the pool. score [n]:
    -(log p + Gumbel noise), without `draw` -log p (as arXiv 2602.14696 takes it); candidates of probability 0
    come after all others, by the distance to their nearest target point. Equal distances and scores, of exact
    copies say, are ordered by a hash of (seed, id); without ids such ties follow the order of the rows.
    Departs from the published code, which draws with replacement and truncates the density at 1,000
    neighbours. Raises ValueError as `nearest_cost`, on settings that make no sense, on ids of another length,
    and unless 1 <= k <= n.
    """
    if not (isinstance(spread, Real) and 0 <= float(spread) <= 1):
        raise BadShapeError("spread", repr(spread), "a number from 0 to 1")
    check_positive("scale", scale)
    check_positive("bandwidth", bandwidth)
    check_whole("neighbours", neighbours)
    geometry = {"center": center, "normalize": normalize, "device": device}
    cost_n = nearest_cost(target, candidates, advance=advance, **geometry)
    count = max(2, min(neighbours, max(len(cost_n) // 10, 2), len(cost_n)))
    order = None if ids is None else hash_order(len(cost_n), ids=ids, seed=seed)
    sides = sides_of(target, candidates, **geometry)
    square_mk, position_mk = nearest_neighbours(sides, count, order=order, advance=advance)
    density_mk = _densities(sides, position_mk, bandwidth, advance)
    mass_mk = spread_mass(np.sqrt(square_mk.astype(np.float64)), density_mk, spread / scale, 1 - spread)
    probability_n = np.zeros(len(cost_n))
    np.add.at(probability_n, position_mk, mass_mk)
    inside_n = probability_n > 0
    log_n: Floats = np.log(np.where(inside_n, probability_n, 1.0))
    if draw:
        log_n += gumbel_noise(len(log_n), ids=ids, seed=seed, purpose="tsds")
    outside = float(-log_n[inside_n].min()) + 1.0
    return choose(np.where(inside_n, -log_n, outside + cost_n.astype(np.float64)), k, ids=ids, seed=seed)


def spread_mass(distance_mk: Floats, density_mk: Floats, pull: float, push: float) -> Floats:
    """Mass [M, K] of target points on their neighbours, 1 / M a row (algorithm 2 of Liu et al.).

    distance [M, K] ascending, density [M, K] > 0. A neighbour k of a target point j may take up to 1 / (M s
    density); s is the smallest level at which pull * sum over j, k of (d_{j,last+1} - d_jk) / density_jk
    reaches push * M, found by sorting the levels at which a point's list grows instead of by a heap.
    """
    if distance_mk.shape[1] == 1:
        return np.full(distance_mk.shape, 1.0 / len(distance_mk))
    level_mk = np.cumsum(1.0 / density_mk, axis=1)
    growth_mk = np.diff(distance_mk, axis=1) * level_mk[:, :-1]
    levels = level_mk[:, :-1].ravel()
    order = np.argsort(levels, kind="stable")
    enough = pull * np.cumsum(growth_mk.ravel()[order]) >= push * len(distance_mk)
    last = int(np.argmax(enough)) if enough.any() else len(order) - 1
    level = levels[order[last]]
    left_mk = 1.0 - np.pad(level_mk[:, :-1] / level, ((0, 0), (1, 0)))
    left_mk[left_mk < ROUNDING] = 0.0
    full_mk = level_mk <= level
    full_mk[:, -1] = False
    # The mass of a full neighbour is not a difference of sums, whose rounding would tell copies apart.
    return np.where(full_mk, 1.0 / density_mk / level, left_mk) / len(distance_mk)


def _densities(
    sides: Sides, position_mk: npt.NDArray[np.int64], bandwidth: float, advance: Advance
) -> Floats:
    """Kernel density [M, K] of neighbours among all that are a neighbour of any target point.

    Exact copies are one point that counts several times, so that they share their density to the bit.
    """
    import torch

    union_u, place = np.unique(position_mk, return_inverse=True)
    raw_ud, copy, count_u = np.unique(
        rows_at(sides.source.rows, union_u), axis=0, return_inverse=True, return_counts=True
    )
    points_ud = sides.geometry.points(
        torch.from_numpy(raw_ud), first_row=0, name="candidates", like=sides.points_md
    )
    copies_u = torch.from_numpy(count_u).to(sides.points_md)
    square_u = points_ud.square().sum(1)
    density_u = torch.empty(len(points_ud), dtype=torch.float64)
    for start in range(0, len(points_ud), DENSITY_ROWS):
        rows = slice(start, start + DENSITY_ROWS)
        with exact_products():
            distance_ru = torch.addmm(square_u, points_ud[rows], points_ud.T, alpha=-2.0)
        distance_ru += square_u[rows, None]
        kernel_ru = (1 - distance_ru.clamp_min(0) / bandwidth**2).clamp_min(0)
        density_u[rows] = (kernel_ru @ copies_u).double().cpu()
        advance(int(count_u[rows].sum()))
    return density_u.clamp_min(1.0).numpy()[copy.reshape(-1)[place.reshape(position_mk.shape)]]
