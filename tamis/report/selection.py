"""The selection page: what was chosen out of what, by which score, and why each other document was not.

It answers a reader who sees the numbers for the first time, so every reason code has a sentence. Only the
20 documents on both sides of the cut and at the top carry text; a pool of a million rows takes a second.
"""

import polars as pl

from tamis.report.page import (
    Column,
    Content,
    Markup,
    count,
    definitions,
    document,
    element,
    image,
    number,
    paragraph,
    percent,
    section,
    significant,
    table,
)
from tamis.report.selection_data import SCORES, SelectionReport, source_mix, used_score_columns
from tamis.report.selection_plot import histogram_note, selection_plot_png
from tamis.report.selection_score import sampler_of
from tamis.selection.reasons import Reason

SHOWN_DOCUMENTS = 10
BAR_EM = 9.0

SENTENCES: dict[str, str] = {
    Reason.WITHIN_BUDGET: "Chosen: eligible, and ranked before the cut.",
    Reason.OVER_BUDGET: "Eligible, but ranked behind the cut: the budget was spent on better documents.",
    Reason.NEAR_DUPLICATE: "Nearly the same text as another document, which stands in its place.",
    Reason.HEURISTIC: "Breaks a rule of form, such as too few words or too much repetition.",
    Reason.LANGUAGE: "Is in another language than those wanted.",
    Reason.PERSONAL_DATA: "Holds more e-mail addresses, phone numbers and the like than is tolerated.",
    Reason.SOURCE: "Stands in no source that is allowed.",
    Reason.LICENCE: "Stands under no licence that is allowed.",
    Reason.CONTAMINATED: "Shares long word sequences with the held-out examples; training on it would make "
    "the evaluation look better than it is.",
    Reason.TARGET_EXAMPLE: "Is itself one of the target's training examples, so it is used there already.",
    Reason.HELD_OUT_EXAMPLE: "Is itself one of the held-out examples that models are evaluated on.",
    Reason.WITHDRAWN: "Its owner took it back, so nothing may be trained on it.",
    Reason.ARRIVED_LATER: "Came after the version of the selection that it is kept at.",
    Reason.JUDGE_REFUSED: "The judge's server refused to read it, so it has no score.",
    Reason.MODEL_FAILED: "A model or its tokenizer failed on it, so it has no score.",
    Reason.NO_VECTOR: "The encoder gave a vector that is zero or not finite, so it cannot be ranked.",
    Reason.NO_SCORE: "A score (or a token count) that the ranking needs is missing.",
}
TERMS = {
    "pool": "All distinct documents that could have been chosen.",
    "rank": "Place in the order of the deciding score among eligible documents, 1 is best.",
    "margin": "Distance to the cut in units of the deciding score, positive on the chosen side. For samplers "
    "that draw, the distance of the random number that decides.",
    "lift": "Share of a source among the chosen divided by its share of the pool; above 1 it is favoured.",
}


def selection_page(report: SelectionReport, plot: bytes | None = None) -> str:
    """The whole page as HTML; `plot` is `selection_plot_png(report)`, where it has been drawn already."""
    chosen = report.decisions.filter(pl.col("verdict") == "selected")
    return document(
        f"Selection {report.name}",
        "Which documents of the pool were chosen for training, and the reason for each that was not.",
        _answer(report, chosen),
        section("Reasons: every document has exactly one", _reasons_table(report.decisions)),
        section("Where the chosen come from", *_mix(report, chosen)),
        section("The deciding score", *_histogram(report, plot)),
        section(f"The {SHOWN_DOCUMENTS} best chosen", _documents_table(report, "selected")),
        section(f"The {SHOWN_DOCUMENTS} that just missed", _documents_table(report, "rejected")),
        section("Settings", _settings_table(report)),
        section("Terms", definitions({**TERMS, **_used_scores(report)})),
    )


def _used_scores(report: SelectionReport) -> dict[str, str]:
    return {name: SCORES[name] for name in used_score_columns(report.decisions)}


