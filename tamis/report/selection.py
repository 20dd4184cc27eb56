"""The selection page: what was chosen out of what, by which score, and why each other document was not.

Only the documents on both sides of the cut and at the top have text; a pool of a million rows takes a second.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from tamis.report.figures import data_uri
from tamis.report.random_baseline import RandomBaseline
from tamis.report.rendering import render
from tamis.report.selection_data import SHOWN_DOCUMENTS, SelectionReport, first_ranked, source_mix
from tamis.report.selection_plot import has_zoom, selection_plot_png
from tamis.selection.deciding import SCORES, DecidingScore, deciding_score, sampler_of, used_score_columns
from tamis.selection.reasons import SENTENCES, Reason
from tamis.settings.samplers import Sampler


@dataclass(frozen=True, kw_only=True)
class SelectionPage:
    """Counts of documents. `reasons`: name, documents, meaning; `sources`: name, in the pool, chosen.

    `best`, `missed`: rows of decisions, with their source and excerpt.
    """

    name: str
    pool: int
    eligible: int
    chosen: int
    tokens: str
    share: float | None
    sampler: Sampler | None
    reasons: list[tuple[str, int, str]]
    sources: list[tuple[Any, ...]]
    picture: str
    score: DecidingScore | None
    zoomed: bool
    shown: int
    best: list[dict[str, Any]]
    missed: list[dict[str, Any]]
    scores: dict[str, str]
    settings: Mapping[str, str]
    mean_margin: Any
    baseline: RandomBaseline | None


def selection_page(report: SelectionReport, plot: bytes | None = None) -> str:
    """Return the whole page; `plot` is `selection_plot_png(report)`, where it has been drawn already."""
    decisions = report.decisions
    chosen = decisions.filter(pl.col("verdict") == "selected")
    score = deciding_score(decisions, report.settings)
    page = SelectionPage(
        name=report.name,
        pool=len(decisions),
        eligible=decisions["rank"].count(),
        chosen=len(chosen),
        tokens=report.tokens.words if report.tokens else "",
        share=len(chosen) / len(decisions) if len(decisions) else None,
        sampler=sampler_of(decisions, report.settings),
        reasons=_reasons(decisions),
        sources=source_mix(report).rows(),
        picture=data_uri(plot or selection_plot_png(report)),
        score=score,
        zoomed=score is not None and has_zoom(score),
        shown=SHOWN_DOCUMENTS,
        best=_documents(report, "selected"),
        missed=_documents(report, "rejected"),
        scores={name: SCORES[name] for name in used_score_columns(decisions)},
        settings=report.settings,
        mean_margin=chosen["margin"].mean(),
        baseline=report.baseline,
    )
    return render("selection.html", page)


def _reasons(decisions: pl.DataFrame) -> list[tuple[str, int, str]]:
    """Return name, documents and meaning of each reason, the chosen first."""
    counts = dict(decisions.group_by("reason").len().iter_rows())
    known = [reason.value for reason in reversed(Reason) if reason.value in counts]
    unknown = sorted(reason for reason in counts if reason not in known)
    return [(name, counts[name], SENTENCES.get(name, "")) for name in (*known, *unknown)]


def _documents(report: SelectionReport, verdict: str) -> list[dict[str, Any]]:
    """Return the first decisions of a verdict, with the source and the beginning of each document."""
    texts = report.documents.unique("doc_id", keep="first", maintain_order=True)
    ranked = first_ranked(report.decisions, verdict)
    return ranked.join(texts, on="doc_id", how="left", maintain_order="left").to_dicts()
