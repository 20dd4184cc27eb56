"""Data of the selection page, gathered from the store: decisions, the mix, the histogram of scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.base.numbers import MISSING, percent
from tamis.corpus.sources import stored_sources
from tamis.corpus.stage import OCCURRENCES, TARGET_EXAMPLES
from tamis.report.broken import FormBorder, border_of_form
from tamis.report.mix import RandomBaseline, random_baseline
from tamis.report.rendering import AMBER, BLUE, FONT_POINTS, GREY, new_figure, png_of
from tamis.report.seen import heads
from tamis.selection import find_sampler
from tamis.selection.allocation import group_shares
from tamis.selection.decide import DecidingScore, deciding_score, used_score_columns
from tamis.selection.filtering import corpora_lost, files_lost, form_lines
from tamis.selection.pool import Tokens, token_sizes, tokens_of
from tamis.selection.where import where_lines
from tamis.settings.budget import Per, parse_budget, share_of
from tamis.settings.config import FiltersSection, SelectionSection
from tamis.settings.samplers import ASK_LLM, PERPLEXITY, PLUGIN, SCORE, TARGET_PATH, Sampler
from tamis.store.tables import Store, quoted
from tamis.topics.storing import read_names

SCORE_WORDS: dict[str, str] = {
    "got-d": "how much farther from the target the whole pool would be if it contained more of this "
    "document: documents like the target's examples have small scores, which can be below 0",
    "got-d-debiased": "how much farther from the target the pool would be with more of this document, minus "
    "how far the document is from other documents of the pool: texts that are all alike have large scores",
    "got-d-quality": "how much farther from the target the pool would be with more of this document, plus a "
    "penalty that rises as the quality of the document falls",
    "got-d-contrast": "how much farther from the target the pool would be with more of this document, minus "
    "how much farther from the examples to keep away from it would be",
    "ask-llm": "the log odds that the judge, a language model, would call the text worth training on: 0 "
    "means even odds, 1 means odds of 2.7 to 1",
    "density": "how many documents of the pool are similar to this document, itself included",
    "quality-diversity": "the judge's log odds for the text, minus the logarithm of the number of similar "
    "documents",
    "rank-ensemble": "the mean of two ranks of the document, one by similarity to the target and one by the "
    "judge's score, as fractions of the ranking: near 0 means first in both, 1 means last in both",
    "knn": "how far the document is from the most similar target example: 0 means the same meaning",
    "perplexity": "how many bits a small model needs per byte of the text: few bits mean predictable text",
    "got-d-rounds": "the position of the document in the order in which several rounds choose. Each round "
    "prefers documents similar to the target examples that earlier rounds did not cover",
    "got-d-quality-rounds": "the position of the document in the order in which several rounds choose. Each "
    "round prefers good documents similar to the target examples that earlier rounds did not cover",
    "semdedup": "the cosine similarity of the document to the most similar document already kept in its "
    "cluster: near 1, the document repeats the kept one",
    "prototypes": "minus the distance of the document from the centre of its cluster, so unusual "
    "documents have small scores",
    "round-robin": "the document's position in the order of choice: target examples take turns, each taking "
    "the nearest document that is left",
    "dsir": "how much more common the document's words are in the pool than in the target, plus a random "
    "number, so the score depends partly on chance",
    "classifier": "a classifier's log odds that the document is from the pool rather than from the target",
    "tsds": "how unlikely the document is to be drawn for the target, plus a random number: the most likely "
    "documents are near the target's examples and have few similar documents",
    "unbalanced": "how little of the target's mass optimal transport moves to the document: below 0, the "
    "document gets more than an equal share",
    PERPLEXITY: "how many bits the model needs per byte of the text: few bits mean predictable text",
    TARGET_PATH: "how much a short training on the target changes the model's loss on the document, as a "
    "share of that loss: -0.1 means a tenth less, and documents like the target have small scores",
    SCORE: "the value of a score of yours, from the document's rows or a plug-in, with its sign turned where "
    "a higher value is worse",
    PLUGIN: "the answer of a plug-in, which takes the documents with the smallest answers",
    ASK_LLM: "the log odds against the model calling the text worth training on: small for good texts",
}
"""By sampler, and by family of those of a model: what one number of the score says."""
SHARP = (
    "The margin is the distance of the score from the cut, which separates chosen documents from the others, "
    "in the same units as the score: above 0 for chosen documents, below 0 for the others. Near 0, the "
    "decision was close, and a few documents more or less in the pool could reverse the decision."
)
DRAWN = (
    "The margin is how far the document was from the cut of this draw. The margin depends on chance as well "
    "as on the score, so it shows how close the decision was in this draw, not how good the document is."
)
CHANCE = (
    "There is no score: every eligible document had the same chance. The margin is how far the random number "
    "of the document was from the cut, and says nothing about the document itself."
)
SHOWN_SOURCES = 15
EXCERPT_CHARACTERS = 280
SHOWN_DOCUMENTS = 10  # of the best and of those that just missed
SHOWN_BETWEEN = 5  # from the middle of the choice, and of the last ones in
BEST, MIDDLE, LAST, MISSED = "best", "middle", "last", "missed"
BINS = 60
SMALL_SHARE = 0.2
LABEL_CHARACTERS = 32


def words_of(sampler: Sampler | None, score: DecidingScore | None) -> list[str]:
    """Return what score and margin mean for a sampler, a paragraph each; the last one in numbers."""
    if sampler is None:
        return []
    if sampler.rule == "uniform":
        return [CHANCE]
    family = PLUGIN if sampler.method == PLUGIN else sampler.name.partition(":")[0]
    meaning = SCORE_WORDS.get(sampler.name) or SCORE_WORDS[family]
    if sampler.rule != "top_k":
        return [f"The score is {meaning}. The score decides how likely the document is to be drawn.", DRAWN]
    better = "smaller" if sampler.direction == "lowest" else "larger"
    said = [f"The score is {meaning}. A {better} score is better.", SHARP]
    if score and score.cut is not None and score.chosen.any():
        taken = score.scores[score.chosen]
        best, last = (taken.min(), taken.max()) if score.smaller_is_better else (taken.max(), taken.min())
        said.append(
            f"In this selection, the best document scores {best:.4g}, the last one chosen scores {last:.4g}, "
            f"and the cut is at {score.cut:.4g}, so their margins are {abs(best - score.cut):.4g} and "
            f"{abs(last - score.cut):.2g}."
        )
    return said


@dataclass(frozen=True, kw_only=True)
class DividedBudget:
    """A budget that is divided over groups: what each may fill, and what it does.

    `per`: what the groups are. `unit`: that of amounts. `rows`: as of `group_shares`, with `label`, the group
    as people know it, the share that is `wanted`, in words, and the `tokens` of what is chosen, repeats
    counted. `shortfalls`: sentences about what could not be had. `mixture`: shares are those of [mixture].
    `words_from`: the documents that words of labels are from. `estimated`: no tokenizer counted some tokens.
    """

    per: str
    unit: str
    rows: list[dict[str, Any]]
    shortfalls: Sequence[str] = ()
    mixture: bool = False
    words_from: Sequence[str] = ()
    estimated: bool = False


@dataclass(frozen=True, kw_only=True)
class Division:
    """Division of a selection's budget: per what, and into which shares where a mixture says it.

    `shares` None: bounds of the selection itself. `shortfalls`: what groups could not have, in sentences.
    """

    per: Per
    shares: Mapping[str, float] | None = None
    shortfalls: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class SelectionReport:
    """Fields of the page: decisions (a row per document), documents, settings.

    documents: doc_id, source, more (the other sources of one that is in several), excerpt. `tokens`: of the
    chosen. `baseline`: the choice compared with a random one. `divided`: of a budget per group.
    `files_lost`: lines about files and corpora that lose many documents to one reason or rule, and about what
    a rule says nothing of. `warnings`: why the ranking may mean little. `border`: documents at the limit of
    `form`. `holds_out`: whether the target has held-out examples. `alone`: it links to no other page.
    """

    name: str
    decisions: pl.DataFrame
    documents: pl.DataFrame
    settings: Mapping[str, str]
    target: str | None = None
    tokens: Tokens | None = None
    baseline: RandomBaseline | None = None
    divided: DividedBudget | None = None
    files_lost: Sequence[str] = ()
    warnings: Sequence[str] = ()
    border: FormBorder | None = None
    holds_out: bool = True
    alone: bool = False


def selection_report(
    store: Store,
    section: SelectionSection,
    decisions: pl.DataFrame,
    filters: FiltersSection,
    division: Division | None = None,
) -> SelectionReport:
    """Return one selection's report; texts are read only for the documents that are shown."""
    sources = stored_sources(store, store.read(OCCURRENCES.name, ["doc_id", "shard", "source"]))
    border = border_of_form(store, decisions, filters)
    parts = [*shown_documents(decisions).values(), *([border.stayed, border.fell] if border else [])]
    shown = pl.concat([part.select("doc_id") for part in parts])["doc_id"].unique().to_list()
    excerpts = heads(store, shown, EXCERPT_CHARACTERS).rename({"text": "excerpt"})
    unused = find_sampler(section.sampler).ignored | (set() if section.mixture else {"mixture"})
    used = section.model_dump(exclude=unused, exclude_none=True)
    sizes = token_sizes(store)
    score = next(iter(used_score_columns(decisions)), None)
    return SelectionReport(
        name=section.name,
        decisions=decisions,
        documents=sources.join(excerpts, on="doc_id", how="left"),
        settings={name: str(value) for name, value in used.items()},
        target=section.target,
        tokens=tokens_of(sizes, decisions.filter(pl.col("verdict") == "selected")),
        baseline=random_baseline(store, decisions, sources.select("doc_id", "source"), score, filters),
        divided=_divided(store, section, decisions, sizes, division) if division else None,
        files_lost=[
            *files_lost(store, decisions),
            *corpora_lost(store, decisions),
            *form_lines(store, filters),
            *where_lines(decisions),
        ],
        border=border,
        holds_out=section.target is None
        or bool(
            store.count(TARGET_EXAMPLES.name, f"target = {quoted(section.target)} AND split = 'held_out'")
        ),
    )


