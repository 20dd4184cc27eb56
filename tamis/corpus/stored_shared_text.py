"""Which text the files of the pool share, and what of each stored document is left out for it.

What a file shares depends on its documents alone. Text that is shared in any file in which a document occurs
is left out of that document, so neither the order of arrival nor the other files matter. Files of fewer than
10 documents count together: those of a folder, else those of their corpus. What was found in a file is
kept with a digest of the documents that were looked at, so an arrival costs a look at its own file.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from tamis.corpus.sources import NOTES, with_corpora
from tamis.duplicates.minhash import split_words
from tamis.duplicates.shared_text import (
    LEAST_CONVERSATIONS,
    LEAST_HOLDERS,
    SAMPLE,
    VERSION,
    OwnWords,
    SharedRuns,
    joined_runs,
    own_words,
    shared_runs_of,
)
from tamis.store.schemas import schema_of
from tamis.store.tables import Store

TABLE = "shared_text"
_TEXTS_AT_ONCE = 20_000
_DOCUMENTS = {"doc_id": pl.String, "turn_end": pl.UInt32, "shared_in": pl.String, "mark": pl.String}
_RUNS = ("shingles", "begins", "ends")
_OWN = {"doc_id": pl.String, "own": pl.String, "left_out": pl.Float32}


@dataclass(frozen=True, kw_only=True)
class SharedText:
    """The documents that hold text which others share.

    documents: doc_id; turn_end, characters of the system turn to be left out, null for none; shared_in,
    digests of what their files share, separated by spaces; mark, a digest of both. runs: what files share, by
    digest.
    """

    documents: pl.DataFrame
    runs: Mapping[str, SharedRuns]

    def compared(self, texts: pl.DataFrame) -> pl.DataFrame:
        """Return documents (doc_id, text) with the text that is compared, and left_out: share of the words.

        left_out is null where nothing is left out.
        """
        return self._in_place(texts, OwnWords.compared)

    def own_texts(self, texts: pl.DataFrame) -> pl.DataFrame:
        """Return the same with the own words alone, without a word for the system turn."""
        return self._in_place(texts, OwnWords.own_texts)

    def _in_place(self, texts: pl.DataFrame, read: Callable[[OwnWords], pl.Series]) -> pl.DataFrame:
        found = [pl.DataFrame(schema=_OWN)]
        known = texts.join(self.documents, on="doc_id", maintain_order="left")
        for (shared_in,), rows in known.group_by("shared_in", maintain_order=True):
            runs = joined_runs([self.runs[digest] for digest in str(shared_in).split()])
            own = own_words(rows["text"], rows["turn_end"], runs)
            shares = pl.Series("left_out", own.shares, pl.Float32)
            found.append(rows.select("doc_id", read(own).alias("own"), shares))
        parts = pl.concat(found).filter(pl.col("left_out") > 0)
        whole = texts.join(parts, on="doc_id", how="left", maintain_order="left")
        return whole.select("doc_id", pl.coalesce("own", "text").alias("text"), "left_out")


NOTHING_SHARED = SharedText(documents=pl.DataFrame(schema=_DOCUMENTS), runs={})


def read_shared_text(store: Store) -> SharedText:
    """Return what the stored documents share, after a look at the files that changed."""
    names = {"system_turn": "turn", "system_turn_end": "turn_end"}
    places = store.read("occurrences", ["doc_id", "shard", *names]).rename(names)
    turns = shared_turns(places)
    held = places.select("doc_id", "shard").unique()
    units = units_of(held, _files(store, held["shard"].unique()))
    shared = _shared_by_unit(store, units, turns)
    parts = units.join(shared, on="unit").select("doc_id", "digest").unique().sort("doc_id", "digest")
    in_files = parts.group_by("doc_id").agg(pl.col("digest").str.join(" ").alias("shared_in"))
    documents = in_files.join(turns, on="doc_id", how="full", coalesce=True)
    if documents.is_empty():
        return NOTHING_SHARED
    documents = documents.with_columns(pl.col("shared_in", "turn").fill_null(""))
    stated = pl.concat_str("turn", "shared_in", separator=" ").alias("stated")
    distinct = documents.select(stated).unique()
    marks = distinct.with_columns(mark=pl.Series([_digest(VERSION, one) for one in distinct["stated"]]))
    marked = documents.with_columns(stated).join(marks, on="stated").select(list(_DOCUMENTS)).sort("doc_id")
    return SharedText(
        documents=marked,
        runs={digest: _runs(row) for digest, *row in shared.select("digest", *_RUNS).iter_rows()},
    )


def shared_turns(places: pl.DataFrame) -> pl.DataFrame:
    """Return doc_id, turn and turn_end of the documents whose system turn other documents have as well.

    places: doc_id, turn, turn_end. Where the places of a document differ, the longest turn counts.
    """
    known = places.filter(pl.col("turn").is_not_null()).select("doc_id", "turn", "turn_end")
    longest = known.sort("doc_id", "turn_end", "turn").unique("doc_id", keep="last", maintain_order=True)
    return longest.filter(pl.len().over("turn") >= LEAST_CONVERSATIONS)


def units_of(held: pl.DataFrame, files: pl.DataFrame) -> pl.DataFrame:
    """Return doc_id and unit: the file, or the folder or corpus of files with few documents.

    held: doc_id and shard of documents, without repeats; files: shard, corpus and folder.
    """
    rest, found = held.join(files, on="shard", how="left"), []
    for unit, least in (("shard", LEAST_HOLDERS), ("folder", LEAST_HOLDERS), ("corpus", 0)):
        counted = rest.unique(["doc_id", unit]) if unit != "shard" else rest
        sizes = counted.group_by(unit).len("documents")
        many = sizes.filter(pl.col("documents") >= least).select(
            unit, pl.concat_str(pl.lit(unit), unit, separator=" ").alias("unit")
        )
        found.append(counted.join(many, on=unit).select("doc_id", "unit"))
        rest = rest.join(many, on=unit, how="anti")
    return pl.concat(found)


def _files(store: Store, shards: pl.Series) -> pl.DataFrame:
    """Return shard, corpus and folder of files, the folder named with its corpus."""
    notes = pl.concat([store.read(table, ["shard", "name"]) for table in NOTES]).unique("shard", keep="last")
    files = with_corpora(store, shards.to_frame("shard")).join(notes, on="shard", how="left")
    folder = pl.col("name").str.extract(r"^(.*/)").fill_null("")
    return files.select("shard", "corpus", pl.concat_str("corpus", folder, separator=" ").alias("folder"))


def _shared_by_unit(store: Store, units: pl.DataFrame, turns: pl.DataFrame) -> pl.DataFrame:
    """Return unit, runs and their digest of the units that share any text; what was found is kept."""
    smallest = units.group_by("unit").agg(pl.col("doc_id").bottom_k(SAMPLE))
    smallest = smallest.filter(pl.col("doc_id").list.len() >= LEAST_HOLDERS)
    sample = smallest.explode("doc_id").sort("unit", "doc_id")
    sample = sample.join(turns.select("doc_id", "turn_end"), on="doc_id", how="left", maintain_order="left")
    looked_at = pl.concat_str("doc_id", pl.col("turn_end").fill_null(0), separator=" ")
    stated = sample.group_by("unit", maintain_order=True).agg(looked_at.str.join(" ").alias("stated"))
    samples = pl.Series("sample", [_digest(VERSION, one) for one in stated["stated"]], pl.String)
    now, stored = stated.select("unit", samples), store.read(TABLE)
    known = stored.join(now, on=["unit", "sample"], how="semi")
    new = now.join(known, on="unit", how="anti")
    found = _look_at(store, sample.join(new, on="unit", how="semi", maintain_order="left"))
    rows = pl.concat([known, new.join(found, on="unit").select(known.columns)]).sort("unit")
    if len(new) or len(stored) != len(rows):
        store.overwrite(TABLE, rows.to_arrow().cast(schema_of(TABLE)))
    shared = rows.filter(pl.col("shingles").list.len() > 0)
    digests = [_digest(VERSION, str(row)) for row in shared.select(_RUNS).iter_rows()]
    return shared.select("unit", *_RUNS, pl.Series("digest", digests, pl.String))


def _look_at(store: Store, sample: pl.DataFrame) -> pl.DataFrame:
    """Return unit and runs of the units of a sample (unit, doc_id, turn_end), sorted by unit."""
    found: list[tuple[Any, ...]] = []
    sizes = sample.group_by("unit", maintain_order=True).len()
    parts = sizes.select("unit", part=pl.col("len").cum_sum() // _TEXTS_AT_ONCE)
    for _, rows in sample.join(parts, on="unit", maintain_order="left").group_by("part", maintain_order=True):
        blocks = store.by_ids("documents", rows["doc_id"].unique().to_list(), ["doc_id", "text"])
        texts = pl.concat([pl.DataFrame(pl.from_arrow(block)) for block in blocks])
        held = rows.join(texts, on="doc_id", maintain_order="left")
        rests = held.with_columns(pl.col("text").str.slice(pl.col("turn_end").fill_null(0)))
        for (unit,), own in rests.group_by("unit", maintain_order=True):
            runs = shared_runs_of(split_words(own["text"]))
            found.append((unit, *(getattr(runs, name).tolist() for name in _RUNS)))
    lists = dict.fromkeys(_RUNS, pl.List(pl.UInt64))
    return pl.DataFrame(found, schema={"unit": pl.String, **lists}, orient="row")


def _runs(row: Sequence[Sequence[int]]) -> SharedRuns:
    return SharedRuns(**{name: np.array(one, dtype=np.uint64) for name, one in zip(_RUNS, row, strict=True)})


def _digest(*values: str) -> str:
    return hashlib.blake2b("\0".join(values).encode(), digest_size=8).hexdigest()
