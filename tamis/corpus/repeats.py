"""Repeats in the stored pool, kept current: text that files share, and near-duplicates."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from tamis.base.progress import Advance, ignore
from tamis.corpus.sources import NOTES, with_corpora
from tamis.duplicates import near_duplicates
from tamis.duplicates.minhash import Buckets, band_keys, buckets_of, linked, rows_per_band, split_words
from tamis.duplicates.near_duplicates import dropped_of
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
from tamis.store.tables import ALL, Store, detached, matrix_of, one_of, quoted

SHARED_TEXT = "shared_text"
_TEXTS_AT_ONCE = 20_000
_DOCUMENTS = {"doc_id": pl.String, "turn_end": pl.UInt32, "shared_in": pl.String, "mark": pl.String}
_RUNS = ("shingles", "begins", "ends")
_OWN = {"doc_id": pl.String, "own": pl.String, "left_out": pl.Float32}
TABLE, INDEX = "near_duplicates", "near_duplicate_bands"
SHINGLE, PERMUTATIONS = 5, 128
_MOSTLY = 0.5
_ROWS_PER_COMMIT = 50_000
_TEXTS = {"doc_id": pl.String, "text": pl.String}
_NO_MARKS = pl.DataFrame(schema={"doc_id": pl.String, "mark": pl.String})


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
        return texts.join(parts, on="doc_id", how="left", maintain_order="left").select(
            "doc_id", pl.coalesce("own", "text").alias("text"), "left_out"
        )


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
    documents = (
        in_files.join(turns, on="doc_id", how="full", coalesce=True)
        .with_columns(pl.col("shared_in", "turn").fill_null(""))
        .with_columns(stated=pl.concat_str("turn", "shared_in", separator=" "))
    )
    stated = documents["stated"].unique()
    mark = pl.Series("mark", [_digest(VERSION, one) for one in stated], pl.String)
    marked = documents.join(pl.DataFrame([stated, mark]), on="stated")
    return SharedText(
        documents=marked.select(list(_DOCUMENTS)).sort("doc_id"),
        runs={digest: _runs(row) for digest, *row in shared.select("digest", *_RUNS).iter_rows()},
    )


def shared_turns(places: pl.DataFrame) -> pl.DataFrame:
    """Return doc_id, turn and turn_end of the documents whose system turn other documents have as well.

    places: doc_id, turn, turn_end. Where the places of a document differ, the longest turn counts.
    """
    return (
        places.filter(pl.col("turn").is_not_null())
        .select("doc_id", "turn", "turn_end")
        .sort("doc_id", "turn_end", "turn")
        .unique("doc_id", keep="last", maintain_order=True)
        .filter(pl.len().over("turn") >= LEAST_CONVERSATIONS)
    )


def units_of(held: pl.DataFrame, files: pl.DataFrame) -> pl.DataFrame:
    """Return doc_id and unit: the file, or the folder or corpus of files with few documents.

    held: doc_id and shard of documents, without repeats; files: shard, corpus and folder.
    """
    rest, found = held.join(files, on="shard", how="left"), []
    for unit, least in (("shard", LEAST_HOLDERS), ("folder", LEAST_HOLDERS), ("corpus", 0)):
        counted = rest.unique(["doc_id", unit]) if unit != "shard" else rest
        many = (
            counted.group_by(unit)
            .len("documents")
            .filter(pl.col("documents") >= least)
            .select(unit, pl.concat_str(pl.lit(unit), unit, separator=" ").alias("unit"))
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
    sample = (
        units.group_by("unit")
        .agg(pl.col("doc_id").bottom_k(SAMPLE))
        .filter(pl.col("doc_id").list.len() >= LEAST_HOLDERS)
        .explode("doc_id")
        .sort("unit", "doc_id")
        .join(turns.select("doc_id", "turn_end"), on="doc_id", how="left", maintain_order="left")
    )
    looked_at = pl.concat_str("doc_id", pl.col("turn_end").fill_null(0), separator=" ")
    stated = sample.group_by("unit", maintain_order=True).agg(looked_at.str.join(" ").alias("stated"))
    samples = pl.Series("sample", [_digest(VERSION, one) for one in stated["stated"]], pl.String)
    now, stored = stated.select("unit", samples), store.read(SHARED_TEXT)
    known = stored.join(now, on=["unit", "sample"], how="semi")
    new = now.join(known, on="unit", how="anti")
    found = _look_at(store, sample.join(new, on="unit", how="semi", maintain_order="left"))
    rows = pl.concat([known, new.join(found, on="unit").select(known.columns)]).sort("unit")
    if len(new) or len(stored) != len(rows):
        store.put(SHARED_TEXT, rows, ALL)
    shared = rows.filter(pl.col("shingles").list.len() > 0)
    digests = [_digest(VERSION, str(row)) for row in shared.select(_RUNS).iter_rows()]
    return shared.select("unit", *_RUNS, pl.Series("digest", digests, pl.String))


def _look_at(store: Store, sample: pl.DataFrame) -> pl.DataFrame:
    """Return unit and runs of the units of a sample (unit, doc_id, turn_end), sorted by unit."""
    found: list[tuple[Any, ...]] = []
    parts = (
        sample.group_by("unit", maintain_order=True)
        .len()
        .select("unit", part=pl.col("len").cum_sum() // _TEXTS_AT_ONCE)
    )
    for _, rows in sample.join(parts, on="unit", maintain_order="left").group_by("part", maintain_order=True):
        texts = pl.concat(_texts(store, rows["doc_id"].unique()))
        rests = rows.join(texts, on="doc_id", maintain_order="left").with_columns(
            pl.col("text").str.slice(pl.col("turn_end").fill_null(0))
        )
        for (unit,), own in rests.group_by("unit", maintain_order=True):
            runs = shared_runs_of(split_words(own["text"]))
            found.append((unit, *(getattr(runs, name).tolist() for name in _RUNS)))
    lists = dict.fromkeys(_RUNS, pl.List(pl.UInt64))
    return pl.DataFrame(found, schema={"unit": pl.String, **lists}, orient="row")


def _runs(row: Sequence[Sequence[int]]) -> SharedRuns:
    return SharedRuns(**{name: np.array(one, dtype=np.uint64) for name, one in zip(_RUNS, row, strict=True)})


def _digest(*values: str) -> str:
    return hashlib.blake2b("\0".join(values).encode(), digest_size=8).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Update:
    """Counts of an update of the table: documents hashed, decided again, and dropped in all."""

    hashed: int
    decided: int
    dropped: int


@dataclass(frozen=True, kw_only=True)
class Keys:
    """Band keys of some documents, and the share of their words that was left out (null for none)."""

    doc_ids: pl.Series  # [n]
    bands_nb: NDArray[np.uint64]
    left_out: pl.Series | None = None  # [n]


@dataclass(frozen=True, kw_only=True)
class Relation:
    """Possible and actual neighbours of documents: where they are kept, and how they are computed.

    `hashed` gives band keys of documents, in blocks; `dropped` the documents to drop (doc_id, kept,
    similarity) among some in ascending order, whose buckets are given by position. `marks`: doc_id and mark
    of documents of which a part is compared; keys of another part are not valid.
    """

    table: str
    index: str
    fingerprint: str
    bands: int
    hashed: Callable[[pl.Series, Advance], Iterator[Keys]]
    dropped: Callable[[pl.Series, Buckets], pl.DataFrame]
    marks: pl.DataFrame = field(default_factory=_NO_MARKS.clone)


def update_near_duplicates(
    store: Store, threshold: float, *, afresh: bool = False, advance: Advance = ignore
) -> Update:
    """Make the table of near-duplicates what it is for the documents stored now.

    `afresh`: trust neither table nor index.
    """
    shared = read_shared_text(store)
    relation = Relation(
        table=TABLE,
        index=INDEX,
        fingerprint=f"minhash-{near_duplicates.KEYS_VERSION}-{SHINGLE}-{PERMUTATIONS}-{threshold:g}",
        bands=PERMUTATIONS // rows_per_band(PERMUTATIONS, threshold),
        hashed=lambda ids, advance: _hashed(store, ids, threshold, shared, advance),
        dropped=lambda ids, buckets: _dropped(store, ids, buckets, threshold, shared),
        marks=shared.documents.select("doc_id", "mark"),
    )
    ids = store.read("documents", ["doc_id"])["doc_id"].sort()
    return update(store, relation, ids, afresh=afresh, advance=advance)


def mostly_shared(store: Store) -> pl.Series:
    """Return the ids, sorted, of the documents over half of whose words are left out as shared text."""
    if not store.exists(INDEX) or "left_out" not in store.schema(INDEX).names:  # made before there was one
        return pl.Series("doc_id", [], pl.String)
    return store.read(INDEX, ["doc_id"], f"left_out > {_MOSTLY}")["doc_id"].sort()


def _hashed(
    store: Store, doc_ids: pl.Series, threshold: float, shared: SharedText, advance: Advance
) -> Iterator[Keys]:
    for block in map(shared.compared, _texts(store, doc_ids)):
        keys_nb = band_keys(block["text"], threshold, SHINGLE, PERMUTATIONS, advance)
        yield Keys(doc_ids=block["doc_id"], bands_nb=keys_nb, left_out=block["left_out"])


def _dropped(
    store: Store, ids: pl.Series, buckets: Buckets, threshold: float, shared: SharedText
) -> pl.DataFrame:
    places = ids.to_frame().with_row_index("place")
    compared = (
        places.join(shared.compared(block), on="doc_id", maintain_order="left")
        for block in _texts(store, ids)
    )
    texts = ((block["place"].cast(pl.Int64).to_numpy(), block["text"]) for block in compared)
    return dropped_of(ids, texts, buckets, threshold, SHINGLE)


def _texts(store: Store, doc_ids: pl.Series) -> Iterator[pl.DataFrame]:
    for table in store.by_ids("documents", doc_ids.to_list(), list(_TEXTS)):
        yield pl.DataFrame(pl.from_arrow(table))


def update(
    store: Store, relation: Relation, ids: pl.Series, *, afresh: bool = False, advance: Advance = ignore
) -> Update:
    """Make a table what its relation says of these documents, in ascending order.

    The table is written before the index, so a run that dies between the two decides the same again. Keys of
    documents of which another part is compared now go first: should that part change back, they would hide
    that the table says something else.
    """
    known, outdated = _known(store, relation, trusted=not afresh and store.exists(relation.table))
    _forget(store, relation, outdated)
    new = ids.filter(~_among(ids, known.doc_ids))
    added = _joined(relation.bands, relation.hashed(new, advance))
    standing = store.read(relation.table) if len(known.doc_ids) else store.read(relation.table).clear()
    before = standing.filter(_among(standing["doc_id"], ids))
    orphaned = before.filter(~_among(before["kept"], ids.filter(~_among(ids, new))))["doc_id"]
    seeds_n = (_among(ids, new) | _among(ids, orphaned)).to_numpy()
    decided_n, found = _decide(relation, ids, _in_order(ids, known, added), seeds_n)
    before = before.filter(~_among(before["doc_id"], ids.filter(pl.Series(decided_n))))
    rows = pl.concat([before, found.cast(before.schema)]).sort("doc_id")
    store.put(relation.table, rows, ALL)
    left = known.doc_ids.filter(~_among(known.doc_ids, ids))
    _write_index(store, relation, added, left, fresh=not len(known.doc_ids))
    return Update(hashed=len(new), decided=int(decided_n.sum()), dropped=len(rows))


def _among(values: pl.Series, of: pl.Series) -> pl.Series:
    """Return the mask of the values that are in the other series."""
    return values.is_in(of.implode()) if len(of) else pl.Series(np.zeros(len(values), dtype=bool))


def _joined(bands: int, parts: Iterator[Keys]) -> Keys:
    ids, keys = [pl.Series("doc_id", [], pl.String)], [np.empty((0, bands), dtype=np.uint64)]
    left_out = [pl.Series("left_out", [], pl.Float32)]
    for part in parts:
        ids.append(detached(part.doc_ids))
        keys.append(part.bands_nb)
        nothing = pl.repeat(None, len(part.doc_ids), dtype=pl.Float32, eager=True)
        left_out.append(nothing if part.left_out is None else part.left_out)
    return Keys(doc_ids=pl.concat(ids), bands_nb=np.concatenate(keys), left_out=pl.concat(left_out))


def _known(store: Store, relation: Relation, trusted: bool) -> tuple[Keys, pl.Series]:
    """Band keys that were computed earlier in the same way, and the ids of keys of another part of a text."""
    whole, parted = f"fingerprint = {quoted(relation.fingerprint)}", quoted(f"{relation.fingerprint}-")
    filters = (whole, f"starts_with(fingerprint, {parted})") if trusted else ()
    parts, outdated = [], [pl.Series("doc_id", [], pl.String)]
    for only in filters:
        for batch in store.batches(relation.index, ["doc_id", "bands", "fingerprint"], only):
            doc_ids = pl.Series("doc_id", batch["doc_id"])
            valid = _fingerprints(relation, doc_ids) == pl.Series(batch["fingerprint"])
            bands_nb = matrix_of(batch["bands"], np.uint64)[valid.to_numpy()]
            parts.append(Keys(doc_ids=doc_ids.filter(valid), bands_nb=bands_nb))
            outdated.append(doc_ids.filter(~valid))
    return _joined(relation.bands, iter(parts)), pl.concat(outdated)


def _fingerprints(relation: Relation, doc_ids: pl.Series) -> pl.Series:
    """Return the fingerprint of the keys of each document: with its mark, where a part is compared."""
    marked = doc_ids.to_frame("doc_id").join(relation.marks, on="doc_id", how="left", maintain_order="left")
    parts = (pl.lit(relation.fingerprint), "mark")
    return marked.select(found=pl.concat_str(*parts, separator="-", ignore_nulls=True))["found"]


def _in_order(ids: pl.Series, *parts: Keys) -> NDArray[np.uint64]:
    """Band keys [n, bands] in the order of the ids; every id has some, and keys of other ids are left out."""
    places, keys_nb = ids.to_frame("doc_id").with_row_index("place"), None
    found_n = np.zeros(len(ids), dtype=bool)
    for part in parts:
        rows = part.doc_ids.to_frame("doc_id").with_row_index("row").join(places, on="doc_id")
        if keys_nb is None:
            keys_nb = np.empty((len(ids), part.bands_nb.shape[1]), dtype=np.uint64)
        keys_nb[rows["place"].to_numpy()] = part.bands_nb[rows["row"].to_numpy()]
        found_n[rows["place"].to_numpy()] = True
    assert keys_nb is not None
    assert found_n.all()
    return keys_nb


def _decide(
    relation: Relation, ids: pl.Series, keys_nb: NDArray[np.uint64], seeds_n: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], pl.DataFrame]:
    """Return the documents that had to be decided (mask [n]), and those of them that are dropped."""
    linked_n = linked(keys_nb, seeds_n)
    inside = buckets_of(keys_nb, linked_n)
    shared = np.unique(inside.members)
    position = np.zeros(len(ids), dtype=np.int64)
    position[shared] = np.arange(len(shared))
    of_those = Buckets(members=position[inside.members], bucket=inside.bucket)
    return linked_n, relation.dropped(ids.gather(shared).alias("doc_id"), of_those)


def _write_index(store: Store, relation: Relation, added: Keys, left: pl.Series, fresh: bool) -> None:
    """Add the new band keys and take away those of documents that are not among the others any more."""
    count, bands = added.bands_nb.shape
    _forget(store, relation, left)
    for start in range(0, max(count, fresh), _ROWS_PER_COMMIT):
        part = slice(start, start + _ROWS_PER_COMMIT)
        columns = {
            "doc_id": added.doc_ids[part],
            "bands": pa.FixedSizeListArray.from_arrays(pa.array(added.bands_nb[part].ravel()), bands),
            "fingerprint": _fingerprints(relation, added.doc_ids[part]),
        }
        if added.left_out is not None:
            columns["left_out"] = added.left_out[part]
        store.put(relation.index, columns, ALL if fresh and start == 0 else None)


def _forget(store: Store, relation: Relation, doc_ids: pl.Series) -> None:
    """Delete the band keys of these documents."""
    for start in range(0, len(doc_ids), 1_000):
        store.delete(relation.index, one_of("doc_id", doc_ids[start : start + 1_000].to_list()))
