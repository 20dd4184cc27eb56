"""Near-duplicates of the stored pool, kept current from a persistent index of band keys.

What a document repeats depends only on the documents that a chain of shared buckets links it to, so when
documents come or go, those chains alone are decided again, from their texts; the outcome equals that of all
documents at once. 200 bytes of keys a document are held in memory, and texts only of what is decided.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from tamis.base.progress import Advance, ignore
from tamis.corpus import near_duplicates
from tamis.corpus.minhash import Buckets, band_keys, buckets_of, linked, rows_per_band
from tamis.corpus.near_duplicates import dropped_of
from tamis.store.schemas import schema_of
from tamis.store.tables import Store, matrix_of, one_of, quoted

TABLE, INDEX = "near_duplicates", "near_duplicate_bands"
SHINGLE, PERMUTATIONS = 5, 128
_ROWS_PER_COMMIT = 50_000
_TEXTS = {"doc_id": pl.String, "text": pl.String}


@dataclass(frozen=True, kw_only=True)
class Update:
    """What bringing the table up to date did: documents hashed, decided again, and dropped in all."""

    hashed: int
    decided: int
    dropped: int


@dataclass(frozen=True, kw_only=True)
class Keys:
    """Band keys of some documents."""

    doc_ids: pl.Series  # [n]
    bands_nb: NDArray[np.uint64]


@dataclass(frozen=True, kw_only=True)
class Relation:
    """Who may resemble whom, and who does: where it is kept, and how it is computed.

    `hashed` gives band keys of documents, in blocks; `dropped` the documents to drop (doc_id, kept,
    similarity) among some in ascending order, whose buckets are given by position.
    """

    table: str
    index: str
    fingerprint: str
    bands: int
    hashed: Callable[[pl.Series, Advance], Iterator[Keys]]
    dropped: Callable[[pl.Series, Buckets], pl.DataFrame]


def update_near_duplicates(
    store: Store, threshold: float, *, afresh: bool = False, advance: Advance = ignore
) -> Update:
    """Make the table of near-duplicates what it is for the documents stored now.

    `afresh`: trust neither table nor index.
    """
    relation = Relation(
        table=TABLE,
        index=INDEX,
        fingerprint=f"minhash-{near_duplicates.CODE_VERSION}-{SHINGLE}-{PERMUTATIONS}-{threshold:g}",
        bands=PERMUTATIONS // rows_per_band(PERMUTATIONS, threshold),
        hashed=lambda ids, advance: _hashed(store, ids, threshold, advance),
        dropped=lambda ids, buckets: _dropped(store, ids, buckets, threshold),
    )
    ids = store.read("documents", ["doc_id"])["doc_id"].sort()
    return update(store, relation, ids, afresh=afresh, advance=advance)


def _hashed(store: Store, doc_ids: pl.Series, threshold: float, advance: Advance) -> Iterator[Keys]:
    for block in _texts(store, doc_ids):
        keys_nb = band_keys(block["text"], threshold, SHINGLE, PERMUTATIONS, advance)
        yield Keys(doc_ids=block["doc_id"], bands_nb=keys_nb)


def _dropped(store: Store, ids: pl.Series, buckets: Buckets, threshold: float) -> pl.DataFrame:
    texts = pl.concat([pl.DataFrame(schema=_TEXTS), *_texts(store, ids)])
    ordered = ids.to_frame().join(texts, on="doc_id", how="left", maintain_order="left")["text"]
    return dropped_of(ids, ordered, buckets, threshold, SHINGLE)


def _texts(store: Store, doc_ids: pl.Series) -> Iterator[pl.DataFrame]:
    for table in store.by_ids("documents", doc_ids.to_list(), list(_TEXTS)):
        yield pl.DataFrame(pl.from_arrow(table))


def update(
    store: Store, relation: Relation, ids: pl.Series, *, afresh: bool = False, advance: Advance = ignore
) -> Update:
    """Make a table what its relation says of these documents, in ascending order.

    The table is written before the index, so a run that dies between the two decides the same again.
    """
    known = _known(store, relation, trusted=not afresh and store.exists(relation.table))
    new = ids.filter(~_among(ids, known.doc_ids))
    added = _joined(relation.bands, relation.hashed(new, advance))
    standing = store.read(relation.table) if len(known.doc_ids) else store.read(relation.table).clear()
    before = standing.filter(_among(standing["doc_id"], ids))
    orphaned = before.filter(~_among(before["kept"], ids))["doc_id"]
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
    for part in parts:
        ids.append(part.doc_ids)
        keys.append(part.bands_nb)
    return Keys(doc_ids=pl.concat(ids), bands_nb=np.concatenate(keys))


def _known(store: Store, relation: Relation, trusted: bool) -> Keys:
    """Band keys that were computed earlier in the same way."""
    same = f"fingerprint = {quoted(relation.fingerprint)}"
    stored = store.batches(relation.index, ["doc_id", "bands"], same) if trusted else ()
    parts = (
        Keys(doc_ids=pl.Series("doc_id", batch["doc_id"]), bands_nb=matrix_of(batch["bands"], np.uint64))
        for batch in stored
    )
    return _joined(relation.bands, parts)


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
    for start in range(0, len(left), 1_000):
        store.delete(relation.index, one_of("doc_id", left[start : start + 1_000].to_list()))
    for start in range(0, max(count, fresh), _ROWS_PER_COMMIT):
        part = slice(start, start + _ROWS_PER_COMMIT)
        doc_ids = added.doc_ids[part].to_arrow().cast(pa.string())
        keys = pa.FixedSizeListArray.from_arrays(pa.array(added.bands_nb[part].ravel()), bands)
        columns = [doc_ids, keys, pa.array([relation.fingerprint] * len(doc_ids))]
        rows = pa.table(columns, schema=schema_of(relation.index, bands))
        if fresh and start == 0:
            store.overwrite(relation.index, rows)
        else:
            store.merge(relation.index, rows)
