"""The sampler page: how far the samplers choose the same documents and rank alike, and what it is worth.

Two samplers may rank alike and still choose different documents, since a cut looks only at the top of a
ranking; so the page shows both overlap and rank agreement.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from tamis.comparison.analysis import ComparisonReport
from tamis.report.comparison import TrainedPart, trained_part
from tamis.report.rendering import render
from tamis.samplers.paper import PaperSampler
from tamis.selection.decide import SCORES

BLUE_RGB, RED_RGB = (31, 95, 168), (194, 63, 56)
Pairs = dict[frozenset[str], float]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A pair in a heatmap; a value of None cannot be compared. `style` shades it by its value."""

    same: bool
    value: float | None
    style: str


@dataclass(frozen=True, kw_only=True)
class SamplerPage:
    """`closest`: the largest overlap, and whose it is. `chosen`: a row a sampler, with a column a mean."""

    closest: tuple[float, tuple[str, ...]] | None
    n_pairs: int
    median: float | None
    trained: TrainedPart | None
    chosen: list[dict[str, Any]]
    means: list[str]
    overlap: dict[str, list[Cell]]
    agreement: dict[str, list[Cell]]
    paper: Sequence[PaperSampler]
    scores: dict[str, str]


def sampler_page(
    agreement: pl.DataFrame,
    chosen: pl.DataFrame,
    trained: ComparisonReport | None = None,
    paper: Sequence[PaperSampler] = (),
) -> str:
    """Return the page for pairs (sampler_a, sampler_b, jaccard, kendall_tau), samplers (sampler, description,
    selected, mean_<score>), what a model learnt from their choices, and the nineteen of the paper."""
    overlap = _pairs(agreement, "jaccard")
    ranked = sorted((share, tuple(sorted(pair))) for pair, share in overlap.items())
    listed = chosen["sampler"].to_list()
    paired = {name for column in ("sampler_a", "sampler_b") for name in agreement[column]}
    names = [*listed, *sorted(paired - set(listed))]
    means = [name.removeprefix("mean_") for name in chosen.columns if name.startswith("mean_")]
    return render(
        "samplers.html",
        SamplerPage(
            closest=ranked[-1] if ranked else None,
            n_pairs=len(ranked),
            median=statistics.median(overlap.values()) if ranked else None,
            trained=trained_part(trained) if trained else None,
            chosen=chosen.to_dicts(),
            means=means,
            overlap=_heatmap(names, overlap),
            agreement=_heatmap(names, _pairs(agreement, "kendall_tau")),
            paper=paper,
            scores={name.replace("_", " "): SCORES[name] for name in means if name in SCORES},
        ),
    )


def _pairs(agreement: pl.DataFrame, column: str) -> Pairs:
    return {
        frozenset((a, b)): float(value)
        for a, b, value in agreement.select("sampler_a", "sampler_b", column).iter_rows()
        if a != b and value is not None and math.isfinite(value)
    }


def _heatmap(names: list[str], values: Pairs) -> dict[str, list[Cell]]:
    return {
        row: [_cell(row == column, values.get(frozenset((row, column)))) for column in names] for row in names
    }


def _cell(same: bool, value: float | None) -> Cell:
    if value is None:
        return Cell(same=same, value=value, style="")
    strength = min(abs(value), 1.0)
    shade = (round(255 - strength * (255 - part)) for part in (BLUE_RGB if value >= 0 else RED_RGB))
    ink = "#fff" if strength > 0.55 else "#1c2733"
    return Cell(same=same, value=value, style=f"background:rgb({','.join(map(str, shade))});color:{ink}")
