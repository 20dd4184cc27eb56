"""The sampler page: how far the samplers choose the same documents and rank alike.

Two samplers may rank alike and still choose different documents, since a cut looks only at the top of a
ranking; so overlap and rank agreement stand side by side.
"""

import math
import statistics
from collections.abc import Sequence

import polars as pl

from tamis.comparison.analysis import ComparisonReport
from tamis.report.comparison import comparison_sections
from tamis.report.page import (
    Column,
    Markup,
    count,
    definitions,
    document,
    element,
    number,
    paragraph,
    percent,
    section,
    significant,
    table,
)
from tamis.report.selection_data import SCORES
from tamis.selection.paper import PaperSampler

TERMS = {
    "overlap (Jaccard)": "Documents that both chose, divided by documents that at least one chose: 100 % "
    "when both chose the same, 0 % when they have none in common.",
    "rank agreement (Kendall's tau)": "Compares all pairs of documents: 1 when both samplers order every "
    "pair alike, 0 when the one order says nothing about the other, -1 when one is the reverse of the other.",
}
BLUE_RGB, RED_RGB = (31, 95, 168), (194, 63, 56)


def sampler_page(
    agreement: pl.DataFrame,
    chosen: pl.DataFrame,
    trained: ComparisonReport | None = None,
    paper: Sequence[PaperSampler] = (),
) -> str:
    """The page for pairs (sampler_a, sampler_b, jaccard, kendall_tau) and samplers (sampler, description,
    selected, mean_<score>), for what a model learnt from their choices where one was trained, and for the
    nineteen samplers of the paper."""
    samplers = _samplers(agreement, chosen)
    overlap, tau = _pairs(agreement, "jaccard"), _pairs(agreement, "kendall_tau")
    return document(
        "Samplers compared",
        "Each sampler was asked for the same budget from the same pool. Do they choose the same documents?",
        _answer(overlap),
        *(comparison_sections(trained) if trained else ()),
        section("The samplers", *_samplers_table(chosen)),
        section(
            "Overlap of what they chose",
            paragraph("Shared documents as a share of all documents that either chose.", class_="note"),
            _heatmap(samplers, overlap, share=True),
        ),
        section(
            "Agreement of the whole ranking",
            paragraph(
                "Kendall's tau over all documents that both rank: blue agrees, red disagrees.", class_="note"
            ),
            _heatmap(samplers, tau, share=False),
        ),
        *(_paper(paper) if paper else ()),
        section("Terms", definitions({**TERMS, **_score_terms(chosen)})),
    )


def _samplers(agreement: pl.DataFrame, chosen: pl.DataFrame) -> list[str]:
    listed = chosen["sampler"].to_list()
    paired = {name for column in ("sampler_a", "sampler_b") for name in agreement[column]}
    return [*listed, *sorted(paired - set(listed))]


def _pairs(agreement: pl.DataFrame, column: str) -> dict[frozenset[str], float]:
    rows = agreement.select("sampler_a", "sampler_b", column).iter_rows()
    return {
        frozenset((a, b)): float(value) for a, b, value in rows if value is not None and math.isfinite(value)
    }


def _answer(overlap: dict[frozenset[str], float]) -> Markup:
    pairs = {tuple(sorted(pair)): value for pair, value in overlap.items() if len(pair) == 2}
    if not pairs:
        return paragraph("There is no pair of samplers to compare yet.", class_="answer")
    closest = max(pairs, key=lambda pair: (pairs[pair], pair))
    middle = statistics.median(pairs.values())
    return paragraph(
        f"The closest pair is {closest[0]} and {closest[1]}, with an overlap of {percent(pairs[closest])}; "
        f"the median over {len(pairs)} pairs is {percent(middle)}. Where the overlap is low, the choice of "
        "sampler decides what the model sees.",
        class_="answer",
    )


def _mean_columns(chosen: pl.DataFrame) -> list[str]:
    return [name for name in chosen.columns if name.startswith("mean_")]


def _score_terms(chosen: pl.DataFrame) -> dict[str, str]:
    shown = [name.removeprefix("mean_") for name in _mean_columns(chosen)]
    return {name.replace("_", " "): SCORES[name] for name in shown if name in SCORES}


def _samplers_table(chosen: pl.DataFrame) -> list[Markup]:
    means = _mean_columns(chosen)
    columns = [Column(heading="sampler"), Column(heading="documents", kind="n")]
    columns += [Column(heading=name.replace("_", " "), kind="n") for name in means]
    columns.append(Column(heading="how it chooses"))
    rows = [
        [
            row["sampler"],
            count(row["selected"]),
            *(significant(row[name], 3) for name in means),
            row["description"],
        ]
        for row in chosen.iter_rows(named=True)
    ]
    note = "Means are over the documents that the sampler chose: what it favours and what it ignores."
    return [paragraph(note, class_="note"), table(columns, rows)]


def _paper(samplers: Sequence[PaperSampler]) -> list[Markup]:
    columns = [
        Column(heading="number", kind="n"),
        Column(heading="in the paper"),
        Column(heading="sampler here", kind="s"),
        Column(heading="to have it, add"),
    ]
    rows = [[str(one.number), one.name, one.status, one.needs] for one in samplers]
    note = "Models are yours to choose: those of the paper, or others. A place without one stays empty."
    heading = "The nineteen samplers of the paper (arXiv 2402.09668)"
    return [section(heading, paragraph(note, class_="note"), table(columns, rows))]


def _heatmap(samplers: list[str], values: dict[frozenset[str], float], share: bool) -> Markup:
    if not samplers:
        return paragraph("No samplers.", class_="note")
    head = element("tr", element("th", ""), *(element("th", name, class_="n") for name in samplers))
    body = [
        element("tr", element("th", row), *(_cell(row, column, values, share) for column in samplers))
        for row in samplers
    ]
    return element("div", element("table", element("thead", head), element("tbody", *body)), class_="wide")


def _cell(row: str, column: str, values: dict[frozenset[str], float], share: bool) -> Markup:
    if row == column:
        return element("td", "same", class_="n", style="color:#8a95a0")
    value = values.get(frozenset((row, column)))
    if value is None:
        return element("td", None, class_="n", title="not comparable")
    strength = min(abs(value), 1.0)
    red, green, blue = (
        round(255 - strength * (255 - part)) for part in (BLUE_RGB if value >= 0 else RED_RGB)
    )
    ink = "#fff" if strength > 0.55 else "#1c2733"
    shown = percent(value) if share else number(value, 2)
    return element("td", shown, class_="n", style=f"background:rgb({red},{green},{blue});color:{ink}")
