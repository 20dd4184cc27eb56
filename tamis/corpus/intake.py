"""Intake: one shard's documents and quarantine into the store, and the removal of what is left over.

The text goes in before the occurrence that names it, so a crash leaves at worst a text that nothing
names; the collection of orphans takes it away. Batches of 2,000 rows, one commit each.
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
    "scores_perplexity",
    "scores_quality",
    "document_flags",
)
SHARDS_A_FILTER = 500


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
    """Store a shard's documents, occurrences and quarantine.

    Texts that it no longer holds stay until orphans are collected: another shard may be about to bring them.
    """
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
    return intake


def shard_documents(store: Store, shard: str) -> list[str]:
    """Distinct documents of a shard, sorted."""
    ids = store.read("occurrences", ["doc_id"], f"shard = {quoted(shard)}")["doc_id"]
    return ids.unique().sort().to_list()


def remove_shards(store: Store, shards: Sequence[str]) -> None:
    """Forget the places in shards that are gone; what stood nowhere else is an orphan then."""
    for start in range(0, len(shards), SHARDS_A_FILTER):
        scope = one_of("shard", shards[start : start + SHARDS_A_FILTER])
        store.delete("occurrences", scope)
        store.delete("quarantine", scope)


def find_orphans(store: Store) -> dict[str, list[str]]:
    """Documents that no shard holds, by each table that has rows of them; `documents` comes last.

    A collection that was cut short is seen there. Looking at 1,000,000 documents takes less than a second.
    """
    held = store.read("occurrences", ["doc_id"]).unique()
    if not len(store.read("documents", ["doc_id"]).join(held, on="doc_id", how="anti")):
        return {}
    found = {}
    for table in _document_tables(store):
        ids = store.read(table, ["doc_id"]).unique()
        if len(orphans := ids.join(held, on="doc_id", how="anti")["doc_id"]):
            found[table] = orphans.to_list()
    return found


def delete_orphans(store: Store, orphans: dict[str, list[str]]) -> None:
    """Delete what `find_orphans` found, in its order."""
    for table, doc_ids in orphans.items():
        for start in range(0, len(doc_ids), 1_000):
            store.delete(table, one_of("doc_id", doc_ids[start : start + 1_000]))


def _document_tables(store: Store) -> list[str]:
    """Tables with a row a document, those that exist; the texts themselves last."""
    names = [name for name in store.names() if name.startswith("embeddings_") or name in DOCUMENT_TABLES]
    return sorted(names, key=lambda name: (name == "documents", name))


def _as_table(frame: pl.DataFrame, table: str) -> pa.Table:
    schema = schema_of(table)
    return frame.select(schema.names).to_arrow().cast(schema)


def _replace(store: Store, table: str, blocks: list[pl.DataFrame], shard: str) -> None:
    scope = f"shard = {quoted(shard)}"
    if not blocks and not store.count(table, scope):
        return
    rows = _as_table(pl.concat(blocks), table) if blocks else schema_of(table).empty_table()
    store.replace(table, rows, scope)
