"""Contamination of the stored pool, kept current: only documents of changed shards are read again.

The held-out runs that each document holds are kept as hashes, since whether a run counts depends on how many
documents hold it. The outcome is that of reading the whole pool.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from tamis.base.progress import Advance, ignore
from tamis.corpus.intake import documents_of_shards
from tamis.corpus.stage import DOCUMENTS, TARGET_EXAMPLES
from tamis.selection.decontamination import Batch, contaminated_among, shared_runs
from tamis.settings.config import DecontaminationSection
from tamis.store.schemas import schema_of
from tamis.store.tables import Store, quoted

TABLE, RUNS = "contamination", "contamination_runs"


@dataclass(frozen=True, kw_only=True)
class Leaks:
    """What a look at the pool for a target came to: documents read and documents contaminated."""

    read: int
    contaminated: int


def update_contamination(
    store: Store,
    target: str,
    section: DecontaminationSection,
    changed_shards: Sequence[str] | None = None,
    advance: Advance = ignore,
) -> Leaks:
    """Make the contaminated documents of a target what they are for the documents stored now.

    `changed_shards`: those whose documents differ from when this was last done; None reads the whole pool.
    """
    scope = f"target = {quoted(target)}"
    ids = store.read(DOCUMENTS.name, ["doc_id"])["doc_id"]
    wanted = None
    if changed_shards is not None:
        held = documents_of_shards(store, changed_shards).values()
        wanted = sorted({doc_id for doc_ids in held for doc_id in doc_ids})
    held_out = store.read(TARGET_EXAMPLES.name, ["text"], f"{scope} AND split = 'held_out'")["text"].to_list()
    read = shared_runs(_batches(store, wanted), held_out, section.ngram, advance)
    kept = store.read(RUNS, ["doc_id", "runs"], scope).filter(pl.col("doc_id").is_in(ids.implode()))
    kept = kept.clear() if wanted is None else kept.filter(~pl.col("doc_id").is_in(wanted))
    runs = pl.concat([kept.cast(read.schema), read]).sort("doc_id")
    _replace(store, RUNS, target, runs)
    found = contaminated_among(runs, len(ids), section.maximum_share)
    _replace(store, TABLE, target, found.to_frame())
    return Leaks(read=len(ids) if wanted is None else len(wanted), contaminated=len(found))


def _batches(store: Store, doc_ids: list[str] | None) -> Iterator[Batch]:
    """(doc_ids, texts) of these documents, or of all."""
    blocks: Iterable[pa.Table | pa.RecordBatch] = (
        store.batches(DOCUMENTS.name, ["doc_id", "text"])
        if doc_ids is None
        else store.by_ids(DOCUMENTS.name, doc_ids, ["doc_id", "text"])
    )
    for block in blocks:
        yield block["doc_id"].to_pylist(), block["text"].to_pylist()


def _replace(store: Store, table: str, target: str, frame: pl.DataFrame) -> None:
    schema = schema_of(table)
    rows = frame.with_columns(pl.lit(target).alias("target")).select(schema.names)
    store.replace(table, rows.to_arrow().cast(schema), f"target = {quoted(target)}")
