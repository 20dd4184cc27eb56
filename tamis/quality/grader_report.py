"""Measure how well a grader replaces the judge, on documents neither its fit nor its setting has seen.

Rank correlation says whether the order is right, AUC and recall at the cut whether a selection would be.
With 60 held-out documents a rank correlation of .5 is known to about +-.2, so passing asks for more than a
larger number: it must win in nine of ten resamplings of the hold-out.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.base.ranks import spearman
from tamis.quality.noise import auc
from tamis.quality.noise_ceiling import NoiseCeiling, noise_ceiling

RESAMPLES = 1_000
CONFIDENCE = 0.9

Float64 = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class GraderReport:
    """Figures on the hold-out part.

    spearman: rank correlation of prediction and margin, with its 95 % bootstrap interval; auc_at_cut: of
    the prediction for "among the judge's best `cut_share`"; top_k_recall: overlap of the two best
    `cut_share`s; length_only_spearman: the same correlation for length, its sign taken from the training
    part; beats_length: share of resamplings in which the grader wins; passed: it is at least .9 and the
    correlation is positive; ceiling: what the judge's own noise allows at most, None when too few documents
    were asked about twice.
    """

    spearman: float
    spearman_low: float
    spearman_high: float
    auc_at_cut: float
    top_k_recall: float
    cut_share: float
    length_only_spearman: float
    beats_length: float
    n_train: int
    n_hold_out: int
    passed: bool
    ceiling: NoiseCeiling | None = None


NOT_TESTED = GraderReport(
    spearman=0.0,
    spearman_low=0.0,
    spearman_high=0.0,
    auc_at_cut=0.5,
    top_k_recall=0.0,
    cut_share=0.0,
    length_only_spearman=0.0,
    beats_length=0.0,
    n_train=0,
    n_hold_out=0,
    passed=False,
)


def report_from(stored: dict[str, Any]) -> GraderReport:
    """A report from its fields as they were stored."""
    ceiling = stored.get("ceiling")
    return GraderReport(**stored | {"ceiling": NoiseCeiling(**ceiling) if ceiling else None})


@dataclass(frozen=True, kw_only=True)
class HoldOut:
    """Predictions and the judge's margins [n] of the documents on hold-out.

    margins_again_n: of the judge's second asking, NaN where there was none. baseline_n: what length alone
    predicts.
    """

    predicted_n: Float64
    margins_n: Float64
    margins_again_n: Float64
    baseline_n: Float64


def report_on(hold_out: HoldOut, *, n_train: int, cut_share: float, seed: int) -> GraderReport:
    """Report of predictions against the judge's margins, all of hold-out documents."""
    predicted_n, margins_n, baseline = hold_out.predicted_n, hold_out.margins_n, hold_out.baseline_n
    count = len(margins_n)
    best = max(round(cut_share * count), 1)
    chosen, wanted = (set(np.argsort(-values, kind="stable")[:best]) for values in (predicted_n, margins_n))
    is_wanted = np.isin(np.arange(count), list(wanted))
    drawn = np.random.default_rng(seed).integers(0, count, (RESAMPLES, count))
    ours = np.array([spearman(predicted_n[rows], margins_n[rows]) for rows in drawn])
    theirs = np.array([spearman(baseline[rows], margins_n[rows]) for rows in drawn])
    low, high = np.quantile(ours, [0.025, 0.975])
    correlation, beats = spearman(predicted_n, margins_n), float(np.mean(ours > np.maximum(theirs, 0.0)))
    return GraderReport(
        spearman=correlation,
        spearman_low=float(low),
        spearman_high=float(high),
        auc_at_cut=auc(predicted_n[is_wanted], predicted_n[~is_wanted], resamples=1).value,
        top_k_recall=len(chosen & wanted) / best,
        cut_share=cut_share,
        length_only_spearman=spearman(baseline, margins_n),
        beats_length=beats,
        n_train=n_train,
        n_hold_out=count,
        passed=beats >= CONFIDENCE and correlation > 0,
        ceiling=noise_ceiling(margins_n, hold_out.margins_again_n, cut_share=cut_share, seed=seed),
    )


def length_sign(lengths_n: Float64, margins_n: Float64) -> float:
    """1 if the judge prefers long documents of the training part, -1 if short ones."""
    return 1.0 if spearman(lengths_n, margins_n) >= 0 else -1.0
