"""The score that decided a selection, recovered from its decisions and settings, and where the cut lay.

Decisions store the score columns and the margin but not the cut itself. With key = +-score and margin =
key - cut, every row gives the cut; the median of them is used, so rounding in one row does no harm.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.report.selection_data import SelectionReport, used_score_columns
from tamis.settings.samplers import DEFAULT_OPTIONS, SAMPLERS, Sampler, find_sampler


@dataclass(frozen=True, kw_only=True)
class DecidingScore:
    """Scores [n] of the eligible documents, whether each was chosen [n], and the cut (None for a draw)."""

    label: str
    scores: NDArray[np.float64]
    chosen: NDArray[np.bool_]
    cut: float | None
    smaller_is_better: bool


def sampler_of(report: SelectionReport) -> Sampler | None:
    """The sampler named in the settings, or else the only one that uses these score columns."""
    named = report.settings.get("sampler")
    if named:
        return find_sampler(named)
    used = set(used_score_columns(report.decisions))
    fitting = [sampler for sampler in SAMPLERS.values() if set(sampler.score_columns) == used and used]
    return fitting[0] if len(fitting) == 1 else None


def deciding_score(report: SelectionReport) -> DecidingScore | None:
    """The deciding score over eligible documents; None for samplers that use no score."""
    sampler = sampler_of(report)
    if sampler is None or not set(sampler.score_columns) <= set(used_score_columns(report.decisions)):
        return None
    if not sampler.score_columns:
        return None
    options = {name: float(report.settings.get(name, value)) for name, value in DEFAULT_OPTIONS.items()}
    eligible = (
        report.decisions.filter(pl.col("rank").is_not_null())
        .with_columns(score=sampler.score(options).cast(pl.Float64))
        .filter(pl.col("score").is_finite())
    )
    if eligible.is_empty():
        return None
    smaller = sampler.rule == "top_k" and sampler.direction == "lowest"
    scores = eligible["score"].to_numpy()
    cut = None if sampler.rule != "top_k" else _cut(scores, eligible["margin"], smaller)
    label = sampler.formula.format(**options) or " + ".join(sampler.score_columns)
    return DecidingScore(
        label=label.replace("_", " "),
        scores=scores,
        chosen=(eligible["verdict"] == "selected").to_numpy(),
        cut=cut,
        smaller_is_better=smaller,
    )


def _cut(scores: NDArray[np.float64], margins: pl.Series, smaller: bool) -> float | None:
    margin = margins.cast(pl.Float64).to_numpy()
    cuts = scores + margin if smaller else scores - margin
    known = cuts[np.isfinite(cuts)]
    return float(np.median(known)) if len(known) else None
