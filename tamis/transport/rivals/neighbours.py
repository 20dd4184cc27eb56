"""The nearest candidates of each target point, from a stream: what round-robin and TSDS start from.

Only the best are held, M x count costs and positions, in place of M x n: 60 MB for 1,000 targets and 5,000
neighbours in a pool of any size. Exact, no index to build or tune; a pass costs about a scoring pass.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from tamis.progress import Advance, ignore
from tamis.transport.blocks import BadShapeError, Matrix, Rows, RowSource
from tamis.transport.cost import Geometry, center_vector, survey, target_points
from tamis.transport.potential import Float32s, resolve_device
from tamis.transport.prepare import explicit_center

READING_ROWS = 2_048


def geometry_of(source: RowSource, center: Any, normalize: bool) -> Geometry:
    """Points less a centre (True: mean of the rows, a vector, or none), of norm 1 if normalised."""
    if explicit_center(center):
        return Geometry(center_d=center_vector(center), normalize=normalize)
    return Geometry(center_d=survey(source, None, READING_ROWS)[0] if center else None, normalize=normalize)


def nearest_neighbours(
    target: Matrix,
    candidates: Rows,
    count: int,
    *,
    center: Any = True,
    normalize: bool = True,
    device: str = "auto",
    advance: Advance = ignore,
) -> tuple[Float32s, npt.NDArray[np.int64]]:
    """Squared distances [M, count] of the nearest candidates of each target point, ascending, and positions.

    Equal distances are ordered by position; with fewer than `count` candidates all of them are given. Raises
    ValueError on rows or shapes that do not fit.
    """
    import torch

    source = RowSource(candidates, "candidates")
    geometry = geometry_of(source, center, normalize)
    like = torch.empty(0, dtype=torch.float32, device=resolve_device(device))
    points_md = target_points(target, geometry, like)
    cost_mk = torch.empty((len(points_md), 0), device=like.device)
    position_mk = torch.empty((len(points_md), 0), dtype=torch.int64, device=like.device)
    for start, raw_nd in source.chunks(READING_ROWS):
        points_nd = geometry.points(raw_nd, first_row=start, name="candidates", like=like)
        if points_nd.shape[1] != points_md.shape[1]:
            raise BadShapeError("candidates", f"width {points_nd.shape[1]}", f"width {points_md.shape[1]}")
        cost_mn = torch.addmm(points_nd.square().sum(1), points_md, points_nd.T, alpha=-2.0)
        position_mn = torch.arange(start, start + len(points_nd), device=like.device).expand_as(cost_mn)
        cost_mk, best_mk = _smallest(torch.cat([cost_mk, cost_mn], 1), count)
        position_mk = torch.cat([position_mk, position_mn], 1).gather(1, best_mk)
        advance(len(points_nd))
    cost_mk = (cost_mk + points_md.square().sum(1)[:, None]).clamp_min(0)
    return cost_mk.cpu().numpy(), position_mk.cpu().numpy()


def _smallest(cost_mn: Any, count: int) -> tuple[Any, Any]:
    """The `count` smallest of each row in order, equal ones by column."""
    import torch

    if cost_mn.shape[1] > count:
        last_m1 = torch.topk(cost_mn, count, dim=1, largest=False).values[:, -1:]
        below_mn, equal_mn = cost_mn < last_m1, cost_mn == last_m1
        room_m1 = count - below_mn.sum(1, keepdim=True)
        kept_mn = below_mn | (equal_mn & (equal_mn.cumsum(1) <= room_m1))
        columns_mk = kept_mn.nonzero()[:, 1].reshape(len(cost_mn), count)
        ordered, within_mk = torch.sort(cost_mn.gather(1, columns_mk), dim=1, stable=True)
        return ordered, columns_mk.gather(1, within_mk)
    ordered, columns_mn = torch.sort(cost_mn, dim=1, stable=True)
    return ordered, columns_mn
