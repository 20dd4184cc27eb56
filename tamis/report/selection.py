"""The selection page: what was chosen out of what, by which score, and why each other document was not.

Only the documents around the cut, at the top and in the middle have text; a million rows take a second.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from tamis.report.mix import RandomBaseline
from tamis.report.rendering import data_uri, render
from tamis.report.selection_data import (
    BEST,
    LAST,
    MIDDLE,
    MISSED,
    DividedBudget,
    SelectionReport,
    has_zoom,
    selection_plot_png,
    shown_documents,
    source_mix,
    words_of,
)
from tamis.report.serving import served_page_name
from tamis.selection.decide import (
    SCORES,
    SENTENCES,
    DecidingScore,
    Reason,
    deciding_score,
    sampler_of,
    used_score_columns,
)
from tamis.settings.samplers import Sampler

PARTS = {
    BEST: ("The best", "What the sampler likes most."),
    MIDDLE: ("From the middle of the choice", "What a typical chosen document is like."),
    LAST: (
        "The last ones in",
        "What the end of the budget was spent on; the last document is next to the cut.",
    ),
    MISSED: ("Those that just missed", "What a larger budget would add first."),
}
PARTS_OF_A_DRAW = PARTS | {
    BEST: ("The first ones drawn", "In the order of the draw, which depends partly on chance."),
    LAST: ("The last ones drawn", "The last document is next to the cut."),
    MISSED: ("Those that were nearly drawn", "What a larger budget would add first."),
}
"""For samplers that draw: what comes first is not what is best."""
MISSED_OF_GROUPS = (
    "The first ones left out",
    "In the sampler's order. Each was left out because the whole budget or the share of its group was full.",
)


@dataclass(frozen=True, kw_only=True)
class SelectionPage:
    """Counts of documents. `reasons`: name, documents, meaning; `sources`: name, in the pool, chosen.

    `words`: what score and margin mean. `several`: how many of the chosen are in more than one source.
    `served`: the file of the page about its target, "" without one.
    `parts`: heading, what to look for, and rows of decisions with their sources and excerpt; `border`:
    heading and rows likewise, of documents at the limit of `form`, which is `limit` in words.
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
    words: list[str]
    several: int
    parts: list[tuple[str, str, list[dict[str, Any]]]]
    scores: dict[str, str]
    settings: Mapping[str, str]
    mean_margin: Any
    baseline: RandomBaseline | None
    divided: DividedBudget | None
    files_lost: Sequence[str]
    served: str
    warnings: Sequence[str]
    border: list[tuple[str, list[dict[str, Any]]]]
    limit: str
    target: str | None
    holds_out: bool
    alone: bool


def selection_page(report: SelectionReport, plot: bytes | None = None) -> str:
    """Return the whole page; `plot` is `selection_plot_png(report)`, where it has been drawn already."""
    decisions = report.decisions
    chosen = decisions.filter(pl.col("verdict") == "selected")
    score, sampler = deciding_score(decisions, report.settings), sampler_of(decisions, report.settings)
    parts = PARTS_OF_A_DRAW if sampler and sampler.rule != "top_k" else PARTS
    return render(
        "selection.html",
        SelectionPage(
            name=report.name,
            pool=len(decisions),
            eligible=decisions["rank"].count(),
            chosen=len(chosen),
            tokens=report.tokens.words if report.tokens else "",
            share=len(chosen) / len(decisions) if len(decisions) else None,
            sampler=sampler,
            reasons=reasons_of(decisions),
            sources=source_mix(report).rows(),
            picture=data_uri(plot or selection_plot_png(report)),
            score=score,
            zoomed=score is not None and has_zoom(score),
            words=words_of(sampler, score),
            several=chosen.join(report.documents.filter(pl.col("more").list.len() > 0), on="doc_id").height,
            parts=_parts(report, parts | ({MISSED: MISSED_OF_GROUPS} if report.divided else {})),
            scores={name: SCORES[name] for name in used_score_columns(decisions)},
            settings=report.settings,
            mean_margin=chosen["margin"].mean(),
            baseline=report.baseline,
            divided=report.divided,
            files_lost=report.files_lost,
            served=served_page_name(report.name) if report.target and not report.alone else "",
            warnings=report.warnings,
            border=_border(report),
            limit=report.border.limit if report.border else "",
            target=report.target,
            holds_out=report.holds_out,
            alone=report.alone,
        ),
    )


def reasons_of(decisions: pl.DataFrame) -> list[tuple[str, int, str]]:
    """Return name, documents and meaning of each reason, the chosen first."""
    counts = dict(decisions.group_by("reason").len().iter_rows())
    known = [reason.value for reason in reversed(Reason) if reason.value in counts]
    unknown = sorted(reason for reason in counts if reason not in known)
    meanings = {**SENTENCES, Reason.KEEP_OUT: f"{SENTENCES[Reason.KEEP_OUT]}{_by_benchmark(decisions)}"}
    return [(name, counts[name], meanings.get(name, "")) for name in (*known, *unknown)]


def _by_benchmark(decisions: pl.DataFrame) -> str:
    """Return how many documents give each benchmark away, as a sentence after another."""
    if "detail" not in decisions.columns:
        return ""
    named = decisions.filter(reason=Reason.KEEP_OUT.value)["detail"].drop_nulls().str.split(", ").explode()
    counts = named.value_counts(name="count").rename({named.name: "benchmark"}).sort("benchmark")
    return " By benchmark: " + ", ".join(f"{name} {count:,}" for name, count in counts.iter_rows()) + "."


def _parts(
    report: SelectionReport, parts: Mapping[str, tuple[str, str]]
) -> list[tuple[str, str, list[dict[str, Any]]]]:
    """Return the documents that are shown; parts without a document, but for the ends, are left out."""
    return [
        (*parts[part], _with_texts(report, rows))
        for part, rows in shown_documents(report.decisions).items()
        if len(rows) or part in (BEST, MISSED)
    ]


def _border(report: SelectionReport) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return the documents at the limit of `form`, nothing where none fell."""
    if report.border is None or report.border.fell.is_empty():
        return []
    sides = {"Stayed": report.border.stayed, "Fell": report.border.fell}
    return [(heading, _with_texts(report, rows)) for heading, rows in sides.items()]


def _with_texts(report: SelectionReport, rows: pl.DataFrame) -> list[dict[str, Any]]:
    texts = report.documents.unique("doc_id", keep="first", maintain_order=True)
    return rows.join(texts, on="doc_id", how="left", maintain_order="left").to_dicts()