def _divided(
    store: Store, section: SelectionSection, decisions: pl.DataFrame, sizes: pl.DataFrame, division: Division
) -> DividedBudget:
    in_tokens = parse_budget(section.budget).unit == "tokens"
    tokens = sizes.select("doc_id", size="n_tokens")
    by_tokens = group_shares(decisions, tokens)
    found = by_tokens if in_tokens else group_shares(decisions, tokens.with_columns(size=pl.lit(1, pl.Int64)))
    found = found.join(by_tokens.select("group", tokens="filled"), on="group", how="left")
    names = read_names(store) if division.per == "topic" else None
    return DividedBudget(
        per=division.per,
        unit="tokens" if in_tokens else "documents",
        rows=[
            row
            | {
                "label": names.label(row["group"]) if names else row["group"],
                "wanted": _wanted(section, division, row["group"]),
            }
            for row in found.sort("filled", "group", descending=[True, False]).iter_rows(named=True)
        ],
        shortfalls=division.shortfalls,
        mixture=section.mixture,
        words_from=names.from_documents if names else (),
        estimated=bool(sizes["is_estimated"].any()),
    )


def _wanted(section: SelectionSection, division: Division, group: str) -> str:
    """Return the share that a group is to have, or the bounds of it, in words."""
    if section.mixture:
        return percent(division.shares.get(group, 0.0)) if division.shares is not None else MISSING
    least, most = (
        100 * float(share_of(bound, group, free))
        for bound, free in zip(section.bounds, (0.0, 1.0), strict=True)
    )
    if least == 0:
        return MISSING if most == 100 else f"at most {most:g} %"
    return f"at least {least:g} %" if most == 100 else f"{least:g} % to {most:g} %"


