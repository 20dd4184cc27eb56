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
from tamis.duplicates.minhash import split_words, windows_of, word_windows
from tamis.settings.config import DecontaminationSection
from tamis.store.tables import Store, quoted

Batch = tuple[Sequence[str], Sequence[str]]
_HITS = {"doc_id": pl.String, "run": pl.Int64}
_FEW_DOCUMENTS = 3  # a run in so few documents is a leak, not a template, however small the pool
TABLE, RUNS = "contamination", "contamination_runs"


@dataclass(frozen=True, kw_only=True)
class Runs:
    """Runs of words to look for: their hashes [r], ascending, and the numbers of words that they have."""

    hashes: NDArray[np.uint64]
    sizes: tuple[int, ...]


def shared_runs(batches: Iterable[Batch], runs: Runs, advance: Advance = ignore) -> pl.DataFrame:
    """Return which of these runs each document holds: doc_id, runs (hashes, ascending); by doc_id.

    Words are those of `tamis.base.words`, lower-cased. Documents that hold no run are left out.
    """
    hits = [pl.DataFrame(schema=_HITS)]
    for count, held in in_threads(lambda batch: (len(batch[0]), _hits(*batch, runs)), batches):
        hits.append(held)
        advance(count)
    found = pl.concat(hits)
    return (
        found.select("doc_id")
        .with_columns(pl.Series("runs", runs.hashes[found["run"].to_numpy()], dtype=pl.UInt64))
        .sort("doc_id", "runs")
        .group_by("doc_id")
        .all()
        .sort("doc_id")
    )


def contaminated_among(shared: pl.DataFrame, documents: int, maximum_share: float = 0.01) -> pl.Series:
    """doc_ids, ascending, that hold a run which few of all `documents` hold; `shared` as of `shared_runs`."""
    hits = shared.explode("runs").rename({"runs": "run"}).drop_nulls("run")
    return _rarest(hits, most_holders(documents, maximum_share))["doc_id"]


def most_holders(documents: int, maximum_share: float) -> float:
    """Return how many of all documents may hold a run before the run counts as template text."""
    return max(maximum_share * documents, _FEW_DOCUMENTS)


def runs_of_texts(texts: Sequence[str], ngram: int) -> Runs:
    """Return the runs of `ngram` words of these texts; a shorter text is a run as a whole."""
    return Runs(hashes=np.unique(word_windows(texts, ngram).hashes), sizes=(ngram,))


def _hits(doc_ids: Sequence[str], texts: Sequence[str], runs: Runs) -> pl.DataFrame:
    """The documents that hold each run (position in `runs`, sorted hashes), once each."""
    words, ids = split_words(pl.Series(texts, dtype=pl.String)), pl.Series(doc_ids, dtype=pl.String)
    found = [pl.DataFrame(schema=_HITS)]
    for size in runs.sizes if len(runs.hashes) else ():
        windows = windows_of(words, size)
        position = np.searchsorted(runs.hashes, windows.hashes)
        position[position == len(runs.hashes)] = 0
        held = runs.hashes[position] == windows.hashes
        columns = {"doc_id": ids.gather(windows.document[held]), "run": position[held]}
        found.append(pl.DataFrame(columns, schema=_HITS))
    return pl.concat(found).unique()


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
    kept = store.read(RUNS, ["doc_id", "runs", "left_out_mark"], scope)
    held = current_runs(
        store, kept, runs_of_texts(_held_out(store, scope), section.ngram), changed_shards, advance
    )
    _replace(store, RUNS, target, held.runs)
    found = contaminated_among(held.runs.select("doc_id", "runs"), held.documents, section.maximum_share)
    _replace(store, TABLE, target, found.to_frame())
    return Leaks(read=held.read, contaminated=len(found))


@dataclass(frozen=True, kw_only=True)
class HeldRuns:
    """Runs that the stored documents hold: doc_id, runs (hashes, ascending), left_out_mark; by doc_id.

    The mark is that of shared text that is left out of a document; a document with a mark is there without a
    run, too. documents: number of stored documents. read: number of those whose texts were read.
    """

    runs: pl.DataFrame
    documents: int
    read: int


def current_runs(
    store: Store,
    kept: pl.DataFrame,
    runs: Runs,
    changed_shards: Sequence[str] | None,
    advance: Advance = ignore,
) -> HeldRuns:
    """Return which runs the documents stored now hold.

    kept: the rows of the last `HeldRuns.runs`, which stay valid for documents outside of `changed_shards`
    (None: for none).
    """
    ids, shared = store.read(DOCUMENTS.name, ["doc_id"]), read_shared_text(store)
    kept = kept.join(ids, on="doc_id", how="semi")
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
    read = shared_runs(_stored_batches(store, wanted, shared), runs, advance)
    # Also of those that hold no run.
    read = read.join(marks, on="doc_id", how="full", coalesce=True).with_columns(pl.col("runs").fill_null([]))
    return HeldRuns(
        runs=pl.concat([kept.cast(read.schema), read]).sort("doc_id"),
        documents=len(ids),
        read=len(ids) if wanted is None else len(wanted),
    )


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
