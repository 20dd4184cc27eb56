"""Documents of the pool that give held-out examples away: they share a long run of words with one.

Runs that occur in over 1 % of the pool are template text and ignored (half of a templated held-out set
shares a 13-gram with its pool, measured), so runs are long, 20 words. Only the held-out runs are held in
memory, the pool streams by in batches: 20,000 documents of 1,000 characters in 2 s on one core. Of documents
and examples that share text with many others of their file, the texts are their own words.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from tamis.base.progress import Advance, ignore
from tamis.base.threads import in_threads
from tamis.corpus.intake import documents_of_shards
from tamis.corpus.repeats import SharedText, read_shared_text
from tamis.corpus.stage import DOCUMENTS, TARGET_ANSWERS, TARGET_EXAMPLES
from tamis.corpus.targets import own_words_of_examples
from tamis.duplicates.minhash import word_windows
from tamis.settings.config import DecontaminationSection
from tamis.store.tables import Store, quoted

Batch = tuple[Sequence[str], Sequence[str]]
_HITS = {"doc_id": pl.String, "run": pl.Int64}
_FEW_DOCUMENTS = 3  # a run in so few documents is a leak, not a template, however small the pool
TABLE, RUNS = "contamination", "contamination_runs"


def shared_runs(
    batches: Iterable[Batch], held_out_texts: Sequence[str], ngram: int = 20, advance: Advance = ignore
) -> pl.DataFrame:
    """The runs of held-out texts that each document holds: doc_id, runs (hashes, ascending); by doc_id.

    Words are those of `tamis.base.words`, lower-cased; a run is `ngram` of them. A text shorter than `ngram`
    words counts when it is equal as a whole. Documents that hold no run are left out.
    """
    runs = np.unique(word_windows(held_out_texts, ngram).hashes)
    hits = [pl.DataFrame(schema=_HITS)]
    for count, held in in_threads(lambda batch: (len(batch[0]), _hits(*batch, runs, ngram)), batches):
        hits.append(held)
        advance(count)
    found = pl.concat(hits)
    return (
        found.select("doc_id")
        .with_columns(pl.Series("runs", runs[found["run"].to_numpy()], dtype=pl.UInt64))
        .sort("doc_id", "runs")
        .group_by("doc_id")
        .all()
        .sort("doc_id")
    )


def contaminated_among(shared: pl.DataFrame, documents: int, maximum_share: float = 0.01) -> pl.Series:
    """doc_ids, ascending, that hold a run which few of all `documents` hold; `shared` as of `shared_runs`."""
    hits = shared.explode("runs").rename({"runs": "run"}).drop_nulls("run")
    return _rarest(hits, max(maximum_share * documents, _FEW_DOCUMENTS))["doc_id"]


def _hits(doc_ids: Sequence[str], texts: Sequence[str], runs: NDArray[np.uint64], ngram: int) -> pl.DataFrame:
    """Which document holds which held-out run (position in `runs`, sorted hashes), once each."""
    windows = word_windows(texts, ngram)
    position = np.searchsorted(runs, windows.hashes)
    position[position == len(runs)] = 0
    held = runs[position] == windows.hashes if len(runs) else np.zeros(len(position), dtype=bool)
    holders = pl.Series(doc_ids, dtype=pl.String).gather(windows.document[held])
    return pl.DataFrame({"doc_id": holders, "run": position[held]}, schema=_HITS).unique()


def _rarest(hits: pl.DataFrame, most: float) -> pl.DataFrame:
    """For each document the run that fewest documents hold, of those that at most `most` hold; by doc_id."""
    return (
        hits.with_columns(holders=pl.len().over("run"))
        .filter(pl.col("holders") <= most)
        .sort("doc_id", "holders", "run")
        .unique("doc_id", keep="first", maintain_order=True)
        .select("doc_id", "run")
    )


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
        before = kept.drop_nulls("left_out_mark").select("doc_id", before="left_out_mark")
        both = before.join(marks, on="doc_id", how="full", coalesce=True)
        # Of these documents another part was compared than is to be compared now.
        otherwise = both.filter(pl.col("before").ne_missing(pl.col("left_out_mark")))["doc_id"]
        wanted = sorted({*otherwise, *(doc_id for doc_ids in held for doc_id in doc_ids)})
        kept = kept.filter(~pl.col("doc_id").is_in(wanted))
        marks = marks.filter(pl.col("doc_id").is_in(wanted))
    else:
        kept = kept.clear()
    read = shared_runs(
        _stored_batches(store, wanted, shared), _held_out(store, scope), section.ngram, advance
    )
    # Also of those that hold no run.
    read = read.join(marks, on="doc_id", how="full", coalesce=True).with_columns(pl.col("runs").fill_null([]))
    runs = pl.concat([kept.cast(read.schema), read]).sort("doc_id")
    _replace(store, RUNS, target, runs)
    found = contaminated_among(runs.select("doc_id", "runs"), len(ids), section.maximum_share)
    _replace(store, TABLE, target, found.to_frame())
    return Leaks(read=len(ids) if wanted is None else len(wanted), contaminated=len(found))


def _held_out(store: Store, scope: str) -> list[str]:
    """Return the held-out examples of a target, of those that share text with many examples the own words."""
    examples = store.read(TARGET_EXAMPLES.name, ["doc_id", "text", "split"], scope)
    turns = store.read(TARGET_ANSWERS.name, ["doc_id", "turns"], scope)
    examples = examples.join(turns, on="doc_id", how="left", maintain_order="left")
    return own_words_of_examples(examples).own_texts().filter(examples["split"] == "held_out").to_list()


def _stored_batches(store: Store, doc_ids: list[str] | None, shared: SharedText) -> Iterator[Batch]:
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
    store.put(table, frame.with_columns(target=pl.lit(target)), f"target = {quoted(target)}")
