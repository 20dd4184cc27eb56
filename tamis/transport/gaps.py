"""How much a choice depends on the target's points, and gaps: examples near which there is no document."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tamis.base.arguments import is_whole
from tamis.base.progress import Advance, ignore
from tamis.transport.cost import (
    BadShapeError,
    Floats,
    Geometry,
    Matrix,
    Rows,
    RowSource,
    as_matrix,
    check_whole,
)
from tamis.transport.potential import TargetPotential
from tamis.transport.prepare import FewTargetPoints, spread_sample
from tamis.transport.sinkhorn import exact_products
from tamis.transport.solve import solve_uncertified

if TYPE_CHECKING:
    import torch

BLOCK_ROWS = 4_096
TOLERANCE = 1e-2
CLUSTERS = (8, 12, 20, 30)
"""Numbers of clusters: which one suits depends on how fine the topics of the target are."""
DRAWS = 8
NEAREST = (0.1, 0.2, 0.3)
"""Shares of the members of a cluster that are nearest to its centre: what is as near as these is counted."""
FEWEST = 3
"""Members below which a cluster says nothing."""
SHRINKAGE = 1.0
"""What whitening adds to each variance, as a share of the mean one."""
SAMPLE = 20_000
MOST_ROUNDS = 15
RARE = 0.45
"""Of the supply of a typical example: below it nothing serves an example. Chosen on the first two sets of
`benchmarks.gaps`, where a larger one would name more than 5 % of the examples that the pool does serve."""
NOTHING = 0.25
"""Documents for each example: below it nothing does either, even where a typical example has no more."""


@dataclass(frozen=True, kw_only=True)
class Stability:
    """Overlap of the top k between every two resampled targets: its mean, its lowest, on how many rows.

    sample_k: the k of the sample, the same share of it that k is of the reference.
    """

    mean_overlap: float
    lowest_overlap: float
    resamples: int
    sample_rows: int
    sample_k: int


def bootstrap_stability(
    target: Matrix,
    reference: Rows,
    potential: TargetPotential,
    k: int,
    resamples: int = 10,
    sample: int = 20_000,
    seed: int = 0,
) -> Stability:
    """Draw the target again `resamples` times with replacement, solve on a sample, compare the top k.

    target [M, d] and reference [N, d] (or blocks that can be iterated again) as given to the solve. Points
    drawn twice weigh double. Raises ValueError unless 1 <= k <= N and resamples >= 2.
    """
    check_whole("resamples", resamples, 2)
    check_whole("sample", sample)
    check_whole("seed", seed, 0)
    rows_nd, count = spread_rows(reference, sample, seed)
    if not (is_whole(k, 1) and k <= count):
        raise BadShapeError("k", repr(k), f"1 to {count}, the number of rows in the reference")
    sample_k = max(1, round(k * len(rows_nd) / count))
    rng = np.random.default_rng(seed)
    chosen = []
    for _ in range(resamples):
        drawn_m = rng.multinomial(len(potential.target_weights), potential.target_weights)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FewTargetPoints)
            score_n = solve_uncertified(
                target,
                rows_nd,
                target_weights=drawn_m / drawn_m.sum(),
                warm_start=potential,
                tolerance=TOLERANCE,
                center=potential.center is not None,
                normalize=potential.normalize,
            ).gradient(rows_nd)
        chosen.append(set(np.argsort(score_n, kind="stable")[:sample_k].tolist()))
    overlaps = [len(one & other) / sample_k for one, other in combinations(chosen, 2)]
    return Stability(
        mean_overlap=float(np.mean(overlaps)),
        lowest_overlap=min(overlaps),
        resamples=resamples,
        sample_rows=len(rows_nd),
        sample_k=sample_k,
    )


def spread_rows(reference: Rows, size: int, seed: int) -> tuple[Any, int]:
    """Evenly spread rows [n, d] as a tensor, and how many rows there are."""
    import torch

    source = RowSource(reference, "reference")
    count = source.count or sum(len(block) for _, block in source.chunks(BLOCK_ROWS))
    chosen_n = spread_sample(np.full(count, 1.0), size, seed)
    kept = []
    for start, block in source.chunks(BLOCK_ROWS):
        low, high = np.searchsorted(chosen_n, [start, start + len(block)])
        kept.append(block[torch.from_numpy(chosen_n[low:high] - start).to(block.device)].clone())
    return torch.cat(kept), count


@dataclass(frozen=True, kw_only=True, eq=False)
class Gaps:
    """What a pool has near each example of a target.

    supply_m [M]: documents near an example for each example near it; NaN where examples are too few to say.
    """

    supply_m: Floats

    @property
    def typical(self) -> float:
        """The median supply; NaN where no example has any."""
        known_m = self.supply_m[~np.isnan(self.supply_m)]
        return float(np.median(known_m)) if len(known_m) else float("nan")

    @property
    def limit(self) -> float:
        """The supply below which nothing serves an example."""
        return max(RARE * self.typical, NOTHING)

    @property
    def is_gap_m(self) -> npt.NDArray[np.bool_]:
        """Whether nothing in the pool serves an example [M]."""
        return self.supply_m < self.limit


def find_gaps(
    examples: Matrix,
    pool: Rows,
    *,
    center: Floats | None = None,
    normalize: bool = True,
    seed: int = 0,
    advance: Advance = ignore,
) -> Gaps:
    """Find the examples [M, d] that nothing in a pool [N, d] (or blocks to be read twice) serves.

    `center` [d] is subtracted and vectors are normalised, as in a potential. Raises ValueError on rows that
    are no points, and on shapes that do not fit.
    """
    import torch

    geometry, like = Geometry(center_d=center, normalize=normalize), torch.empty(0, dtype=torch.float32)
    raw_md = as_matrix(examples, "examples")
    if len(raw_md) == 0:
        raise BadShapeError("examples", "no rows", "at least one")
    points_md = geometry.points(raw_md, first_row=0, name="examples", like=like)
    sample_nd = geometry.points(spread_rows(pool, SAMPLE, seed)[0], first_row=0, name="pool", like=like)
    if sample_nd.shape[1] != points_md.shape[1]:
        raise BadShapeError(
            "pool", f"width {sample_nd.shape[1]}", f"width {points_md.shape[1]}, the width of the examples"
        )
    whitening_dd = _whitening(torch.cat([sample_nd, points_md]))
    clusters = _all_clusters(_unit(points_md @ whitening_dd).double().numpy(), seed)
    if not clusters:
        return Gaps(supply_m=np.full(len(points_md), np.nan))
    center_cd = torch.from_numpy(np.stack([one.center_d for one in clusters])).float()
    near_cq = torch.from_numpy(np.stack([one.near_q for one in clusters])).float()
    count_cq = torch.zeros(near_cq.shape, dtype=torch.int64)
    for start, raw_nd in RowSource(pool, "pool").chunks(BLOCK_ROWS):
        points_nd = geometry.points(raw_nd, first_row=start, name="pool", like=like)
        with exact_products():
            likeness_nc = _unit(points_nd @ whitening_dd) @ center_cd.T
        for place in range(near_cq.shape[1]):
            count_cq[:, place] += (likeness_nc >= near_cq[:, place]).sum(0)
        advance(len(raw_nd))
    return Gaps(supply_m=_supply(clusters, count_cq.numpy(), len(points_md)))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Cluster:
    """Members [n] of a cluster, its centre [d], and how near to it the nearest shares of them are [Q].

    own_q [Q]: how many examples are that near, those of other clusters included.
    """

    member_n: npt.NDArray[np.int64]
    center_d: Floats
    near_q: Floats
    own_q: npt.NDArray[np.int64]


def _whitening(points_nd: "torch.Tensor") -> "torch.Tensor":
    """What points [n, d] are multiplied by, [d, d], for directions that vary little to count as much."""
    import torch

    covariance_dd = torch.cov(points_nd.double().T).reshape(points_nd.shape[1], points_nd.shape[1])
    variance_d, axes_dd = torch.linalg.eigh(covariance_dd)
    floor = SHRINKAGE * variance_d.mean().clamp_min(torch.finfo(torch.float32).tiny)
    return (axes_dd / (variance_d.clamp_min(0) + floor).sqrt()).float()


def _unit(points_nd: "torch.Tensor") -> "torch.Tensor":
    import torch

    return torch.nn.functional.normalize(points_nd, dim=1)


def _all_clusters(points_md: Floats, seed: int) -> list[_Cluster]:
    """Cluster examples [M, d] several times, into few and into many clusters; drop the smallest clusters."""
    found = []
    for count in CLUSTERS:
        for draw in range(DRAWS):
            rng = np.random.default_rng([seed, count, draw])
            label_m = _k_means(points_md, min(count, max(len(points_md) // FEWEST, 1)), rng)
            members = (np.flatnonzero(label_m == label) for label in np.unique(label_m))
            found += [_cluster(points_md, one_n) for one_n in members if len(one_n) >= FEWEST]
    return found


def _cluster(points_md: Floats, member_n: npt.NDArray[np.int64]) -> _Cluster:
    own_nd = points_md[member_n]
    total_d = own_nd.sum(0)
    likeness_m = points_md @ (total_d / len(member_n))
    # Members against the centre of the others: with itself in it, each is nearer than a document can be.
    likeness_m[member_n] = (own_nd @ total_d - np.square(own_nd).sum(1)) / (len(member_n) - 1)
    near_q = np.quantile(likeness_m[member_n], 1 - np.array(NEAREST))
    return _Cluster(
        member_n=member_n,
        center_d=total_d / len(member_n),
        near_q=near_q,
        own_q=(likeness_m[:, None] >= near_q).sum(0),
    )


def _k_means(points_md: Floats, count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return the cluster [M] of each point; of points that are alike there may be fewer clusters."""
    centers = [points_md[rng.integers(len(points_md))]]
    distance_m = np.square(points_md - centers[0]).sum(1)
    while len(centers) < count and distance_m.sum() > 0:
        centers.append(points_md[rng.choice(len(points_md), p=distance_m / distance_m.sum())])
        distance_m = np.minimum(distance_m, np.square(points_md - centers[-1]).sum(1))
    center_kd = np.stack(centers)
    label_m = np.full(len(points_md), -1)
    for _ in range(MOST_ROUNDS):
        nearest_m = (points_md @ center_kd.T - np.square(center_kd).sum(1) / 2).argmax(1)
        if (nearest_m == label_m).all():
            break
        label_m = nearest_m
        member_km = (label_m == np.arange(len(center_kd))[:, None]).astype(np.float64)
        count_k = member_km.sum(1)
        held_k = count_k > 0
        center_kd[held_k] = (member_km @ points_md)[held_k] / count_k[held_k, None]
    return label_m


def _supply(clusters: Sequence[_Cluster], count_cq: npt.NDArray[np.int64], examples: int) -> Floats:
    """Documents for each example near it [M]: the geometric mean over the clusters that hold it."""
    total_m, clusters_m = np.zeros(examples), np.zeros(examples)
    for cluster, count_q in zip(clusters, count_cq, strict=True):
        total_m[cluster.member_n] += np.log((count_q + 0.5) / (cluster.own_q + 0.5)).mean()
        clusters_m[cluster.member_n] += 1
    with np.errstate(invalid="ignore"):
        return np.exp(total_m / clusters_m)
