"""The score that decided a selection, recovered from its decisions and settings, and where the cut lay.

Decisions store the score columns and the margin but not the cut itself. With key = +-score and margin =
key - cut, every row gives the cut; the median of them is used, so rounding in one row does no harm.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.settings.samplers import DEFAULT_OPTIONS, SAMPLERS, Sampler, find_sampler

SCORES: dict[str, str] = {
    "transport_gradient": "How much the optimal transport distance between the pool and the target grows "
    "when this document gets more weight; no unit, smaller is better.",
    "gradient_away": "How much the optimal transport distance between the pool and the target to keep away "
    "from grows when this document gets more weight; no unit, larger is better.",
    "quality": "Quality from 0 (worst) to 1 (best); rises with the predicted log odds that the judge calls "
    "the text worth training on.",
    "judge_margin_predicted": "Predicted log odds that the judge calls the text worth training on; larger is "
    "better.",
    "density": "How many similar documents the pool contains; documents are drawn with weight 1 / density.",
    "nearest_cost": "Transport cost from the document to the nearest target example; no unit, smaller is "
    "nearer.",
    "method_score": "Score that the sampler computed itself for this selection; the document with the "
    "smallest score is selected first.",
    "bits_per_byte": "Bits that a small language model needs per byte of the text, on average; fewer means "
    "that the text is more predictable.",
}
"""What each score is, for people."""


@dataclass(frozen=True, kw_only=True)
class DecidingScore:
    """Scores [n] of the eligible documents, whether each was chosen [n], and the cut (None for a draw).

    `divided`: each group of documents has a cut of its own, so there is none for all.
    """

    label: str
    scores: NDArray[np.float64]
    chosen: NDArray[np.bool_]
    cut: float | None
    smaller_is_better: bool
    divided: bool = False


def used_score_columns(decisions: pl.DataFrame) -> tuple[str, ...]:
    """Return the known score columns that hold any value."""
    return tuple(name for name in SCORES if name in decisions.columns and decisions[name].count())


def sampler_of(decisions: pl.DataFrame, settings: Mapping[str, str]) -> Sampler | None:
    """Return the sampler named in the settings, or else the only one that uses these score columns."""
    if named := settings.get("sampler"):
        return find_sampler(named)
    used = set(used_score_columns(decisions))
    fitting = [sampler for sampler in SAMPLERS.values() if set(sampler.score_columns) == used and used]
    return fitting[0] if len(fitting) == 1 else None


def deciding_score(decisions: pl.DataFrame, settings: Mapping[str, str]) -> DecidingScore | None:
    """Return the deciding score over eligible documents; None for samplers that use no score."""
    sampler = sampler_of(decisions, settings)
    if sampler is None or not sampler.score_columns:
        return None
    if not set(sampler.score_columns) <= set(used_score_columns(decisions)):
        return None
    options = {name: float(settings.get(name, value)) for name, value in DEFAULT_OPTIONS.items()}
    eligible = (
        decisions.filter(pl.col("rank").is_not_null())
        .with_columns(score=sampler.score(options).cast(pl.Float64))
        .filter(pl.col("score").is_finite())
    )
    if eligible.is_empty():
        return None
    smaller = sampler.rule == "top_k" and sampler.direction == "lowest"
    scores = eligible["score"].to_numpy()
    divided = "budget_group" in eligible.columns and eligible["budget_group"].count() > 0
    cut = None if sampler.rule != "top_k" or divided else _cut(scores, eligible["margin"], smaller)
    label = sampler.formula.format(**options) or " + ".join(sampler.score_columns)
    return DecidingScore(
        label=label.replace("_", " "),
        scores=scores,
        chosen=(eligible["verdict"] == "selected").to_numpy(),
        cut=cut,
        smaller_is_better=smaller,
        divided=divided,
    )


def _cut(scores: NDArray[np.float64], margins: pl.Series, smaller: bool) -> float | None:
    margin = margins.cast(pl.Float64).to_numpy()
    cuts = scores + margin if smaller else scores - margin
    known = cuts[np.isfinite(cuts)]
    return float(np.median(known)) if len(known) else None
