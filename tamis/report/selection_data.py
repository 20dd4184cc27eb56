"""What the selection page shows, gathered from the store: decisions, excerpts of a few documents, the mix."""

import polars as pl

from tamis.report.selection import SelectionReport
from tamis.selection import find_sampler
from tamis.settings.config import SelectionSection
from tamis.store.tables import Store

EXCERPT_CHARACTERS = 280


def selection_report(store: Store, section: SelectionSection, decisions: pl.DataFrame) -> SelectionReport:
    """Gather one selection's report; texts are read only for the documents that are shown."""
    occurrences = store.read("occurrences", ["doc_id", "shard"]).sort("doc_id", "shard")
    first = occurrences.unique("doc_id", keep="first", maintain_order=True)
    shown = _shown(decisions)
    texts = [pl.DataFrame(schema={"doc_id": pl.String, "text": pl.String})]  # nothing may be eligible
    texts += [
        pl.DataFrame(pl.from_arrow(block)) for block in store.by_ids("documents", shown, ["doc_id", "text"])
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
