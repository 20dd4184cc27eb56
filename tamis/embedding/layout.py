"""Many vectors in two dimensions for the eye: by principal components, or by their nearest neighbours.

The same vectors in the same order give the same places: signs are fixed, sums are in float64, draws seeded.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tamis.base.progress import Advance, ignore

Floats = NDArray[np.float64]
NEIGHBOURS, NEGATIVES, PASSES = 15, 5, 300
COMPONENTS = 50
BLOCK = 1_000
_ALIKE = 1e-10


@dataclass(frozen=True, kw_only=True)
class Components:
    """Principal axes [d, k] of unit vectors around their mean [d], and each one's share of the variance [k].

    The largest first; what the vectors do not spread along has an axis of zeros.
    """

    center_d: Floats
    axes_dk: Floats
    share_k: Floats

    def of(self, vectors_nd: np.ndarray, most: int | None = None) -> Floats:
        """Return vectors [n, d] in the first of these axes, [n, k], computed in the type that they have."""
        axes_dk = self.axes_dk[:, :most]
        norm_n = np.sqrt((vectors_nd * vectors_nd).sum(axis=1))[:, None]
        shared_nk = vectors_nd @ axes_dk.astype(vectors_nd.dtype) / np.where(norm_n > 0, norm_n, 1)
        return np.asarray(shared_nk - self.center_d @ axes_dk)


def unit(vectors_nd: np.ndarray) -> Floats:
    """Return vectors [n, d] at length 1; a vector of zeros stays."""
    rows_nd = vectors_nd.astype(np.float64)
    norm_n = np.sqrt(np.einsum("nd,nd->n", rows_nd, rows_nd))
    rows_nd /= np.where(norm_n > 0, norm_n, 1)[:, None]
    return rows_nd


def principal_components(vectors_nd: np.ndarray, most: int = COMPONENTS) -> Components:
    """Return the first axes of vectors [n, d]; the largest entry of each is positive."""
    rows_nd = unit(vectors_nd)
    dimension = rows_nd.shape[1]
    center_d = rows_nd.mean(axis=0) if len(rows_nd) else np.zeros(dimension)
    rows_nd -= center_d
    values_d, vectors_dd = np.linalg.eigh(rows_nd.T @ rows_nd)
    total, kept = float(values_d.clip(0).sum()), min(most, dimension)
    axes_dk, share_k = np.zeros((dimension, most)), np.zeros(most)
    if total > _ALIKE * max(len(rows_nd), 1):
        axes_dk[:, :kept] = vectors_dd[:, ::-1][:, :kept]
        share_k[:kept] = values_d[::-1][:kept].clip(0) / total
        axes_dk[:, share_k < _ALIKE] = 0
        axes_dk *= np.where(axes_dk[np.abs(axes_dk).argmax(axis=0), np.arange(most)] < 0, -1, 1)
    return Components(center_d=center_d, axes_dk=axes_dk, share_k=share_k)


def nearest(points_nk: np.ndarray, asked_n: np.ndarray, count: int, advance: Advance = ignore) -> np.ndarray:
    """Return for the asked rows of points [n, k] their nearest others, [asked, count], the nearest first."""
    rows_nk = np.asarray(points_nk, dtype=np.float32)
    square_n, found = np.einsum("nk,nk->n", rows_nk, rows_nk), []
    for start in range(0, len(asked_n), BLOCK):
        block_b = asked_n[start : start + BLOCK]
        distance_bn = square_n - 2 * rows_nk[block_b] @ rows_nk.T
        distance_bn[np.arange(len(block_b)), block_b] = np.inf
        near_bc = np.sort(np.argpartition(distance_bn, count - 1, axis=1)[:, :count], axis=1)
        order_bc = np.argsort(np.take_along_axis(distance_bn, near_bc, 1), axis=1, kind="stable")
        found.append(np.take_along_axis(near_bc, order_bc, 1))
        advance(len(block_b))
    return np.concatenate(found or [np.zeros((0, count), np.int64)])


def neighbour_layout(points_nk: Floats, advance: Advance = ignore) -> Floats:
    """Return places [n, 2] at which the nearest neighbours of points [n, k] are near.

    Attraction along the graph of 15 neighbours and repulsion of drawn pairs, from the first two components,
    as in UMAP (arXiv 1802.03426) with the curve 1 / (1 + d^2). `advance` counts n points, then n a pass.
    """
    count, near = len(points_nk), min(NEIGHBOURS, len(points_nk) - 1)
    if near < 2:
        return points_nk[:, :2].copy()
    edge_e, other_e, weight_e = _graph(points_nk, nearest(points_nk, np.arange(count), near, advance))
    degree_n = np.bincount(edge_e, weight_e, count)[:, None]
    start_n2 = points_nk[:, :2]
    place_n2 = start_n2 * (10 / max(float(start_n2.std()), 1e-12))
    draw = np.random.default_rng(0)
    place_n2 = place_n2 + draw.normal(0, 1e-3, place_n2.shape)  # repeats of a text would never come apart
    for step in range(PASSES):
        apart_e2 = place_n2[edge_e] - place_n2[other_e]
        pull_e2 = apart_e2 * (weight_e / (1 + np.einsum("ed,ed->e", apart_e2, apart_e2)))[:, None]
        pull_n2 = np.stack([np.bincount(edge_e, pull_e2[:, axis], count) for axis in (0, 1)], 1) / degree_n
        push_n2 = np.zeros_like(place_n2)
        for _negative in range(NEGATIVES):
            apart_n2 = place_n2 - place_n2[draw.integers(0, count, count)]
            square_n = np.einsum("nd,nd->n", apart_n2, apart_n2)
            push_n2 += apart_n2 / ((0.01 + square_n) * (1 + square_n))[:, None]
        place_n2 = place_n2 + (1 - step / PASSES) * np.clip(2 * (push_n2 - pull_n2), -4, 4)
        advance(count)
    return place_n2


def _graph(points_nk: Floats, near_nc: np.ndarray) -> tuple[np.ndarray, np.ndarray, Floats]:
    """Return both ends and the weight of each edge of the symmetric graph of neighbours, each way."""
    from scipy.sparse import coo_matrix

    count, wanted = len(points_nk), np.log2(near_nc.shape[1])
    distance_nc = np.sqrt(((points_nk[:, None, :] - points_nk[near_nc]) ** 2).sum(axis=2))
    beyond_nc = distance_nc - distance_nc.min(axis=1, keepdims=True)
    low_n, high_n = np.zeros(count), np.full(count, max(float(beyond_nc.max()), 1e-12) * 100)
    for _halving in range(40):
        width_n = (low_n + high_n) / 2
        large_n = np.exp(-beyond_nc / width_n[:, None].clip(1e-12)).sum(axis=1) > wanted
        low_n, high_n = np.where(large_n, low_n, width_n), np.where(large_n, width_n, high_n)
    weight_nc = np.exp(-beyond_nc / high_n[:, None].clip(1e-12))
    rows = np.repeat(np.arange(count), near_nc.shape[1])
    one = coo_matrix((weight_nc.ravel(), (rows, near_nc.ravel())), shape=(count, count)).tocsr()
    both = (one + one.T - one.multiply(one.T)).tocoo()
    order = np.lexsort((both.col, both.row))
    return both.row[order], both.col[order], both.data[order]


def neighbours_kept(points_nk: Floats, place_n2: Floats) -> float:
    """Return the share of the 15 nearest of up to 1,000 points [n, k] that are the 15 nearest as placed."""
    count = min(NEIGHBOURS, len(points_nk) - 1)
    if count < 1:
        return 1.0
    asked_n = np.linspace(0, len(points_nk) - 1, min(len(points_nk), 1_000)).astype(np.int64)
    pairs = zip(nearest(points_nk, asked_n, count), nearest(place_n2, asked_n, count), strict=True)
    return float(np.mean([len(np.intersect1d(*pair)) / count for pair in pairs]))
