"""Compaction: many small commits become few files, and versions that nobody can be reading any more go.

What a table says is never changed by it, so it makes no data version. A reader opens one file in place of
hundreds; the price is that the rows are written once more.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any

from tamis.store.places import costs_a_request, count_files, file_ages
from tamis.store.retained import retained_tables
from tamis.store.schemas import control, declared
from tamis.store.tables import Store, reading

MOST_SMALL_FILES, MOST_VERSIONS = 32, 64
MOST_EACH_STEP = 8
"""Of tables that every step writes and reads: 40 files take six times as long as one (benchmarks.reads)."""
KEPT = timedelta(days=1)
"""A reader pins a version for the length of its work; none works longer."""
KEPT_EACH_STEP = timedelta(minutes=1)
"""Of tables that every step writes, which nobody pins."""
LEAST_INDEXED = 200_000
MOST_UNINDEXED = 0.1
_INDEX = "doc_id_index"
_FOR_EVER = timedelta(days=36_500)
_MARGIN = timedelta(seconds=2)
"""A version is dated when its commit begins, its file when it ends."""


def compact(store: Store, table: str | None = None) -> list[str]:
    """Compact the tables (or the one named) that have many small files; return their names.

    The caller holds the writer's lock. A table that somebody else compacts meanwhile is left to them.
    """
    return [
        name
        for name in (store.names() if table is None else [table])
        if store.exists(name) and _compact(store, name)
    ]


def tables_to_tidy(store: Store) -> list[str]:
    """Return the tables that grow whatever a step makes: of control, and of retained rows.

    In an object store, where looking at each costs requests, of control only what every step writes.
    """
    return [
        *retained_tables(store),
        *(one.name for one in control() if one.each_step or not costs_a_request(store.folder)),
    ]


def _compact(store: Store, table: str) -> bool:
    with reading(table):
        age, known = _age_to_remove(store, table), declared(table)
        indexed = known is not None and known.indexed
        most = MOST_EACH_STEP if known is not None and known.each_step else MOST_SMALL_FILES
        # Files of all versions: where these are few, those of the latest are.
        if (
            age is None
            and not indexed
            and not costs_a_request(store.folder)
            and count_files(store.folder, f"{table}.lance/data", ".lance") <= most
        ):
            return False
        opened = store.open(table)
        many = opened.stats()["fragment_stats"]["num_small_fragments"] > most
        done = many and _optimized(opened, _FOR_EVER)
        if age is not None:
            _optimized(opened, age)
        if indexed:
            _index(opened)
        return done


def _age_to_remove(store: Store, table: str) -> timedelta | None:
    """Return the age from which versions go; None while few are older than what is kept.

    In a folder, the version that was the latest at the beginning of that time stays: it may be read since.
    """
    versions = f"{table}.lance/_versions"
    if not isinstance(store.folder, Path):
        return KEPT if count_files(store.folder, versions, ".manifest") > MOST_VERSIONS else None
    kept = KEPT_EACH_STEP if (known := declared(table)) and known.each_step else KEPT
    ages = [age for age in file_ages(store.folder / versions, ".manifest") if age >= kept]
    return min(ages) + _MARGIN if len(ages) > MOST_VERSIONS else None


def _index(opened: Any) -> None:
    """Index the ids of a large table again where a tenth of its rows is not indexed: .6 s for 1,000,000 rows.

    One document is then found in 4 ms instead of 40.
    """
    from lancedb.index import BTree

    rows = opened.count_rows()
    if rows < LEAST_INDEXED:
        return
    known = opened.index_stats(_INDEX) if any(one.name == _INDEX for one in opened.list_indices()) else None
    if known is None or known.num_unindexed_rows > MOST_UNINDEXED * rows:
        opened.create_index("doc_id", config=BTree(), name=_INDEX, replace=True)


def _optimized(opened: Any, kept: timedelta) -> bool:
    """Compact, and remove versions older than `kept`; False where the storage layer may not.

    It removes no version while an old one is tagged, and commits nothing that another process did first.
    """
    try:
        opened.optimize(cleanup_older_than=kept)
    except (RuntimeError, OSError) as error:
        if "tagged" in str(error) or "commit conflict" in str(error):
            return False
        raise
    return True
