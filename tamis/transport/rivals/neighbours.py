"""The nearest candidates of each target point, from a stream: what round-robin and TSDS start from.

Only the best are held, M x count costs and positions, in place of M x n: 60 MB for 1,000 targets and 5,000
neighbours in a pool of any size. Exact, no index to build or tune; a pass costs about a scoring pass.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tamis.base.progress import Advance, ignore
from tamis.transport.blocks import BadShapeError, Matrix, Rows, RowSource, whole_tiles
from tamis.transport.cost import Geometry, center_vector, survey, target_points
from tamis.transport.ordering import Indices
from tamis.transport.potential import Float32s, resolve_device
from tamis.transport.prepare import explicit_center
from tamis.transport.sinkhorn import exact_products

if TYPE_CHECKING:
    import torch

READING_ROWS = 2_048


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
    center_d = center_vector(center) if explicit_center(center) else None
    if center_d is None and center:
        center_d = survey(source, None, READING_ROWS)[0]
    geometry = Geometry(center_d=center_d, normalize=normalize)
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
    cost_mk, place_mk = _in_order(cost_mk, place_mk)
    cost_mk = (cost_mk + points_md.square().sum(1)[:, None]).clamp_min(0)
    position_mk = place_mk.cpu().numpy()
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
        nowhere = torch.iinfo(torch.int64).max
        tied_cn = place_mn[crowded_c].masked_fill(~equal_mn[crowded_c], nowhere)
        last_c1 = tied_cn.sort(1).values.gather(1, room_m[crowded_c, None] - 1)
        equal_mn[crowded_c] = tied_cn <= last_c1
    columns_mk = (below_mn | equal_mn).nonzero()[:, 1].reshape(len(cost_mn), count)
    return cost_mn.gather(1, columns_mk), place_mn.gather(1, columns_mk)


def _in_order(cost_mk: "torch.Tensor", place_mk: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor]":
    """Costs ascending, equal ones by place."""
    place_mk, by_place_mk = place_mk.sort(1)
    cost_mk, by_cost_mk = cost_mk.gather(1, by_place_mk).sort(stable=True, dim=1)
    return cost_mk, place_mk.gather(1, by_cost_mk)
