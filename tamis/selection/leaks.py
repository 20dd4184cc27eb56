"""Contamination of the stored pool, kept current: only documents of changed shards are read again.

The held-out runs that each document holds are kept as hashes, since whether a run counts depends on how many
documents hold it. A document that shares text with its file is compared by its own words, and read again when
that text changes, which its mark says. The outcome is that of reading the whole pool.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from tamis.base.progress import Advance, ignore
from tamis.corpus.intake import documents_of_shards
from tamis.corpus.stage import DOCUMENTS, TARGET_ANSWERS, TARGET_EXAMPLES
from tamis.corpus.stored_shared_text import SharedText, read_shared_text
from tamis.corpus.targets import own_words_of_examples
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
    ids, shared = store.read(DOCUMENTS.name, ["doc_id"]), read_shared_text(store)
    kept = store.read(RUNS, ["doc_id", "runs", "left_out_mark"], scope).join(ids, on="doc_id", how="semi")
    marks = shared.documents.select("doc_id", left_out_mark="mark").join(ids, on="doc_id", how="semi")
    wanted = None
    if changed_shards is not None:
        held = documents_of_shards(store, changed_shards).values()
        wanted = sorted({doc_id for doc_ids in held for doc_id in doc_ids} | _otherwise_marked(kept, marks))
        kept = kept.filter(~pl.col("doc_id").is_in(wanted))
        marks = marks.filter(pl.col("doc_id").is_in(wanted))
    else:
        kept = kept.clear()
    read = shared_runs(_batches(store, wanted, shared), _held_out(store, scope), section.ngram, advance)
    read = read.join(marks, on="doc_id", how="full", coalesce=True)  # also of those that hold no run
    read = read.with_columns(pl.col("runs").fill_null([]))
    runs = pl.concat([kept.cast(read.schema), read]).sort("doc_id")
    _replace(store, RUNS, target, runs)
    found = contaminated_among(runs.select("doc_id", "runs"), len(ids), section.maximum_share)
    _replace(store, TABLE, target, found.to_frame())
    return Leaks(read=len(ids) if wanted is None else len(wanted), contaminated=len(found))


def _otherwise_marked(kept: pl.DataFrame, marks: pl.DataFrame) -> set[str]:
    """Return the ids of documents of which another part was compared than is to be compared now."""
    before = kept.drop_nulls("left_out_mark").select("doc_id", before="left_out_mark")
    both = before.join(marks, on="doc_id", how="full", coalesce=True)
    return {*both.filter(pl.col("before").ne_missing(pl.col("left_out_mark")))["doc_id"]}


def _held_out(store: Store, scope: str) -> list[str]:
    """Return the held-out examples of a target, of those that share text with many examples the own words."""
    examples = store.read(TARGET_EXAMPLES.name, ["doc_id", "text", "split"], scope)
    turns = store.read(TARGET_ANSWERS.name, ["doc_id", "turns"], scope)
    examples = examples.join(turns, on="doc_id", how="left", maintain_order="left")
    own = own_words_of_examples(examples).own_texts()
    return own.filter(examples["split"] == "held_out").to_list()


def _batches(store: Store, doc_ids: list[str] | None, shared: SharedText) -> Iterator[Batch]:
    """(doc_ids, texts) of these documents, or of all."""
    blocks: Iterable[pa.Table | pa.RecordBatch] = (
        store.batches(DOCUMENTS.name, ["doc_id", "text"])
        if doc_ids is None
        else store.by_ids(DOCUMENTS.name, doc_ids, ["doc_id", "text"])
    )
    for block in blocks:
        texts = shared.own_texts(pl.DataFrame(pl.from_arrow(block)))
        yield texts["doc_id"].to_list(), texts["text"].to_list()


def _replace(store: Store, table: str, target: str, frame: pl.DataFrame) -> None:
    schema = schema_of(table)
    rows = frame.with_columns(pl.lit(target).alias("target")).select(schema.names)
    store.replace(table, rows.to_arrow().cast(schema), f"target = {quoted(target)}")
