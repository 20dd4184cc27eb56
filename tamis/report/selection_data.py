"""What the selection page shows, gathered from the store: decisions, excerpts of a few documents, the mix."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from tamis.corpus.stage import DOCUMENTS, OCCURRENCES
from tamis.report.random_baseline import RandomBaseline, random_baseline
from tamis.report.sources import document_sources
from tamis.selection import find_sampler
from tamis.selection.deciding import used_score_columns
from tamis.selection.token_sizes import Tokens, token_sizes, tokens_of
from tamis.settings.config import FiltersSection, SelectionSection
from tamis.store.tables import Store

SHOWN_SOURCES = 15
EXCERPT_CHARACTERS = 280
SHOWN_DOCUMENTS = 10  # of the best and of those that just missed
SHOWN_BETWEEN = 5  # from the middle of the choice, and of the last ones in
BEST, MIDDLE, LAST, MISSED = "best", "middle", "last", "missed"


@dataclass(frozen=True, kw_only=True)
class SelectionReport:
    """What the page shows: decisions (a row per document), documents, settings.

    documents: doc_id, source, more (the other sources of one that is in several), excerpt. `tokens`: of the
    chosen. `baseline`: the choice compared with a random one.
    """

    name: str
    decisions: pl.DataFrame
    documents: pl.DataFrame
    settings: Mapping[str, str]
    target: str | None = None
    tokens: Tokens | None = None
    baseline: RandomBaseline | None = None


def selection_report(
    store: Store,
    section: SelectionSection,
    decisions: pl.DataFrame,
    filters: FiltersSection,
) -> SelectionReport:
    """Return one selection's report; texts are read only for the documents that are shown."""
    sources = document_sources(store.read(OCCURRENCES.name, ["doc_id", "shard", "source"]))
    shown = pl.concat(shown_documents(decisions).values())["doc_id"].to_list()
    texts = [pl.DataFrame(schema={"doc_id": pl.String, "text": pl.String})]  # nothing may be eligible
    texts += [
        pl.DataFrame(pl.from_arrow(block))
        for block in store.by_ids(DOCUMENTS.name, shown, ["doc_id", "text"])
    ]
    excerpts = pl.concat(texts).select(
        "doc_id", pl.col("text").str.slice(0, EXCERPT_CHARACTERS).alias("excerpt")
    )
    heeded = section.model_dump(exclude=find_sampler(section.sampler).unheeded, exclude_none=True)
    score = next(iter(used_score_columns(decisions)), None)
    return SelectionReport(
        name=section.name,
        decisions=decisions,
        documents=sources.join(excerpts, on="doc_id", how="left"),
        settings={name: str(value) for name, value in heeded.items()},
        target=section.target,
        tokens=tokens_of(token_sizes(store), decisions.filter(pl.col("verdict") == "selected")),
        baseline=random_baseline(store, decisions, sources.select("doc_id", "source"), score, filters),
    )


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
        .group_by(pl.col("source").fill_null("(in no file any more)"))
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
