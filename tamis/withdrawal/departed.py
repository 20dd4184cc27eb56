"""Documents that left the corpora: earlier versions of tables still name them and have their texts.

A version that cannot be read any more is passed over: a withdrawal removes all of them.
"""

import contextlib
from collections.abc import Collection, Iterator, Sequence
from itertools import chain

import polars as pl

from tamis.corpus.shards import corpus_of_key
from tamis.corpus.small_files import TABLE as GROUPED_FILES
from tamis.corpus.sources import NOTES
from tamis.corpus.stage import OCCURRENCES, TARGET_EXAMPLES
from tamis.passages.places import PARENT, read_passages
from tamis.store.schemas import tables_of_texts
from tamis.store.tables import DamagedTableError, Store, quoted

TEXTS_AT_ONCE = 5_000


def earlier_versions(store: Store, table: str) -> list[int]:
    """Return the numbers of all versions of a table but the latest, the last ones first."""
    if not store.exists(table):
        return []
    opened = store.open(table)
    numbers = {int(one["version"]) for one in opened.list_versions()} - {opened.version}
    return sorted(numbers, reverse=True)


def _earlier(
    store: Store, table: str, columns: Sequence[str], where: str | None = None
) -> Iterator[pl.DataFrame]:
    for version in earlier_versions(store, table):
        with contextlib.suppress(DamagedTableError):
            yield store.read(table, columns, where, version=version)


def departed_places(store: Store) -> pl.DataFrame:
    """Return where documents were that no corpus and no target has now: doc_id, shard, source, corpus."""
    now = pl.concat([store.read(one.name, ["doc_id"]) for one in (OCCURRENCES, TARGET_EXAMPLES)])
    now = pl.concat([now, read_passages(store, [PARENT]).select(doc_id=PARENT)])
    columns = ["doc_id", "shard", "source"]
    left = pl.DataFrame(schema=dict.fromkeys(columns, pl.String))
    # Each version may be as large as the pool.
    for found in _earlier(store, OCCURRENCES.name, [*columns, PARENT]):
        split = found.drop_nulls(PARENT).with_columns(doc_id=PARENT)
        found = pl.concat([found, split]).select(columns)
        left = pl.concat([left, found.join(now, on="doc_id", how="anti")]).unique()
    noted: dict[str, str] = {}
    names = ["shard", "corpus"]
    for table in NOTES if len(left) else ():
        for notes in chain([store.read(table, names)], _earlier(store, table, names)):
            noted = dict(notes.iter_rows()) | noted  # the last word counts
    return left.with_columns(
        corpus=pl.Series([noted.get(key) or corpus_of_key(key) for key in left["shard"]], dtype=pl.String)
    )


def passages_ever(store: Store, doc_ids: Collection[str]) -> pl.DataFrame:
    """Return passages (doc_id) and the documents that they are or were from (passage_of).

    Earlier versions are read only where one of `doc_ids` is neither a document nor a passage of the latest.
    """
    columns = ["doc_id", PARENT]
    passages = read_passages(store, columns)
    stored = pl.concat([store.read(OCCURRENCES.name, ["doc_id"])["doc_id"], passages[PARENT]])
    if pl.Series([*doc_ids], dtype=pl.String).is_in(stored.implode()).all():
        return passages.unique()
    for found in _earlier(store, OCCURRENCES.name, columns):
        passages = pl.concat([passages, found.drop_nulls(PARENT)]).unique()
    return passages.unique()


def files_before(store: Store, group: str) -> set[str]:
    """Return the files that a group of small files has had in earlier versions of the notes on groups."""
    earlier = _earlier(store, GROUPED_FILES, ["shard"], f"part_of = {quoted(group)}")
    return set[str]().union(*(found["shard"] for found in earlier))


def texts_of(store: Store, doc_ids: Collection[str]) -> Iterator[dict[str, str]]:
    """Yield the texts of documents by id, in blocks: as tables have them, else as an earlier version had."""
    left = set(doc_ids)
    for table in tables_of_texts():
        for texts in _texts_in(store, table, doc_ids):
            left -= texts.keys()
            yield texts
    for table in tables_of_texts() if left else ():
        for version in earlier_versions(store, table):
            with contextlib.suppress(DamagedTableError):
                for texts in _texts_in(store, table, left, version):
                    left -= texts.keys()
                    yield texts
            if not left:  # most departed texts are in the last version that was superseded
                return


def _texts_in(
    store: Store, table: str, doc_ids: Collection[str], version: int | None = None
) -> Iterator[dict[str, str]]:
    blocks = store.by_ids(table, sorted(doc_ids), ["doc_id", "text"], TEXTS_AT_ONCE, version=version)
    return (dict(pl.DataFrame(pl.from_arrow(block)).iter_rows()) for block in blocks)
