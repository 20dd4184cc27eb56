"""Near-duplicates of the stored pool, kept current from a persistent index of band keys.

What a document repeats depends only on the documents that a chain of shared buckets links it to, so when
documents come or go, those chains alone are decided again, from their texts; the outcome equals that of all
documents at once. 200 bytes of keys a document are held in memory, and texts only of what is decided.
A document that shares text with many of its file is compared by its own words (`shared_text`); it is hashed
and decided again when that text changes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from tamis.base.progress import Advance, ignore
from tamis.corpus.stored_shared_text import SharedText, read_shared_text
from tamis.duplicates import near_duplicates
from tamis.duplicates.minhash import Buckets, band_keys, buckets_of, linked, rows_per_band
from tamis.duplicates.near_duplicates import dropped_of
from tamis.store.schemas import schema_of
from tamis.store.tables import Store, matrix_of, one_of, quoted

TABLE, INDEX = "near_duplicates", "near_duplicate_bands"
SHINGLE, PERMUTATIONS = 5, 128
_MOSTLY = 0.5
_ROWS_PER_COMMIT = 50_000
_TEXTS = {"doc_id": pl.String, "text": pl.String}
_NO_MARKS = pl.DataFrame(schema={"doc_id": pl.String, "mark": pl.String})


@dataclass(frozen=True, kw_only=True)
class Update:
    """What bringing the table up to date did: documents hashed, decided again, and dropped in all."""

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
    """Who may resemble whom, and who does: where it is kept, and how it is computed.

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
    compared = (block.select(*_TEXTS) for block in map(shared.compared, _texts(store, ids)))
    texts = pl.concat([pl.DataFrame(schema=_TEXTS), *compared])
    ordered = ids.to_frame().join(texts, on="doc_id", how="left", maintain_order="left")["text"]
    return dropped_of(ids, ordered, buckets, threshold, SHINGLE)


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
    store.overwrite(relation.table, rows.to_arrow().cast(schema_of(relation.table)))
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
        ids.append(part.doc_ids)
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
    given = pl.concat([part.doc_ids for part in parts]).to_frame("doc_id").with_row_index("place")
    places = ids.to_frame("doc_id").join(given, on="doc_id", how="left", maintain_order="left")["place"]
    assert places.null_count() == 0
    return np.concatenate([part.bands_nb for part in parts])[places.to_numpy()]


def _decide(
    relation: Relation, ids: pl.Series, keys_nb: NDArray[np.uint64], seeds_n: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], pl.DataFrame]:
    """Which documents had to be decided (mask [n]), and those of them that are dropped."""
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
        doc_ids = added.doc_ids[part].to_arrow().cast(pa.string())
        keys = pa.FixedSizeListArray.from_arrays(pa.array(added.bands_nb[part].ravel()), bands)
        fingerprints = _fingerprints(relation, added.doc_ids[part]).to_arrow().cast(pa.string())
        columns = {"doc_id": doc_ids, "bands": keys, "fingerprint": fingerprints}
        if added.left_out is not None:
            columns["left_out"] = added.left_out[part].to_arrow()
        schema = schema_of(relation.index, bands)
        rows = pa.table([columns[name] for name in schema.names], schema=schema)
        if fresh and start == 0:
            store.overwrite(relation.index, rows)
        else:
            store.merge(relation.index, rows)


def _forget(store: Store, relation: Relation, doc_ids: pl.Series) -> None:
    """Delete the band keys of these documents."""
    for start in range(0, len(doc_ids), 1_000):
        store.delete(relation.index, one_of("doc_id", doc_ids[start : start + 1_000].to_list()))
