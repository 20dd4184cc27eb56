"""The judge's sample, part of it chosen where an answer tells most about documents nobody asked about.

A Gaussian process over the grader's features says how uncertain a prediction is without knowing a single
answer, so uncertainty and coverage come from one rule and one pass: ask next about the document that lowers
the expected squared error over the whole pool most (Cohn 1996; variance alone would ask about outliers).
The hold-out stays a uniform draw. 2,000 candidates and 100 choices take 1 s. On 200 crowd-judged arguments,
60 of them held out, half of the others chosen so: rank correlation .677 on 350 more, against .658 for a
uniform sample (difference .019, 95 % interval .005 to .034 over 16 draws; all chosen: .016, -.002 to .035).

Two prices: the choice follows the pool as a whole, so an arrival may replace documents already judged, and
the training part is no longer a picture of the pool.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from tamis.base.arguments import as_floats, as_list, as_share, as_whole
from tamis.base.errors import BadArgumentError
from tamis.quality.kernel_ridge import weighted
from tamis.quality.sample import HOLD_OUT_SHARE, choose_sample, hash_order, split_sample

CANDIDATES = 2_000  # documents chosen among, a uniform draw; the covariance of all pairs is held in memory
CANDIDATES_PER_CHOICE = 2
NOISE = 0.3  # variance of a judge's answer that features cannot explain, against 1 of what they can
WIDTHS = (0.5, 1.0, 2.0)  # of the kernels averaged, times the median distance: small clusters count too
DIGITS = 4  # of a gain; what rounding differs in must not decide, the order by hash does


def candidates(doc_ids: Sequence[str], size: int, seed: int) -> list[str]:
    """Documents whose features `choose_actively` looks at: a uniform draw that holds every smaller one."""
    return choose_sample(doc_ids, max(CANDIDATES, CANDIDATES_PER_CHOICE * as_whole("size", size, 0)), seed)


def choose_actively(
    doc_ids: Sequence[str],
    features_nk: ArrayLike,
    size: int,
    seed: int,
    *,
    active_share: float,
    vector_columns: int = 0,
) -> pl.DataFrame:
    """Sample of `size` documents, ordered by id: `doc_id` and `part`, "train" or "hold_out".

    doc_ids and features_nk: the pool, or its `candidates`; the first `vector_columns` are an embedding.
    `active_share` of the training part is chosen one by one; the rest and the hold-out, as large as without,
    are those with the smallest keys. The order of rows changes nothing. Raises `BadArgumentError` for a share
    outside [0, 1], rows that do not fit or repeated ids.
    """
    active_share, size = as_share("active_share", active_share), as_whole("size", size, 0)
    vector_columns = as_whole("vector_columns", vector_columns, 0)
    doc_ids = as_list("doc_ids", doc_ids, "strings")
    features = as_floats("features_nk", features_nk, "numbers [n, k]")
    if features.ndim != 2 or len(features) != len(doc_ids):
        found, expected = f"shape {list(features.shape)}", f"[{len(doc_ids)}, k], a row for each document"
        raise BadArgumentError("features_nk", found, expected)
    order = hash_order(doc_ids, seed)
    ids = np.asarray(doc_ids, dtype=np.str_)[order].tolist()
    wanted = min(size, len(ids))
    uniform = choose_sample(ids, wanted - round(active_share * (1 - HOLD_OUT_SHARE) * wanted), seed)
    parts = split_sample(
        sorted(uniform), seed, hold_out=min(HOLD_OUT_SHARE * wanted / max(len(uniform), 1), 1.0)
    )
    if not (count := wanted - len(uniform)):
        return parts
    held_out = set(parts.filter(pl.col("part") == "hold_out")["doc_id"])
    asked_n = np.isin(ids, [doc_id for doc_id in uniform if doc_id not in held_out])
    chosen = _lowering_most(
        _covariance(features[order], vector_columns), asked_n, ~np.isin(ids, uniform), count
    )
    active = pl.DataFrame({"doc_id": [ids[row] for row in chosen], "part": ["train"] * len(chosen)})
    return pl.concat([parts, active.cast(pl.String)]).sort("doc_id")


def _covariance(features: NDArray[np.float64], vector_columns: int) -> NDArray[np.float32]:
    """Prior covariance [n, n] of the grader's predictions, 1 on the diagonal."""
    deviations = features.std(axis=0)
    rows = (features - features.mean(axis=0)) / np.where(deviations > 1e-9, deviations, 1.0)
    rows = weighted(rows, vector_columns, 1.0)
    lengths = (rows**2).sum(axis=1)
    squared = np.maximum(lengths[:, None] + lengths - 2 * rows @ rows.T, 0.0).astype(np.float32)
    typical = float(np.median(squared)) or 1.0
    return np.mean([np.exp(-squared / (width**2 * typical)) for width in WIDTHS], axis=0, dtype=np.float32)


def _lowering_most(
    prior_nn: NDArray[np.float32],
    asked_n: NDArray[np.bool_],
    open_n: NDArray[np.bool_],
    count: int,
) -> list[int]:
    """Rows chosen one by one among the open ones, given those asked about: the first of equals wins."""
    covariance = _given(prior_nn, asked_n)
    open_n, chosen = open_n.copy(), []
    for _ in range(count):
        variance_n = np.maximum(covariance.diagonal(), 0.0)
        gain_n = np.where(open_n, np.einsum("ij,ij->j", covariance, covariance) / (variance_n + NOISE), -1.0)
        row = int(np.argmax(np.round(gain_n / max(float(gain_n.max()), 1e-30), DIGITS)))
        chosen.append(row)
        open_n[row] = False
        column = covariance[:, row] / np.sqrt(variance_n[row] + NOISE)
        covariance -= np.outer(column, column)
    return chosen


def _given(prior_nn: NDArray[np.float32], asked_n: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Posterior covariance [n, n] once the documents asked about are answered."""
    if not asked_n.any():
        return prior_nn.copy()
    across = prior_nn[asked_n].astype(np.float64)  # [asked, n]
    root = np.linalg.cholesky(across[:, asked_n] + NOISE * np.eye(len(across)))
    explained = np.linalg.solve(root, across).astype(np.float32)
    return prior_nn - explained.T @ explained
