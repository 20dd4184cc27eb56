"""Quality grader: a cheap regression that extends the judge's margins from a sample to every document.

Score distillation (FineWeb-Edu, JQL): features of a document -> the judge's margin, the setting chosen by
cross-validation on the training part, all figures of the report from the hold-out part, which nothing else
sees. The judge reads 2 documents a second and core, the grader 300,000. Length alone is the baseline it
must beat: on crowd-judged arguments length had a rank correlation of .64 and a bag of words added nothing.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tamis.base.archives import UnreadableFileError, read_npz
from tamis.base.arguments import as_floats, as_list, as_share, as_whole
from tamis.base.errors import BadArgumentError, PermanentError
from tamis.quality.grader_report import NOT_TESTED, GraderReport, HoldOut, length_sign, report_from, report_on
from tamis.quality.kernel_ridge import KernelRidge, choose_setting, fit_kernel_ridge, weighted
from tamis.quality.sample import hash_order

GRADER_CODE_VERSION = "1"  # raised by hand when a grader fitted on the same judgments would differ
FEWEST_TRAINED, FEWEST_HELD_OUT = 10, 5
BLOCK = 8_192  # rows predicted together


class TooFewJudgedError(PermanentError, ValueError):
    """Too few judged documents to fit a grader, or to say how good it is."""

    def __init__(self, trained: int, held_out: int) -> None:
        self.trained, self.held_out = trained, held_out
        super().__init__(
            f"a grader needs at least {FEWEST_TRAINED} judged documents for training and {FEWEST_HELD_OUT} "
            f"for testing, but there are only {trained} and {held_out}; raise sample in [judge], or, while "
            "the pool is this small, remove [judge] and the samplers that need quality"
        )


@dataclass(frozen=True, kw_only=True)
class Grader:
    """A fitted grader. Features [n, k] must have the columns it was fitted on."""

    medians_k: NDArray[np.float64]
    means_k: NDArray[np.float64]
    scales_k: NDArray[np.float64]
    vector_columns: int
    vector_weight: float
    regression: KernelRidge
    margin_mean: float
    margin_deviation: float
    report: GraderReport

    def predict(self, features_nk: ArrayLike) -> NDArray[np.float32]:
        """The judge's margin [n], predicted. NaN features take the training median.

        Raises `BadArgumentError` when the columns do not fit.
        """
        expected = f"[n, {len(self.medians_k)}], the columns that it was fitted on"
        given = isinstance(features_nk, np.ndarray)  # float32 is widened a block at a time
        features = np.asarray(features_nk) if given else as_floats("features_nk", features_nk, expected)
        if features.ndim != 2 or features.shape[1] != len(self.medians_k):
            raise BadArgumentError("features_nk", f"shape {list(features.shape)}", expected)
        blocks = (self._predict(features[start : start + BLOCK]) for start in range(0, len(features), BLOCK))
        return np.concatenate([np.empty(0, dtype=np.float32), *blocks])

    def quality(self, features_nk: ArrayLike) -> NDArray[np.float32]:
        """Quality [n] in (0, 1): sigmoid of the predicted margin, standardised.

        Mean and deviation are those of predictions out of fold on the training part, so 0.5 is the typical
        judged document and a document's quality depends on no other document. It orders documents as
        `predict` does.
        """
        standard = (self.predict(features_nk).astype(np.float64) - self.margin_mean) / self.margin_deviation
        return (1.0 / (1.0 + np.exp(-np.clip(standard, -16.0, 16.0)))).astype(np.float32)

    def _predict(self, features: NDArray[np.floating]) -> NDArray[np.float32]:
        rows = np.asarray(features, dtype=np.float64)
        rows = (np.where(np.isnan(rows), self.medians_k, rows) - self.means_k) / self.scales_k
        rows = weighted(rows, self.vector_columns, self.vector_weight)
        return self.regression.predict(rows).astype(np.float32)

    def save(self, path: str | Path) -> None:
        """Write to exactly that path: arrays and JSON, nothing executable."""
        numbers = {
            "vector_columns": self.vector_columns,
            "vector_weight": self.vector_weight,
            "kernel": self.regression.kernel,
            "gamma": self.regression.gamma,
            "intercept": self.regression.intercept,
            "margin_mean": self.margin_mean,
            "margin_deviation": self.margin_deviation,
            "report": asdict(self.report),
        }
        with Path(path).open("wb") as stream:
            np.savez(
                stream,
                medians=self.medians_k,
                means=self.means_k,
                scales=self.scales_k,
                anchors=self.regression.anchors,
                coefficients=self.regression.coefficients,
                numbers=np.array(json.dumps(numbers)),
            )

    @staticmethod
    def load(path: str | Path) -> "Grader":
        """Read what `save` wrote; predictions are equal to the bit. Raises `UnreadableFileError`."""
        arrays = read_npz(Path(path))
        try:
            numbers = json.loads(str(arrays["numbers"]))
            return Grader(
                medians_k=arrays["medians"],
                means_k=arrays["means"],
                scales_k=arrays["scales"],
                vector_columns=numbers["vector_columns"],
                vector_weight=numbers["vector_weight"],
                regression=KernelRidge(
                    kernel=numbers["kernel"],
                    gamma=numbers["gamma"],
                    anchors=arrays["anchors"],
                    coefficients=arrays["coefficients"],
                    intercept=numbers["intercept"],
                ),
                margin_mean=numbers["margin_mean"],
                margin_deviation=numbers["margin_deviation"],
                report=report_from(numbers["report"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UnreadableFileError(str(path), "not a file written by Grader.save") from error


def grader_features(
    vectors_nd: ArrayLike, surface_nk: ArrayLike, bits_per_byte_n: ArrayLike
) -> NDArray[np.float32]:
    """Columns of the grader [n, d+k+2]: embedding, surface, perplexity, whether that is missing.

    A missing perplexity stays NaN here; the grader puts its training median in. Raises `BadArgumentError`
    for rows that do not fit.
    """
    vectors = _matrix("vectors_nd", vectors_nd, np.float32)
    surface = _matrix("surface_nk", surface_nk, np.float32)
    bits = as_floats("bits_per_byte_n", bits_per_byte_n, "numbers [n]", np.float32).reshape(-1, 1)
    if not len(vectors) == len(surface) == len(bits):
        raise BadArgumentError(
            "vectors_nd, surface_nk, bits_per_byte_n",
            f"{len(vectors)}, {len(surface)} and {len(bits)} rows",
            "the same number of rows",
        )
    return np.concatenate([vectors, surface, bits, np.isnan(bits)], axis=1)


def _matrix(argument: str, values: ArrayLike, dtype: type[np.floating[Any]]) -> NDArray[Any]:
    """Return features [n, k] as floats; raise `BadArgumentError` for another shape."""
    matrix_nk = as_floats(argument, values, "numbers [n, k]", dtype)
    if matrix_nk.ndim != 2:
        raise BadArgumentError(argument, f"shape {list(matrix_nk.shape)}", "numbers [n, k]")
    return matrix_nk


def fit_grader(
    features_nk: ArrayLike,
    margins_n: ArrayLike,
    hold_out_n: ArrayLike,
    *,
    doc_ids: Sequence[str],
    lengths_n: ArrayLike,
    margins_again_n: ArrayLike | None = None,
    vector_columns: int = 0,
    cut_share: float = 0.2,
    seed: int = 0,
) -> Grader:
    """Fit a grader to the judge's margins where `hold_out_n` is False and report on the rest.

    features_nk: the first `vector_columns` are an embedding; NaN = missing. margins_n: NaN = the judge gave
    none, such rows are left out. lengths_n: characters, for the baseline. margins_again_n: of a second
    asking, for the noise ceiling; NaN = not asked. cut_share: the share a selection keeps, for AUC and
    recall. The result does not depend on the order of rows (folds follow hashed ids and
    the seed). Raises `TooFewJudgedError`; `BadArgumentError` for lengths that differ, repeated ids and
    features that are infinite.
    """
    doc_ids = as_list("doc_ids", doc_ids, "strings")
    features, count = _matrix("features_nk", features_nk, np.float64), len(doc_ids)
    margins, lengths = _column("margins_n", margins_n, count), _column("lengths_n", lengths_n, count)
    hold_out = _column("hold_out_n", hold_out_n, count).astype(np.bool_)
    given = np.full(count, np.nan) if margins_again_n is None else margins_again_n
    again = _column("margins_again_n", given, count)
    if len(features) != count:
        raise BadArgumentError("features_nk", f"{len(features)} rows", f"{count}, one per document")
    vector_columns, seed = as_whole("vector_columns", vector_columns, 0), as_whole("seed", seed, 0)
    cut_share = as_share("cut_share", cut_share)
    order = hash_order(doc_ids, seed)
    order = order[~np.isnan(margins[order])]
    train, held = order[~hold_out[order]], order[hold_out[order]]
    if len(train) < FEWEST_TRAINED or len(held) < FEWEST_HELD_OUT:
        raise TooFewJudgedError(len(train), len(held))
    grader = _fitted(features[train], margins[train], vector_columns)
    report = report_on(
        HoldOut(
            predicted_n=grader.predict(features[held]).astype(np.float64),
            margins_n=margins[held],
            margins_again_n=again[held],
            baseline_n=length_sign(lengths[train], margins[train]) * lengths[held],
        ),
        n_train=len(train),
        cut_share=cut_share,
        seed=seed,
    )
    return replace(grader, report=report)


def _column(argument: str, values: ArrayLike, count: int) -> NDArray[np.float64]:
    column_n = as_floats(argument, values, f"[{count}], one number per document")
    if column_n.shape != (count,):
        found, expected = f"shape {list(column_n.shape)}", f"[{count}], one number per document"
        raise BadArgumentError(argument, found, expected)
    return column_n


def _fitted(features: NDArray[np.float64], margins: NDArray[np.float64], vector_columns: int) -> Grader:
    present = ~np.isnan(features).all(axis=0)
    medians = np.zeros(features.shape[1])
    medians[present] = np.nanmedian(features[:, present], axis=0)
    filled = np.where(np.isnan(features), medians, features)
    with np.errstate(over="ignore", invalid="ignore"):
        means, deviations = filled.mean(axis=0), filled.std(axis=0)
    if (wrong := np.flatnonzero(~np.isfinite(deviations))).size:
        found = f"column {wrong[0]} is infinite or too large"
        raise BadArgumentError("features_nk", found, "finite numbers, or NaN for missing ones")
    scales = np.where(
        deviations > 1e-9, deviations, 1.0
    )  # a constant column says nothing and must not explode
    rows = (filled - means) / scales
    setting, out_of_fold = choose_setting(rows, margins, vector_columns)
    scaled = weighted(rows, vector_columns, setting.vector_weight)
    spread = float(out_of_fold.std())
    return Grader(
        medians_k=medians,
        means_k=means,
        scales_k=scales,
        vector_columns=vector_columns,
        vector_weight=setting.vector_weight,
        regression=fit_kernel_ridge(scaled, margins, setting),
        margin_mean=float(out_of_fold.mean()),
        margin_deviation=spread if spread > 1e-9 else 1.0,
        report=NOT_TESTED,
    )