def _answer(report: SelectionReport, chosen: pl.DataFrame) -> Markup:
    pool = len(report.decisions)
    sampler = sampler_of(report)
    eligible = report.decisions["rank"].count()
    how = f" Sampler {sampler.name}: {sampler.description}" if sampler else ""
    share = percent(len(chosen) / pool) if pool else "–"
    return paragraph(
        element("strong", f"{count(len(chosen))} of {count(pool)} documents were chosen"),
        f" ({share} of the pool; {count(eligible)} were eligible).{how}",
        class_="answer",
    )


def _reasons_table(decisions: pl.DataFrame) -> Markup:
    counts = dict(decisions.group_by("reason").len().iter_rows())
    known = [reason.value for reason in reversed(Reason) if reason.value in counts]
    unknown = sorted(str(reason) for reason in counts if reason not in known)
    rows: list[list[Content]] = []
    for reason in [*known, *unknown]:
        number_of = counts.get(reason, 0)
        share = percent(number_of / len(decisions))
        rows.append([reason.replace("_", " "), count(number_of), share, SENTENCES.get(reason, "")])
    rows.append(["all", count(len(decisions)), percent(1.0) if len(decisions) else None, ""])
    columns = [
        Column(heading="reason"),
        Column(heading="documents", kind="n"),
        Column(heading="share of pool", kind="n"),
        Column(heading="meaning"),
    ]
    return table(columns, rows, frozenset({len(rows) - 1}))


def _mix(report: SelectionReport, chosen: pl.DataFrame) -> list[Markup]:
    mix = source_mix(report)
    headings = ("pool", "share", "chosen", "share", "lift")
    columns = [Column(heading="source"), *(Column(heading=name, kind="n") for name in headings)]
    columns.append(Column(heading="share of pool (grey) and of chosen (blue)"))
    rows: list[list[Content]] = []
    for source, in_pool, in_chosen in mix.iter_rows():
        shares = (in_pool / max(len(report.decisions), 1), in_chosen / max(len(chosen), 1))
        lift = f"{shares[1] / shares[0]:.2f}" if len(chosen) else None
        bars = Markup(_bar(shares[0], "bar") + "<br>" + _bar(shares[1], "bar chosen"))
        rows.append(
            [source, count(in_pool), percent(shares[0]), count(in_chosen), percent(shares[1]), lift, bars]
        )
    note = (
        "A source is the shard (file) that a document came from; one in several shards counts for the first."
    )
    return [paragraph(note, class_="note"), table(columns, rows)]


def _bar(share: float, kind: str) -> Markup:
    return element("span", class_=kind, style=f"width:{max(BAR_EM * share, 0.05):.2f}em")


def _histogram(report: SelectionReport, plot: bytes | None) -> list[Markup]:
    drawn = plot or selection_plot_png(report)
    return [
        image(drawn, "Deciding score of all eligible documents, chosen ones in blue"),
        paragraph(histogram_note(report), class_="note"),
    ]


def _documents_table(report: SelectionReport, verdict: str) -> Markup:
    ranked = report.decisions.filter(pl.col("rank").is_not_null() & (pl.col("verdict") == verdict))
    texts = report.documents.unique("doc_id", keep="first", maintain_order=True)
    shown = (
        ranked.sort("rank").head(SHOWN_DOCUMENTS).join(texts, on="doc_id", how="left", maintain_order="left")
    )
    if shown.is_empty():
        return paragraph("None.", class_="note")
    scores = used_score_columns(report.decisions)
    headings = ("rank", *(name.replace("_", " ") for name in scores), "margin")
    columns = [*(Column(heading=name, kind="n") for name in headings)]
    columns += [Column(heading="source and document id"), Column(heading="beginning of the text")]
    rows = [
        [
            count(row["rank"]),
            *(significant(row[name]) for name in scores),
            significant(row["margin"]),
            Markup(element("span", row["source"]) + "<br>" + element("code", row["doc_id"])),
            element("p", row["excerpt"], class_="excerpt"),
        ]
        for row in shown.iter_rows(named=True)
    ]
    return table(columns, rows)


def _settings_table(report: SelectionReport) -> Markup:
    mean = report.decisions.filter(pl.col("verdict") == "selected")["margin"].mean()
    rows: list[list[Content]] = [[name, value] for name, value in report.settings.items()]
    rows.append(["mean margin of the chosen", number(mean, 4) if isinstance(mean, float) else None])
    return table([Column(heading="setting"), Column(heading="value", kind="n")], rows)
