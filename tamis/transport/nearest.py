"""Cost of the nearest target point: iteration zero of the transport problem, the score of kNN.

With g = 0 and epsilon -> 0 the soft c-transform is min_j C(x, y_j): the same products as a pass, without
the prices that discount target points already over-served by the pool. Same speed as one scoring pass.
"""

from typing import Any

import numpy as np

from tamis.base.progress import Advance, ignore
from tamis.transport.blocks import BadShapeError, Matrix, Rows, RowSource, whole_tiles
from tamis.transport.cost import Floats, Geometry, center_vector, survey, target_points
from tamis.transport.potential import Float32s, resolve_device
from tamis.transport.prepare import READING_WIDTH, explicit_center
from tamis.transport.sinkhorn import chunk_rows, exact_products


def nearest_cost(
    target: Matrix,
    candidates: Rows,
    *,
    center: Any = True,
    normalize: bool = True,
    device: str = "auto",
    advance: Advance = ignore,
) -> Float32s:
    """Smallest cost [n] of each candidate [n, d] to a target point [M, d]; copies have the same one.

    center: True (mean of the candidates), False or None, or a vector [d], such as `potential.center`. Raises
    ValueError on bad rows or shapes, and on a generator where the mean needs a second reading.
    """
    import torch

    place = resolve_device(device)
    like = torch.empty(0, dtype=torch.float32, device=place)
    source = RowSource(candidates, "candidates", once=explicit_center(center) or not center)
    geometry = Geometry(center_d=_center(center, source), normalize=normalize)
    points_md = target_points(target, geometry, like)
    squared_norm_m = points_md.square().sum(1)
    costs = []
    size = chunk_rows(len(points_md), place)
    for start, raw_nd in source.chunks(size):
        whole_nd = whole_tiles(raw_nd, size if start else 0)
        points_nd = geometry.points(whole_nd, first_row=start, name="candidates", like=like)
        if points_nd.shape[1] != points_md.shape[1]:
            raise BadShapeError("candidates", f"width {points_nd.shape[1]}", f"width {points_md.shape[1]}")
        with exact_products():
            # Candidates are the columns: as rows, some processors sum copies of one in another order.
            partial_mn = torch.addmm(squared_norm_m[:, None], points_md, points_nd.T, alpha=-2.0)
        cost_n = (partial_mn.amin(0) + points_nd.square().sum(1)).clamp_min(0)[: len(raw_nd)]
        costs.append(cost_n.cpu().numpy())
        advance(len(raw_nd))
    return np.concatenate([np.zeros(0, dtype=np.float32), *costs])


def _center(center: Any, source: RowSource) -> Floats | None:
    if explicit_center(center):
        return center_vector(center)
    return survey(source, None, chunk_rows(READING_WIDTH, "cpu"))[0] if center else None
