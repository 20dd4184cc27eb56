"""Intake: one shard's documents and quarantine into the store, and the removal of what is left over.

The text goes in before the occurrence that names it, so a crash leaves at worst a text that nothing
names, which the next removal collects. Batches of 2,000 rows, one commit each.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pyarrow as pa

from tamis.corpus.documents import ShardBatch
from tamis.store.schemas import schema_of
from tamis.store.tables import Store, one_of, quoted

DOCUMENT_TABLES = (
    "documents",
    "scores_by_model",
    "scores_density",
    "scores_judge",
    "scores_judge_again",
    "scores_perplexity",
    "scores_quality",
    "document_flags",
)


@dataclass(kw_only=True)
class Intake:
    """What came in from one shard."""

    doc_ids: list[str] = field(default_factory=list)
    occurrences: int = 0
    new_documents: int = 0
    skipped: int = 0
    quarantined: dict[str, int] = field(default_factory=dict)

    def metadata(self) -> dict[str, Any]:
        """Counts for the event log."""
        return {
            "documents": len(self.doc_ids),
            "new_documents": self.new_documents,
            "skipped_short": self.skipped,
            "quarantined": sum(self.quarantined.values()),
        }


def store_shard(store: Store, shard: str, batches: Iterable[ShardBatch]) -> Intake:
    """Store a shard's documents, occurrences and quarantine; what it no longer holds is removed."""
    intake, occurrences, quarantine = Intake(), [], []
    now = datetime.now(UTC).replace(tzinfo=None)
    for batch in batches:
        intake.skipped += batch.skipped
        if len(batch.documents):
            rows = batch.documents.with_columns(pl.lit(now).alias("first_seen"), pl.lit(shard).alias("shard"))
            intake.new_documents += store.insert_new("documents", _as_table(rows, "documents"))
            occurrences.append(rows.select(schema_of("occurrences").names))
        if len(batch.quarantine):
            quarantine.append(batch.quarantine.with_columns(pl.lit(shard).alias("shard")))
    before = set(shard_documents(store, shard))
    _replace(store, "occurrences", occurrences, shard)
    _replace(store, "quarantine", quarantine, shard)
    found = (
        pl.concat(occurrences)["doc_id"].unique().sort()
        if occurrences
        else pl.Series("doc_id", [], pl.String)
    )
    intake.doc_ids = found.to_list()
    intake.occurrences = sum(len(block) for block in occurrences)
    if quarantine:
        counts = pl.concat(quarantine).group_by("reason").len().sort("reason")
        intake.quarantined = dict(counts.iter_rows())
    collect_orphans(store, sorted(before.difference(intake.doc_ids)))
    return intake


def shard_documents(store: Store, shard: str) -> list[str]:
    """Distinct documents of a shard, sorted."""
    ids = store.read("occurrences", ["doc_id"], f"shard = {quoted(shard)}")["doc_id"]
    return ids.unique().sort().to_list()


def count_documents(
    store: Store, shards: Sequence[str], without: str | None = None, scope: str | None = None
) -> int:
    """How many distinct documents stand in these shards; those with a row in a table are left out.

    `without`: that table; `scope`: a filter on its rows.
    """
    places = store.read("occurrences", ["doc_id", "shard"])
    ids = places.filter(pl.col("shard").is_in(list(shards))).select("doc_id").unique()
    if without is None or not store.exists(without):
        return len(ids)
    return len(ids.join(store.read(without, ["doc_id"], scope), on="doc_id", how="anti"))


def remove_shard(store: Store, shard: str) -> None:
    """Forget a shard that is gone, and every document that stood nowhere else."""
    scope = f"shard = {quoted(shard)}"
    before = shard_documents(store, shard)
    store.delete("occurrences", scope)
    store.delete("quarantine", scope)
    collect_orphans(store, before)


def collect_orphans(store: Store, candidates: list[str]) -> int:
    """Delete from every table the documents among `candidates` that no shard holds any more."""
    if not candidates:
        return 0
    held = {
        doc_id
        for block in store.by_ids("occurrences", candidates, ["doc_id"])
        for doc_id in block["doc_id"].to_pylist()
    }
    orphans = [doc_id for doc_id in candidates if doc_id not in held]
    embeddings = [name for name in store.names() if name.startswith("embeddings_")]
    for table in (*embeddings, *DOCUMENT_TABLES):
        for start in range(0, len(orphans), 1_000):
            if store.exists(table):
                store.delete(table, one_of("doc_id", orphans[start : start + 1_000]))
    return len(orphans)


def _as_table(frame: pl.DataFrame, table: str) -> pa.Table:
    schema = schema_of(table)
    return frame.select(schema.names).to_arrow().cast(schema)


def _replace(store: Store, table: str, blocks: list[pl.DataFrame], shard: str) -> None:
    scope = f"shard = {quoted(shard)}"
    if not blocks and not store.count(table, scope):
        return
    rows = _as_table(pl.concat(blocks), table) if blocks else schema_of(table).empty_table()
    store.replace(table, rows, scope)
