"""Choices by the nearest target point: kNN, round-robin, the candidates of each point; and chance."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tamis.base.progress import Advance, ignore
from tamis.samplers.choice import Choice, choose
from tamis.transport.cost import (
    BadShapeError,
    Geometry,
    Matrix,
    Rows,
    RowSource,
    center_vector,
    survey,
    target_points,
    whole_tiles,
)
from tamis.transport.ordering import Indices, check_k, gumbel_noise, hash_order, ranks_of
from tamis.transport.potential import Float32s, resolve_device
from tamis.transport.prepare import explicit_center
from tamis.transport.scoring import nearest_cost
from tamis.transport.sinkhorn import exact_products

if TYPE_CHECKING:
    import torch

READING_ROWS = 2_048
SPARE_NEIGHBOURS = 32


@dataclass(frozen=True, kw_only=True)
class Sides:
    """Both sides of a search: target points [M, d] on a device, and the candidates in the same geometry."""

    points_md: "torch.Tensor"
    source: RowSource
    geometry: Geometry


def sides_of(
    target: Matrix, candidates: Rows, *, center: Any = True, normalize: bool = True, device: str = "auto"
) -> Sides:
    """Read what a search needs: points less a centre (True: mean of the candidates, a vector, or none).

    Raises ValueError on rows or shapes that do not fit.
    """
    import torch

    source = RowSource(candidates, "candidates")
    explicit = explicit_center(center)
    mean_d = survey(source, None, READING_ROWS)[0] if not explicit and center else None
    geometry = Geometry(center_d=center_vector(center) if explicit else mean_d, normalize=normalize)
    like = torch.empty(0, dtype=torch.float32, device=resolve_device(device))
    return Sides(points_md=target_points(target, geometry, like), source=source, geometry=geometry)


def nearest_neighbours(
    sides: Sides, count: int, *, order: Indices | None = None, advance: Advance = ignore
) -> tuple[Float32s, Indices]:
    """Squared distances [M, count] of the nearest candidates of each target point, ascending, and positions.

    order [n]: positions in the order that decides between equal distances, by default as given. With
    fewer than `count` candidates all of them are given. Raises ValueError on rows or shapes that do not fit.
    """
    import torch

    points_md = sides.points_md
    place_n = None if order is None else torch.from_numpy(np.argsort(order)).to(points_md.device)
    cost_mk = torch.empty((len(points_md), 0), device=points_md.device)
    place_mk = torch.empty((len(points_md), 0), dtype=torch.int64, device=points_md.device)
    for start, raw_nd in sides.source.chunks(READING_ROWS):
        count_n = len(raw_nd)
        whole_nd = whole_tiles(raw_nd, READING_ROWS if start else 0)
        points_nd = sides.geometry.points(whole_nd, first_row=start, name="candidates", like=points_md)
        if points_nd.shape[1] != points_md.shape[1]:
            raise BadShapeError("candidates", f"width {points_nd.shape[1]}", f"width {points_md.shape[1]}")
        with exact_products():
            cost_mn = torch.addmm(points_nd.square().sum(1), points_md, points_nd.T, alpha=-2.0)[:, :count_n]
        stand_n = torch.arange(start, start + count_n, device=points_md.device)
        chunk_n = stand_n if place_n is None else place_n[stand_n]
        place_mn = torch.cat([place_mk, chunk_n.expand_as(cost_mn)], 1)
        cost_mk, place_mk = _smallest(torch.cat([cost_mk, cost_mn], 1), place_mn, count)
        advance(count_n)
    # Costs ascending, equal ones by place.
    place_mk, by_place_mk = place_mk.sort(1)
    cost_mk, by_cost_mk = cost_mk.gather(1, by_place_mk).sort(stable=True, dim=1)
    cost_mk = (cost_mk + points_md.square().sum(1)[:, None]).clamp_min(0)
    position_mk = place_mk.gather(1, by_cost_mk).cpu().numpy()
    return cost_mk.cpu().numpy(), position_mk if order is None else order[position_mk]


def _smallest(
    cost_mn: "torch.Tensor", place_mn: "torch.Tensor", count: int
) -> "tuple[torch.Tensor, torch.Tensor]":
    """The `count` smallest costs of each row and their places, in any order; of equal ones the first."""
    import torch

    if cost_mn.shape[1] <= count:
        return cost_mn, place_mn
    last_m1 = torch.topk(cost_mn, count, dim=1, largest=False).values[:, -1:]
    below_mn, equal_mn = cost_mn < last_m1, cost_mn == last_m1
    room_m = count - below_mn.sum(1)
    (crowded_c,) = (equal_mn.sum(1) > room_m).nonzero(as_tuple=True)
    if len(crowded_c):
        tied_cn = place_mn[crowded_c].masked_fill(~equal_mn[crowded_c], torch.iinfo(torch.int64).max)
        last_c1 = tied_cn.sort(1).values.gather(1, room_m[crowded_c, None] - 1)
        equal_mn[crowded_c] = tied_cn <= last_c1
    columns_mk = (below_mn | equal_mn).nonzero()[:, 1].reshape(len(cost_mn), count)
    return cost_mn.gather(1, columns_mk), place_mn.gather(1, columns_mk)


def nearest(
    target: Matrix,
    candidates: Rows,
    k: int,
    *,
    seed: int = 0,
    ids: Sequence[str] | None = None,
    center: Any = True,
    normalize: bool = True,
    device: str = "auto",
    advance: Advance = ignore,
) -> Choice:
    """The k candidates [n, d] nearest to any target point [M, d]; score: that squared distance.

    Raises ValueError as `nearest_cost`, and unless 1 <= k <= n.
    """
    return choose(
        nearest_cost(target, candidates, center=center, normalize=normalize, device=device, advance=advance),
        k,
        ids=ids,
        seed=seed,
    )


def chance(
    target: object,
    candidates: "Rows | Sequence[str]",
    k: int,
    *,
    seed: int = 0,
    ids: Sequence[str] | None = None,
    advance: Advance = ignore,
) -> Choice:
    """A uniform draw without replacement of k candidates, vectors or texts; score: the keyed noise.

    The target is not looked at. Raises ValueError unless 1 <= k <= n.
    """
    noise_n = gumbel_noise(_count(candidates, advance), ids=ids, seed=seed, purpose="chance")
    return choose(-noise_n, k, ids=ids, seed=seed)


def _count(candidates: Any, advance: Advance) -> int:
    if isinstance(candidates, Sequence) and candidates and isinstance(candidates[0], str):
        return len(candidates)
    source = RowSource(candidates, "candidates", once=True)
    if source.count is None:
        for _, block in source.chunks(65_536):
            advance(len(block))
    assert source.count is not None
    return source.count


def round_robin(
    target: Matrix,
    candidates: Rows,
    k: int,
    *,
    seed: int = 0,
    ids: Sequence[str] | None = None,
    center: Any = True,
    normalize: bool = True,
    device: str = "auto",
    advance: Advance = ignore,
) -> Choice:
    """k of the candidates [n, d], taken in turns by the target points [M, d] in their order.

    score [n]: the rank of a choice, then the others by the distance to their nearest target point. Nothing is
    drawn: seed and ids decide between equal distances, of exact copies say, by a hash of (seed, id); without
    ids such ties follow the order of the rows. Raises ValueError as `nearest_cost`, on ids of another length,
    and unless 1 <= k <= n.
    """
    geometry = {"center": center, "normalize": normalize, "device": device}
    cost_n = nearest_cost(target, candidates, advance=advance, **geometry)
    check_k(k, len(cost_n))
    order = None if ids is None else hash_order(len(cost_n), ids=ids, seed=seed)
    sides = sides_of(target, candidates, **geometry)
    count = 2 * -(-k // len(target)) + SPARE_NEIGHBOURS
    while True:
        count = min(count, len(cost_n))
        _, position_mk = nearest_neighbours(sides, count, order=order, advance=advance)
        chosen = take_turns(position_mk, k)
        if chosen is not None:
            return Choice(chosen, ranks_of(chosen, cost_n, ids=ids, seed=seed))
        count *= 4


def take_turns(position_mk: npt.NDArray[np.int64], k: int) -> Indices | None:
    """k distinct positions from lists [M, K] in order of preference; None when a list ends too early."""
    lists: list[list[int]] = position_mk.tolist()
    following = [0] * len(lists)
    taken: dict[int, None] = {}
    while len(taken) < k:
        for turn, preferred in enumerate(lists):
            place = following[turn]
            while place < len(preferred) and preferred[place] in taken:
                place += 1
            if place == len(preferred):
                return None
            taken[preferred[place]] = None
            following[turn] = place + 1
            if len(taken) == k:
                break
    return np.fromiter(taken, dtype=np.int64, count=k)
