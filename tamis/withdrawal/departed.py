"""Documents that left the corpora: earlier versions of tables still name them and have their texts.

A version that cannot be read any more is passed over: a withdrawal removes all of them.
"""

import contextlib
from collections.abc import Collection, Iterator, Sequence

import polars as pl

from tamis.corpus.shards import corpus_of_key
from tamis.corpus.sources import NOTES
from tamis.corpus.stage import OCCURRENCES, TARGET_EXAMPLES
from tamis.store.schemas import tables_of_texts
from tamis.store.tables import DamagedTableError, Store, one_of
from tamis.store.withdrawn import CHUNK

TEXTS_AT_ONCE = 5_000
_TEXT = ["doc_id", "text"]


def earlier_versions(store: Store, table: str) -> list[int]:
    """Return the numbers of all versions of a table but the latest, the last ones first."""
    if not store.exists(table):
        return []
    opened = store.open(table)
    found = sorted((int(one["version"]) for one in opened.list_versions()), reverse=True)
    return [one for one in found if one != opened.version]


def _earlier(store: Store, table: str, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    for version in earlier_versions(store, table):
        with contextlib.suppress(DamagedTableError):
            yield store.read(table, columns, version=version)


def departed_places(store: Store) -> pl.DataFrame:
    """Return where documents were that no corpus and no target has now: doc_id, shard, source, corpus."""
    now = pl.concat([store.read(one.name, ["doc_id"]) for one in (OCCURRENCES, TARGET_EXAMPLES)])
    columns = ["doc_id", "shard", "source"]
    earlier = _earlier(store, OCCURRENCES.name, columns)
    places = [found.join(now, on="doc_id", how="anti").unique() for found in earlier]
    if not any(map(len, places)):
        return pl.DataFrame(schema=dict.fromkeys([*columns, "corpus"], pl.String))
    noted: dict[str, str] = {}
    for table in NOTES:
        names = ["shard", "corpus"]
        for notes in (*_earlier(store, table, names), store.read(table, names)):
            noted |= dict(notes.iter_rows())
    left = pl.concat(places).unique()
    return left.with_columns(
        corpus=pl.Series([noted.get(key) or corpus_of_key(key) for key in left["shard"]], dtype=pl.String)
    )


def texts_of(store: Store, doc_ids: Sequence[str]) -> Iterator[dict[str, str]]:
    """Yield the texts of documents by id, in blocks: as tables have them, else as an earlier version had."""
    left = set(doc_ids)
    for start in range(0, len(doc_ids), TEXTS_AT_ONCE):
        for table in tables_of_texts():
            for block in store.by_ids(table, doc_ids[start : start + TEXTS_AT_ONCE], _TEXT):
                texts = dict(pl.DataFrame(pl.from_arrow(block)).iter_rows())
                left -= texts.keys()
                yield texts
    for table in tables_of_texts():
        for version in earlier_versions(store, table) if left else ():
            with contextlib.suppress(DamagedTableError):
                for texts in _texts_in(store, table, version, left):
                    left -= texts.keys()
                    yield texts


def _texts_in(store: Store, table: str, version: int, doc_ids: Collection[str]) -> Iterator[dict[str, str]]:
    there = store.read(table, ["doc_id"], version=version)["doc_id"].unique()
    found = sorted(set(doc_ids).intersection(there))
    for start in range(0, len(found), CHUNK):
        where = one_of("doc_id", found[start : start + CHUNK])
        yield dict(store.read(table, _TEXT, where, version=version).iter_rows())
