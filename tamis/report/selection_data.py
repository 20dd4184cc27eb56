"""What the selection page shows, gathered from the store: decisions, excerpts of a few documents, the mix."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from tamis.corpus.stage import DOCUMENTS, OCCURRENCES
from tamis.report.random_baseline import RandomBaseline, random_baseline
from tamis.selection import find_sampler
from tamis.selection.deciding import used_score_columns
from tamis.selection.token_sizes import Tokens, token_sizes, tokens_of
from tamis.settings.config import FiltersSection, SelectionSection
from tamis.store.tables import Store

SHOWN_SOURCES = 15
EXCERPT_CHARACTERS = 280
SHOWN_DOCUMENTS = 10  # of the best and of those that just missed


@dataclass(frozen=True, kw_only=True)
class SelectionReport:
    """What the page shows: decisions (a row per document), documents (doc_id, source, excerpt), settings.

    `baseline`: the choice compared with a random one. `tokens`: those chosen, None where nobody has counted.
    """

    name: str
    decisions: pl.DataFrame
    documents: pl.DataFrame
    settings: Mapping[str, str]
    baseline: RandomBaseline | None = None
    tokens: Tokens | None = None


def selection_report(
    store: Store, section: SelectionSection, decisions: pl.DataFrame, filters: FiltersSection
) -> SelectionReport:
    """Return one selection's report; texts are read only for the documents that are shown."""
    occurrences = store.read(OCCURRENCES.name, ["doc_id", "shard"]).sort("doc_id", "shard")
    first = occurrences.unique("doc_id", keep="first", maintain_order=True)
    shown = [
        doc_id
        for verdict in ("selected", "rejected")
        for doc_id in first_ranked(decisions, verdict)["doc_id"]
    ]
    texts = [pl.DataFrame(schema={"doc_id": pl.String, "text": pl.String})]  # nothing may be eligible
    texts += [
        pl.DataFrame(pl.from_arrow(block))
        for block in store.by_ids(DOCUMENTS.name, shown, ["doc_id", "text"])
    ]
    excerpts = pl.concat(texts).select(
        "doc_id", pl.col("text").str.slice(0, EXCERPT_CHARACTERS).alias("excerpt")
    )
    documents = first.rename({"shard": "source"}).join(excerpts, on="doc_id", how="left")
    heeded = section.model_dump(exclude=find_sampler(section.sampler).unheeded, exclude_none=True)
    score = next(iter(used_score_columns(decisions)), None)
    return SelectionReport(
        name=section.name,
        decisions=decisions,
        documents=documents,
        settings={name: str(value) for name, value in heeded.items()},
        tokens=tokens_of(token_sizes(store), decisions.filter(pl.col("verdict") == "selected")),
        baseline=random_baseline(store, decisions, documents.select("doc_id", "source"), score, filters),
    )


def first_ranked(decisions: pl.DataFrame, verdict: str) -> pl.DataFrame:
    """Return the first decisions of a verdict by rank: the best chosen, or those that just missed."""
    ranked = decisions.filter(pl.col("rank").is_not_null() & (pl.col("verdict") == verdict))
    return ranked.sort("rank").head(SHOWN_DOCUMENTS)


def source_mix(report: SelectionReport) -> pl.DataFrame:
    """Return documents per source in the pool and among the chosen, largest first, small ones summed."""
    sources = report.documents.select("doc_id", "source").unique("doc_id", keep="first", maintain_order=True)
    counts = (
        report.decisions.select("doc_id", "verdict")
        .join(sources, on="doc_id", how="left")
        .group_by(pl.col("source").fill_null("(no longer in any shard)"))
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
