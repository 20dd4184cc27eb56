"""What the selection page shows, gathered from the store: decisions, excerpts of a few documents, the mix."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from tamis.base.numbers import MISSING, percent
from tamis.corpus.sources import stored_sources
from tamis.corpus.stage import DOCUMENTS, OCCURRENCES
from tamis.report.random_baseline import RandomBaseline, random_baseline
from tamis.selection import find_sampler
from tamis.selection.allocation import group_shares
from tamis.selection.decide import used_score_columns
from tamis.selection.lost_files import files_lost
from tamis.selection.pool import Tokens, token_sizes, tokens_of
from tamis.settings.budget import Per, parse_budget, share_of
from tamis.settings.config import FiltersSection, SelectionSection
from tamis.store.tables import Store
from tamis.topics.storing import read_names

SHOWN_SOURCES = 15
EXCERPT_CHARACTERS = 280
SHOWN_DOCUMENTS = 10  # of the best and of those that just missed
SHOWN_BETWEEN = 5  # from the middle of the choice, and of the last ones in
BEST, MIDDLE, LAST, MISSED = "best", "middle", "last", "missed"


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
    """How a selection divides its budget: per what, and into which shares where a mixture says it.

    `shares` None: bounds of the selection itself. `shortfalls`: what groups could not have, in sentences.
    """

    per: Per
    shares: Mapping[str, float] | None = None
    shortfalls: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class SelectionReport:
    """What the page shows: decisions (a row per document), documents, settings.

    documents: doc_id, source, more (the other sources of one that is in several), excerpt. `tokens`: of the
    chosen. `baseline`: the choice compared with a random one. `divided`: of a budget per group.
    `files_lost`: lines about files that lose most of their documents to one reason. `warnings`: why the
    ranking may mean little.
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


def selection_report(
    store: Store,
    section: SelectionSection,
    decisions: pl.DataFrame,
    filters: FiltersSection,
    division: Division | None = None,
) -> SelectionReport:
    """Return one selection's report; texts are read only for the documents that are shown."""
    places = store.read(OCCURRENCES.name, ["doc_id", "shard", "source"])
    sources = stored_sources(store, places)
    shown = pl.concat(shown_documents(decisions).values())["doc_id"].to_list()
    texts = [pl.DataFrame(schema={"doc_id": pl.String, "text": pl.String})]  # nothing may be eligible
    texts += [
        pl.DataFrame(pl.from_arrow(block))
        for block in store.by_ids(DOCUMENTS.name, shown, ["doc_id", "text"])
    ]
    excerpts = pl.concat(texts).select(
        "doc_id", pl.col("text").str.slice(0, EXCERPT_CHARACTERS).alias("excerpt")
    )
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
        files_lost=files_lost(store, decisions),
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
    rows = [
        row
        | {
            "label": names.label(row["group"]) if names else row["group"],
            "wanted": _wanted(section, division, row["group"]),
        }
        for row in found.sort("filled", "group", descending=[True, False]).iter_rows(named=True)
    ]
    return DividedBudget(
        per=division.per,
        unit="tokens" if in_tokens else "documents",
        rows=rows,
        shortfalls=division.shortfalls,
        mixture=section.mixture,
        words_from=names.from_documents if names else (),
        estimated=bool(sizes["is_estimated"].any()),
    )


def _wanted(section: SelectionSection, division: Division, group: str) -> str:
    """Return the share that a group is to have, or the bounds of it, in words."""
    if not section.mixture:
        return _bound(section, group)
    return percent(division.shares.get(group, 0.0)) if division.shares is not None else MISSING


def _bound(section: SelectionSection, group: str) -> str:
    """Return the shares that a group may have, in words."""
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
    first = len(chosen) // 2 - SHOWN_BETWEEN // 2 - SHOWN_DOCUMENTS
    first = max(min(first, len(between) - SHOWN_BETWEEN), 0)
    return {
        BEST: chosen.head(SHOWN_DOCUMENTS),
        MIDDLE: between.slice(first, SHOWN_BETWEEN),
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
    label = pl.lit(f"{len(rest)} other sources")
    return counts.head(SHOWN_SOURCES - 1).vstack(
        rest.select(label.alias("source"), *(pl.sum("pool", "chosen"),))
    )
