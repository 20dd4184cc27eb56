"""What the selection page shows, gathered from the store: decisions, excerpts of a few documents, the mix."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from tamis.corpus.stage import DOCUMENTS, OCCURRENCES
from tamis.selection import find_sampler
from tamis.settings.config import SelectionSection
from tamis.store.tables import Store

SHOWN_SOURCES = 15
EXCERPT_CHARACTERS = 280
SCORES: dict[str, str] = {
    "transport_gradient": "How much the optimal transport distance between the pool and the target grows "
    "when this document gets more weight; no unit, smaller is better.",
    "gradient_away": "The same for the examples to keep away from; larger is better.",
    "quality": "Quality from 0 (worst) to 1 (best); rises with what the judge is predicted to say.",
    "judge_margin_predicted": "Predicted log odds that the judge calls the text worth training on; larger is "
    "better.",
    "density": "How many similar documents the pool holds; documents are drawn with weight 1 / density.",
    "nearest_cost": "Cost of transport to the nearest target example, no unit; smaller is nearer.",
    "method_score": "Computed for this selection by its own method; smaller is chosen first.",
    "bits_per_byte": "Bits a small model needs for one byte of the text; fewer means more predictable.",
}


@dataclass(frozen=True, kw_only=True)
class SelectionReport:
    """What the page shows: decisions (a row per document), documents (doc_id, source, excerpt), settings."""

    name: str
    decisions: pl.DataFrame
    documents: pl.DataFrame
    settings: Mapping[str, str]


def selection_report(store: Store, section: SelectionSection, decisions: pl.DataFrame) -> SelectionReport:
    """Gather one selection's report; texts are read only for the documents that are shown."""
    occurrences = store.read(OCCURRENCES.name, ["doc_id", "shard"]).sort("doc_id", "shard")
    first = occurrences.unique("doc_id", keep="first", maintain_order=True)
    shown = _shown(decisions)
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
    return SelectionReport(
        name=section.name,
        decisions=decisions,
        documents=documents,
        settings={name: str(value) for name, value in heeded.items()},
    )


def _shown(decisions: pl.DataFrame) -> list[str]:
    """The best chosen and the ones that just missed the cut."""
    ranked = decisions.filter(pl.col("rank").is_not_null()).sort("rank")
    chosen = ranked.filter(pl.col("verdict") == "selected")["doc_id"].head(10)
    missed = ranked.filter(pl.col("verdict") == "rejected")["doc_id"].head(10)
    return [*chosen, *missed]


def used_score_columns(decisions: pl.DataFrame) -> tuple[str, ...]:
    """The known score columns that hold any value."""
    return tuple(name for name in SCORES if name in decisions.columns and decisions[name].count())


def source_mix(report: SelectionReport) -> pl.DataFrame:
    """Documents per source in the pool and among the chosen, largest first; small sources are summed."""
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
