"""Rows that could not be read: how many the entries of the quarantine stand for.

A reader says how many rows of a file it lost, where it can. Of bytes that break, the rows that the file had
when it was read last say it. The number is for people: no digest looks at it, so a file has the same version
whatever it held before.
"""

from collections.abc import Mapping

import polars as pl

from tamis.store.tables import Store

QUARANTINE, COLUMN = "quarantine", "rows_lost"
STILL_BEING_WRITTEN = "still_being_written"
"""Reason of an entry for a file that waits: its stored rows are those of the reading before."""


def lost_rows() -> pl.Expr:
    """Return the sum of lost rows over entries, at least one per entry."""
    return pl.col(COLUMN).fill_null(1).sum().cast(pl.Int64)


def rows_before(store: Store, places: pl.DataFrame) -> Mapping[str, int]:
    """Return how many rows each file had when it was read last, lost ones too; `places`: of documents."""
    bad = store.read(QUARANTINE, ["shard", COLUMN], f"reason != '{STILL_BEING_WRITTEN}'")
    rows = pl.len().cast(pl.Int64).alias(COLUMN)
    counts = [places.group_by("shard").agg(rows), bad.group_by("shard").agg(lost_rows())]
    return dict(pl.concat(counts).group_by("shard").agg(pl.col(COLUMN).sum()).iter_rows())


def with_lost_rows(bad: pl.DataFrame, before: int, rows: int) -> pl.DataFrame:
    """Return the entries of a file, of which one that counts nothing stands for the rows that are missing.

    `before`: rows of the last reading; `rows`: those that were read now.
    """
    missing = before - rows - int(bad[COLUMN].sum())
    if bad[COLUMN].null_count() != 1 or missing < 1:
        return bad
    return bad.with_columns(pl.col(COLUMN).fill_null(missing))