def shown_documents(decisions: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Return the decisions that are shown with a text, by rank: none twice.

    Of the chosen the best, some around the middle of the choice, the last ones in; of the others those that
    just missed.
    """
    ranked = decisions.filter(pl.col("rank").is_not_null()).sort("rank")
    chosen = ranked.filter(pl.col("verdict") == "selected")
    rest = chosen.slice(SHOWN_DOCUMENTS)
    last = rest.tail(SHOWN_BETWEEN)
    between = rest.head(len(rest) - len(last))
    middle = len(chosen) // 2 - SHOWN_BETWEEN // 2 - SHOWN_DOCUMENTS
    return {
        BEST: chosen.head(SHOWN_DOCUMENTS),
        MIDDLE: between.slice(max(min(middle, len(between) - SHOWN_BETWEEN), 0), SHOWN_BETWEEN),
        LAST: last,
        MISSED: ranked.filter(pl.col("verdict") == "rejected").head(SHOWN_DOCUMENTS),
    }


def source_mix(report: SelectionReport) -> pl.DataFrame:
    """Return documents per source in the pool and among the chosen, largest first, small ones summed."""
    sources = report.documents.select("doc_id", "source").unique("doc_id", keep="first", maintain_order=True)
    counts = (
        report.decisions.select("doc_id", "verdict")
        .join(sources, on="doc_id", how="left")
        .group_by(pl.col("source").fill_null("(no longer in any file)"))
        .agg(pool=pl.len(), chosen=(pl.col("verdict") == "selected").sum())
        .sort("chosen", "pool", "source", descending=[True, True, False])
    )
    if len(counts) <= SHOWN_SOURCES:
        return counts
    rest = counts.slice(SHOWN_SOURCES - 1)
    return counts.head(SHOWN_SOURCES - 1).vstack(
        rest.select(pl.lit(f"{len(rest)} other sources").alias("source"), *(pl.sum("pool", "chosen"),))
    )


def selection_plot_png(report: SelectionReport) -> bytes:
    """Return the histogram, or without a deciding score the mix of sources, as PNG of at most 60 KB."""
    score = deciding_score(report.decisions, report.settings)
    if score is None:
        return _mix_png(report)
    panels = 2 if has_zoom(score) else 1
    figure, axes = new_figure(panels, height=3.6)
    _draw(axes[0], score, np.ones_like(score.chosen))
    axes[0].set_title("all eligible documents", fontsize=FONT_POINTS, loc="left")
    if panels == 2:
        # The chosen and about three times as many on the other side of the cut.
        order = np.argsort(score.scores if score.smaller_is_better else -score.scores, kind="stable")
        _draw(axes[1], score, np.isin(np.arange(len(order)), order[: 4 * int(score.chosen.sum())]))
        axes[1].set_title("around the cut", fontsize=FONT_POINTS, loc="left")
    handles, labels = axes[0].get_legend_handles_labels()
    listed = [1, 0, *range(2, len(labels))]  # of stacked outlines, the upper one is listed first
    figure.legend(
        [handles[place] for place in listed],
        [labels[place] for place in listed],
        fontsize=FONT_POINTS,
        frameon=False,
        loc="outside upper center",
        ncols=3,
    )
    return png_of(figure)


def has_zoom(score: DecidingScore) -> bool:
    """Return whether a second panel shows the neighbourhood of the cut."""
    return score.cut is not None and 0 < int(score.chosen.sum()) < SMALL_SHARE * len(score.scores)


def _draw(axis: Any, score: DecidingScore, shown: NDArray[np.bool_]) -> None:
    scores, chosen = score.scores[shown.astype(bool)], score.chosen[shown.astype(bool)]
    axis.hist(
        [scores[chosen], scores[~chosen]],
        bins=_edges(scores, score.cut),
        stacked=True,
        histtype="stepfilled",  # two outlines, not a hundred bars
        color=[BLUE, GREY],
        label=[f"chosen ({int(score.chosen.sum()):,})", f"not chosen ({int((~score.chosen).sum()):,})"],
    )
    if score.cut is not None:
        axis.axvline(score.cut, color=AMBER, linewidth=1.4, linestyle="--", label=f"cut at {score.cut:.4g}")
    axis.set_xlabel(score.label, fontsize=FONT_POINTS)
    axis.set_ylabel("documents", fontsize=FONT_POINTS)


def _edges(scores: NDArray[np.float64], cut: float | None) -> NDArray[np.float64]:
    """Equal bins, shifted so that the cut is an edge: no bar then mixes both sides."""
    low, high = float(scores.min()), float(scores.max())
    if not high > low:
        return np.array([low - 0.5, low + 0.5])
    width = (high - low) / BINS
    if cut is None or not low < cut < high:
        return np.linspace(low, high, BINS + 1)
    below = int(np.ceil((cut - low) / width))
    above = int(np.ceil((high - cut) / width))
    edges: NDArray[np.float64] = cut + width * np.arange(-below, above + 1, dtype=np.float64)
    return edges


def _mix_png(report: SelectionReport) -> bytes:
    mix = source_mix(report)
    figure, (axis,) = new_figure(height=1.2 + 0.34 * max(len(mix), 2))
    pool, chosen = (mix[name].to_numpy().astype(float) for name in ("pool", "chosen"))
    places = np.arange(len(mix))[::-1]
    for values, offset, colour, label in ((pool, 0.19, GREY, "pool"), (chosen, -0.19, BLUE, "chosen")):
        axis.barh(
            places + offset, 100 * values / max(values.sum(), 1.0), height=0.36, color=colour, label=label
        )
    axis.set_yticks(places, [str(source)[:LABEL_CHARACTERS] for source in mix["source"]])
    axis.set_xlabel("share of documents, %", fontsize=FONT_POINTS)
    axis.legend(fontsize=FONT_POINTS - 1, frameon=False)
    return png_of(figure)
