"""Near-duplicates of the stored pool, kept current from a persistent index of band keys.

What a document repeats depends only on the documents that a chain of shared buckets links it to, so when
documents come or go, those chains alone are decided again, from their texts; the outcome equals that of all
documents at once. 200 bytes of keys a document are held in memory, and texts only of what is decided.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from tamis.corpus import near_duplicates
from tamis.corpus.minhash import Buckets, band_keys, buckets_of, connected, rows_per_band
from tamis.corpus.near_duplicates import dropped_of
from tamis.progress import Advance, ignore
from tamis.store.schemas import schema_of
from tamis.store.tables import Store, matrix_of, quoted

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
class _Keys:
    """Band keys of some documents."""

    doc_ids: pl.Series  # [n]
    bands_nb: NDArray[np.uint64]


def update_near_duplicates(
    store: Store, threshold: float, *, afresh: bool = False, advance: Advance = ignore
) -> Update:
    """Make the table of near-duplicates what it is for the documents stored now.

    `afresh`: trust neither table nor index. The table is written before the index, so a run that dies between
    the two decides the same documents again.
    """
    ids = store.read("documents", ["doc_id"])["doc_id"].sort()
    fingerprint = f"minhash-{near_duplicates.CODE_VERSION}-{SHINGLE}-{PERMUTATIONS}-{threshold:g}"
    trusted = not afresh and store.exists(TABLE)
    known = _known(store, fingerprint, threshold, trusted)
    new = ids.filter(~_among(ids, known.doc_ids))
    added = _hashed(store, new, threshold, advance)
    before = store.read(TABLE) if len(known.doc_ids) else store.read(TABLE).clear()
    before = before.filter(_among(before["doc_id"], ids))
    orphaned = before.filter(~_among(before["kept"], ids))["doc_id"]
    seeds_n = (_among(ids, new) | _among(ids, orphaned)).to_numpy()
    decided_n, found = _decide(store, ids, _in_order(ids, known, added), seeds_n, threshold)
    standing = before.filter(~_among(before["doc_id"], ids.filter(pl.Series(decided_n))))
    rows = pl.concat([standing, found.cast(standing.schema)]).sort("doc_id")
    store.overwrite(TABLE, rows.to_arrow().cast(schema_of(TABLE)))
    _write_index(store, added, fingerprint, anew=not len(known.doc_ids))
    return Update(hashed=len(new), decided=int(decided_n.sum()), dropped=len(rows))


def _among(values: pl.Series, of: pl.Series) -> pl.Series:
    """Mask of the values that stand in the other series."""
    return values.is_in(of.implode()) if len(of) else pl.Series(np.zeros(len(values), dtype=bool))


def _bands(threshold: float) -> int:
    return PERMUTATIONS // rows_per_band(PERMUTATIONS, threshold)


def _known(store: Store, fingerprint: str, threshold: float, trusted: bool) -> _Keys:
    """Band keys that were computed earlier in the same way."""
    ids, parts = [pl.Series("doc_id", [], pl.String)], [np.empty((0, _bands(threshold)), dtype=np.uint64)]
    stored = store.batches(INDEX, ["doc_id", "bands"], f"fingerprint = {quoted(fingerprint)}")
    for batch in stored if trusted else ():
        ids.append(pl.Series("doc_id", batch["doc_id"]))
        parts.append(matrix_of(batch["bands"], np.uint64))
    return _Keys(doc_ids=pl.concat(ids), bands_nb=np.concatenate(parts))


def _hashed(store: Store, doc_ids: pl.Series, threshold: float, advance: Advance) -> _Keys:
    """Band keys of these documents, from their texts."""
    ids, parts = [pl.Series("doc_id", [], pl.String)], [np.empty((0, _bands(threshold)), dtype=np.uint64)]
    for block in _texts(store, doc_ids):
        ids.append(block["doc_id"])
        parts.append(band_keys(block["text"], threshold, SHINGLE, PERMUTATIONS, advance))
    return _Keys(doc_ids=pl.concat(ids), bands_nb=np.concatenate(parts))


def _texts(store: Store, doc_ids: pl.Series) -> Iterator[pl.DataFrame]:
    for table in store.by_ids("documents", doc_ids.to_list(), list(_TEXTS)):
        yield pl.DataFrame(pl.from_arrow(table))


def _in_order(ids: pl.Series, *parts: _Keys) -> NDArray[np.uint64]:
    """Band keys [n, bands] in the order of the ids; every id has some, and keys of other ids are left out."""
    given = pl.concat([part.doc_ids for part in parts]).to_frame("doc_id").with_row_index("place")
    places = ids.to_frame("doc_id").join(given, on="doc_id", how="left", maintain_order="left")["place"]
    assert places.null_count() == 0
    return np.concatenate([part.bands_nb for part in parts])[places.to_numpy()]


def _decide(
    store: Store, ids: pl.Series, keys_nb: NDArray[np.uint64], seeds_n: NDArray[np.bool_], threshold: float
) -> tuple[NDArray[np.bool_], pl.DataFrame]:
    """Which documents had to be decided (mask [n]), and those of them that are dropped."""
    buckets = buckets_of(keys_nb)
    linked_n = connected(buckets, seeds_n)
    inside = buckets.restricted(linked_n)
    shared = np.unique(inside.members)
    position = np.zeros(len(ids), dtype=np.int64)
    position[shared] = np.arange(len(shared))
    chosen = ids.gather(shared).alias("doc_id")
    texts = pl.concat([pl.DataFrame(schema=_TEXTS), *_texts(store, chosen)])
    ordered = chosen.to_frame().join(texts, on="doc_id", how="left", maintain_order="left")["text"]
    of_those = Buckets(members=position[inside.members], bucket=inside.bucket)
    return linked_n, dropped_of(chosen, ordered, of_those, threshold, SHINGLE)


def _write_index(store: Store, added: _Keys, fingerprint: str, anew: bool) -> None:
    """Add the new band keys; those of documents that are gone went with them."""
    count, bands = added.bands_nb.shape
    for start in range(0, max(count, anew), _ROWS_PER_COMMIT):
        part = slice(start, start + _ROWS_PER_COMMIT)
        doc_ids = added.doc_ids[part].to_arrow().cast(pa.string())
        keys = pa.FixedSizeListArray.from_arrays(pa.array(added.bands_nb[part].ravel()), bands)
        columns = [doc_ids, keys, pa.array([fingerprint] * len(doc_ids))]
        rows = pa.table(columns, schema=schema_of(INDEX, bands))
        if anew and start == 0:
            store.overwrite(INDEX, rows)
        else:
            store.merge(INDEX, rows)
