"""Exact transport, by POT's network simplex: who serves which example, and distances without entropy.

A solve of `tamis.transport` smooths the plan by an epsilon. Here nothing is smoothed: at most n + M - 1 pairs
of a document and an example have mass, which a person can read. The price is the size: two cores couple 5,000
documents with 1,000 examples in seconds, not a million.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from tamis.base.partial_packages import without_code_of
from tamis.base.ranks import spearman
from tamis.transport.cost import (
    BadShapeError,
    Floats,
    Geometry,
    Matrix,
    as_matrix,
    as_weights,
    center_vector,
    check_named,
    check_whole,
)
from tamis.transport.potential import TargetPotential

DENSE_CELLS = 20_000_000
"""Costs kept as a matrix: 160 MB, and POT needs five times as much. Above it POT computes them as it goes,
which took 35 times as long at 2,000 x 500."""
MOST_PIVOTS = 50_000_000
JITTER = 1e-3
"""With equal masses and a whole number of documents an example the dual of a document is not unique."""


class NotSolvedError(RuntimeError):
    """POT has not reached an optimum; names the size and its reason."""

    def __init__(self, documents: int, examples: int, problem: str) -> None:
        self.documents, self.examples, self.problem = documents, examples, problem
        super().__init__(
            f"exact transport of {documents:,} documents to {examples:,} examples failed: {problem}"
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class ExactCoupling:
    """An optimal plan: pair k moves mass_k [K] from document_k [K] to example_k [K] at cost_k [K] a unit.

    Pairs are ordered by document, then example; masses sum to 1. value: the transport distance, in units of
    the cost. document_dual [n]: its gradient in the mass of each document, up to a constant.
    """

    document_k: npt.NDArray[np.int64]
    example_k: npt.NDArray[np.int64]
    mass_k: Floats
    cost_k: Floats
    value: float
    document_dual: Floats


def exact_coupling(
    documents: Matrix,
    examples: Matrix,
    *,
    document_weights: Any = None,
    example_weights: Any = None,
    center: Any = None,
    normalize: bool = True,
) -> ExactCoupling:
    """Couple documents [n, d] with examples [M, d] at the least cost, exactly.

    Weights [n] and [M] sum to 1, uniform by default. Cost: squared Euclidean distance, after subtracting
    `center` [d] where it is given (that of a potential, so that costs compare) and, unless switched off,
    normalising. Raises ValueError on rows that are no points, and `NotSolvedError`.
    """
    geometry = Geometry(center_d=None if center is None else center_vector(center), normalize=normalize)
    x_nd = _points(documents, geometry, "documents")
    y_md = _points(examples, geometry, "examples")
    if x_nd.shape[1] != y_md.shape[1]:
        raise BadShapeError(
            "examples", f"width {y_md.shape[1]}", f"width {x_nd.shape[1]}, the width of the documents"
        )
    mass_n = as_weights(document_weights, len(x_nd), "document_weights")
    return _solved(x_nd, y_md, mass_n, as_weights(example_weights, len(y_md), "example_weights"))


@dataclass(frozen=True, kw_only=True)
class ExactCheck:
    """A potential against the exact solution on a sample of the pool.

    rank_agreement: Spearman's, of the scores with the exact gradient. exact_value: the transport distance of
    the sample. value: what the potential says it is, its dual function at the sample.
    """

    rows: int
    rank_agreement: float
    exact_value: float
    value: float

    @property
    def difference(self) -> float:
        """Of the values, as a share of the exact one."""
        return (self.value - self.exact_value) / max(self.exact_value, np.finfo(float).tiny)


def check_exactly(potential: TargetPotential, sample: Matrix, seed: int = 0) -> ExactCheck:
    """Solve a sample [n, d] of the pool exactly and compare a potential with it.

    Masses of the sample differ by a thousandth, drawn by the seed, so that the exact gradient is unique.
    """
    x_nd = _points(sample, Geometry(center_d=potential.center, normalize=potential.normalize), "sample")
    used_m = potential.target_weights > 0
    mass_n = 1 + JITTER * np.random.default_rng(seed).uniform(-1, 1, len(x_nd))
    mass_n /= mass_n.sum()
    points_md = potential.points[used_m].astype(np.float64)
    exact = _solved(x_nd, points_md, mass_n, potential.target_weights[used_m])
    score_n = potential.gradient(sample).astype(np.float64)
    # Where either is the same for all, nothing can be in the wrong order.
    alike = np.ptp(score_n) == 0 or np.ptp(exact.document_dual) == 0
    return ExactCheck(
        rows=len(x_nd),
        rank_agreement=1.0 if alike else spearman(score_n, exact.document_dual),
        exact_value=exact.value,
        value=float(mass_n @ score_n + potential.target_weights @ potential.potential),
    )


@dataclass(frozen=True, kw_only=True)
class Distance:
    """A transport distance with the middle nine tenths of its resampled values, in units of the cost."""

    value: float
    low: float
    high: float


def distances_to(
    examples: Matrix,
    documents: Mapping[str, Matrix],
    *,
    center: Any = None,
    normalize: bool = True,
    rows: int = 500,
    draws: int = 20,
    seed: int = 0,
) -> dict[str, Distance]:
    """Return the exact transport distance of each set of documents [n, d] to examples [M, d], by name.

    A distance of few documents is larger than that of many, so each draw takes as many of every set: `rows`,
    or as many as the smallest has; and examples with replacement. value: the mean of the draws.
    """
    check_whole("rows", rows)
    check_whole("draws", draws)
    check_named("documents", documents)
    check_whole("seed", seed, 0)
    geometry = Geometry(center_d=None if center is None else center_vector(center), normalize=normalize)
    y_md = _points(examples, geometry, "examples")
    sets = {name: _points(found, geometry, name) for name, found in documents.items()}
    for name, x_nd in sets.items():
        if x_nd.shape[1] != y_md.shape[1]:
            raise BadShapeError(name, f"width {x_nd.shape[1]}", f"width {y_md.shape[1]}, as the examples")
    count = min([rows, *(len(x_nd) for x_nd in sets.values())])
    found: dict[str, list[float]] = {name: [] for name in sets}
    rng = np.random.default_rng(seed)
    for _ in range(draws):
        # Draws of one round share the examples, so that sets differ by their documents alone.
        drawn_md = y_md[rng.integers(len(y_md), size=min(len(y_md), rows))]
        uniform_m = np.full(len(drawn_md), 1 / len(drawn_md))
        for name, x_nd in sets.items():
            chosen_nd = x_nd[rng.choice(len(x_nd), count, replace=False)]
            found[name].append(_solved(chosen_nd, drawn_md, np.full(count, 1 / count), uniform_m).value)
    return {
        name: Distance(value=float(np.mean(one)), low=float(low), high=float(high))
        for name, one in found.items()
        for low, high in [np.quantile(one, (0.05, 0.95))]
    }


def _points(rows: Matrix, geometry: Geometry, name: str) -> Floats:
    """Points of rows [n, d] in float64; raises `BadShapeError` for none."""
    import torch

    raw_nd = as_matrix(rows, name)
    if len(raw_nd) == 0:
        raise BadShapeError(name, "no rows", "at least one")
    like = torch.empty(0, dtype=torch.float64)
    return np.ascontiguousarray(geometry.points(raw_nd, first_row=0, name=name, like=like).numpy())


def _solved(x_nd: Floats, y_md: Floats, mass_n: Floats, mass_m: Floats) -> ExactCoupling:
    lp, utils = _solvers()
    if len(x_nd) * len(y_md) > DENSE_CELLS:
        value, log = lp.emd2_lazy(
            x_nd, y_md, mass_n, mass_m, log=True, return_matrix=True, numItermax=MOST_PIVOTS
        )
        plan = log["G"].tocoo()
        document_k, example_k, mass_k = plan.row, plan.col, plan.data
    else:
        cost_nm = utils.dist(x_nd, y_md, metric="sqeuclidean")
        plan_nm, log = lp.emd(mass_n, mass_m, cost_nm, log=True, numItermax=MOST_PIVOTS)
        value = log["cost"]
        document_k, example_k = np.nonzero(plan_nm)
        mass_k = plan_nm[document_k, example_k]
    if log["warning"]:
        raise NotSolvedError(len(x_nd), len(y_md), log["warning"])
    order_k = np.lexsort((example_k, document_k))
    document_k, example_k = document_k[order_k].astype(np.int64), example_k[order_k].astype(np.int64)
    return ExactCoupling(
        document_k=document_k,
        example_k=example_k,
        mass_k=mass_k[order_k],
        cost_k=np.square(x_nd[document_k] - y_md[example_k]).sum(1),
        value=float(value),
        document_dual=_dual(log, x_nd, y_md, mass_n, mass_m),
    )


def _dual(log: Mapping[str, Any], x_nd: Floats, y_md: Floats, mass_n: Floats, mass_m: Floats) -> Floats:
    """Return the dual variables of documents [n]; of those without mass what the first mass would cost.

    The solver leaves them out, and what it returns for them is no gradient.
    """
    dual_n = np.asarray(log["u"], dtype=np.float64).copy()
    empty, there = np.flatnonzero(mass_n == 0), np.flatnonzero(mass_m > 0)
    example_dual = np.asarray(log["v"], dtype=np.float64)[there]
    block = max(DENSE_CELLS // len(there), 1)
    for start in range(0, len(empty), block):
        rows = empty[start : start + block]
        cost = _solvers()[1].dist(x_nd[rows], y_md[there], metric="sqeuclidean")
        dual_n[rows] = (cost - example_dual).min(1)
    return dual_n


@cache
def _solvers() -> tuple[Any, Any]:
    """Return `ot.lp` and `ot.utils`, without what `import ot` brings along."""
    with without_code_of("ot"):
        import ot.lp as lp
        import ot.utils as utils
    return lp, utils
