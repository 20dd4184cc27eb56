"""Ridge regression in a linear or Gaussian kernel, its setting chosen by cross-validation.

Few judged documents (a few hundred) and many features (a few hundred) make this a problem of n x n
matrices: one eigendecomposition a fold and kernel gives every ridge strength at once (Rifkin and Lippert
2007), 1 s for 200 rows. Plain arrays in and out, so a fitted model is stored without pickle.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

FOLDS = 5
RIDGES = tuple(10.0**power for power in np.arange(-4, 2.01, 0.5))  # times the mean of the kernel's diagonal
WIDTHS = (0.5, 1.0, 2.0, 4.0)  # of the Gaussian, times the median distance of training rows
VECTOR_WEIGHTS = (0.0, 0.5, 1.0, 2.0)  # variance of the embedding against that of all other features
HANDICAP = (
    1.02  # on the Gaussian's errors: without a clear gain the linear kernel, which predicts 100 times faster
)
SEARCHED = 800  # training rows that the search looks at; eigendecompositions grow with the cube


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Choice of cross-validation: kernel ("linear", "rbf"), its width, ridge, weight of the embedding."""

    kernel: str
    width: float
    ridge: float
    vector_weight: float


@dataclass(frozen=True, kw_only=True)
class KernelRidge:
    """A fitted regression: predictions are intercept + K(rows, anchors) @ coefficients.

    anchors [m, k] are training rows (rbf) or empty (linear, coefficients [k] on the features themselves).
    """

    kernel: str
    gamma: float
    anchors: Float64
    coefficients: Float64
    intercept: float

    def predict(self, rows_nk: Float64) -> Float64:
        """Predictions [n]."""
        if self.kernel == "linear":
            return self.intercept + rows_nk @ self.coefficients
        return (
            self.intercept
            + np.exp(-self.gamma * _squared_distances(rows_nk, self.anchors)) @ self.coefficients
        )


def choose_setting(rows_nk: Float64, targets_n: Float64, vector_columns: int) -> tuple[Setting, Float64]:
    """The setting with the least squared error out of fold, and its predictions [n] out of fold.

    rows_nk: standardised; the first `vector_columns` are an embedding. Rows in an order that is random with
    respect to the targets: fold f takes every fifth row. Only the first 800 rows are used.
    """
    rows, targets = rows_nk[:SEARCHED], targets_n[:SEARCHED]
    fold_n = np.arange(len(rows)) % FOLDS
    best, chosen, out_of_fold = (
        np.inf,
        Setting(kernel="linear", width=1.0, ridge=1.0, vector_weight=1.0),
        targets,
    )
    for setting in _kernels(vector_columns, rows.shape[1]):
        predictions_nr = _out_of_fold(
            weighted(rows, vector_columns, setting.vector_weight), targets, fold_n, setting
        )
        errors_r = np.mean((predictions_nr - targets[:, None]) ** 2, axis=0)
        errors_r *= 1.0 if setting.kernel == "linear" else HANDICAP
        if errors_r.min() < best:
            best, at = float(errors_r.min()), int(errors_r.argmin())
            chosen, out_of_fold = replace(setting, ridge=RIDGES[at]), predictions_nr[:, at]
    return chosen, out_of_fold


def fit_kernel_ridge(rows_nk: Float64, targets_n: Float64, setting: Setting) -> KernelRidge:
    """Fit on rows already weighted by `weighted(rows, vector_columns, setting.vector_weight)`.

    From rows that are all the same the mean is predicted.
    """
    gamma = _gamma(rows_nk, setting)
    gram = _gram(rows_nk, rows_nk, setting.kernel, gamma)
    centred = _centred(gram)
    spread = np.trace(centred) or 1.0
    damped = centred + setting.ridge * spread / len(gram) * np.eye(len(gram))
    dual = np.linalg.solve(damped, targets_n - targets_n.mean())
    intercept = float(targets_n.mean() - (gram @ dual).mean())
    if setting.kernel == "linear":
        anchors, coefficients = np.empty((0, rows_nk.shape[1])), rows_nk.T @ dual
    else:
        anchors, coefficients = rows_nk, dual
    return KernelRidge(
        kernel=setting.kernel, gamma=gamma, anchors=anchors, coefficients=coefficients, intercept=intercept
    )


def weighted(rows_nk: Float64, vector_columns: int, vector_weight: float) -> Float64:
    """Rows whose embedding has `vector_weight` of total variance and whose other columns have 1."""
    others = rows_nk.shape[1] - vector_columns
    scale_k = np.full(rows_nk.shape[1], 1.0 / np.sqrt(max(others, 1)))
    if vector_columns:
        scale_k[:vector_columns] = np.sqrt(vector_weight / vector_columns)
    return rows_nk * scale_k


def _kernels(vector_columns: int, columns: int) -> Iterator[Setting]:
    weights = VECTOR_WEIGHTS if 0 < vector_columns < columns else (1.0,)
    for vector_weight in weights:
        yield Setting(kernel="linear", width=1.0, ridge=1.0, vector_weight=vector_weight)
        for width in WIDTHS:
            yield Setting(kernel="rbf", width=width, ridge=1.0, vector_weight=vector_weight)


def _out_of_fold(rows: Float64, targets: Float64, fold_n: NDArray[np.intp], setting: Setting) -> Float64:
    predictions_nr = np.empty((len(rows), len(RIDGES)))
    gram = _gram(rows, rows, setting.kernel, _gamma(rows, setting))
    for fold in range(FOLDS):
        out = fold_n == fold
        inside = gram[np.ix_(~out, ~out)]
        centred, mean = _centred(inside), targets[~out].mean()
        values, vectors = np.linalg.eigh(centred)
        projected = vectors.T @ (targets[~out] - mean)
        ridges = np.asarray(RIDGES) * np.trace(centred) / len(inside)
        # Rows that are all the same give NaN, which is never the best.
        with np.errstate(divide="ignore", invalid="ignore"):
            duals = vectors @ (projected[:, None] / (np.maximum(values, 0.0)[:, None] + ridges))
            predictions_nr[out] = (mean - (inside @ duals).mean(axis=0)) + gram[np.ix_(out, ~out)] @ duals
    return predictions_nr


def _centred(gram: Float64) -> Float64:
    # In feature space, so that the intercept is not penalised; the dual coefficients then sum to zero.
    rows = gram - gram.mean(axis=0)
    return rows - rows.mean(axis=1, keepdims=True)


def _gamma(rows: Float64, setting: Setting) -> float:
    if setting.kernel == "linear":
        return 0.0
    distances = _squared_distances(rows[:SEARCHED], rows[:SEARCHED])
    median = float(np.median(distances[np.triu_indices(len(distances), 1)])) or 1.0
    return 1.0 / (setting.width**2 * median)


def _gram(left: Float64, right: Float64, kernel: str, gamma: float) -> Float64:
    return left @ right.T if kernel == "linear" else np.exp(-gamma * _squared_distances(left, right))


def _squared_distances(left: Float64, right: Float64) -> Float64:
    squared = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1) - 2 * (left @ right.T)
    return np.maximum(squared, 0.0)
