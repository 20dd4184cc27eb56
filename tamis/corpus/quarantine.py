"""Quarantine: rows that could not be read, and documents that a stage cannot work with."""

from collections.abc import Mapping, Sequence

import polars as pl

from tamis.base.unfit import Refusal
from tamis.corpus.shards import is_group_key
from tamis.corpus.small_files import files_of, rows_of_files
from tamis.passages.places import rows_by_shard
from tamis.store.tables import Store, one_of, quoted

QUARANTINE = "quarantine"
COLUMN = "rows_lost"
STILL_BEING_WRITTEN = "still_being_written"
"""Reason of an entry for a file that waits: its stored rows are those of the reading before."""
TABLE = "set_aside"


def lost_rows() -> pl.Expr:
    """Return the sum of lost rows over entries, at least one per entry."""
    return pl.col(COLUMN).fill_null(1).sum().cast(pl.Int64)


def rows_before(store: Store) -> Mapping[str, int]:
    """Return how many rows each file had when it was read last, lost ones too."""
    bad = store.read(QUARANTINE, ["shard", COLUMN], f"reason != '{STILL_BEING_WRITTEN}'")
    counts = [
        rows_by_shard(store).rename({"rows": COLUMN}),
        bad.group_by("shard").agg(lost_rows()),
    ]
    return dict(pl.concat(counts).group_by("shard").agg(pl.col(COLUMN).sum()).iter_rows())


def with_lost_rows(bad: pl.DataFrame, before: int, rows: int) -> pl.DataFrame:
    """Return the entries of a file, of which one that counts nothing stands for the rows that are missing.

    `before`: rows of the last reading; `rows`: those that were read now.
    """
    missing = before - rows - int(bad[COLUMN].sum())
    if bad[COLUMN].null_count() != 1 or missing < 1:
        return bad
    return bad.with_columns(pl.col(COLUMN).fill_null(missing))


def place_of(stage: str, partition: str = "") -> str:
    """Return the name that takes the place of a shard for the documents that a stage set aside."""
    return f"stage/{stage}/{partition}" if partition else f"stage/{stage}"


def note_refused(store: Store, stage: str, fingerprint: str, refused: Mapping[str, Refusal]) -> None:
    """Remember why these documents, by id, are set aside; in one commit, none where there is nothing."""
    if not refused:
        return
    rows = [
        {"doc_id": doc_id, "stage": stage, "reason": str(why.reason), "detail": why.detail}
        | {"fingerprint": fingerprint}
        for doc_id, why in sorted(refused.items())
    ]
    store.merge_values(TABLE, rows)


def read_refused(
    store: Store, stages: Sequence[str], fingerprints: Sequence[str] | None = None
) -> pl.DataFrame:
    """Return doc_id, stage, reason and detail of what stages set aside; with `fingerprints` only by those."""
    where = one_of("stage", stages)
    if fingerprints is not None:
        where += f" AND {one_of('fingerprint', fingerprints)}"
    return store.read(TABLE, ["doc_id", "stage", "reason", "detail"], where)


def forget_refused(store: Store, stage: str, fingerprints: Sequence[str]) -> None:
    """Forget what a stage has set aside under other fingerprints than these: it is tried again."""
    if store.exists(TABLE):
        store.delete(TABLE, f"stage = {quoted(stage)} AND NOT ({one_of('fingerprint', fingerprints)})")


def forget_all_refused(store: Store, stage: str) -> None:
    """Forget all that a stage without partitions has set aside: the project does not use it any more."""
    place = place_of(stage)
    for table, column, own in ((TABLE, "stage", stage), (QUARANTINE, "shard", place)):
        if store.exists(table):
            store.delete(table, f"{column} = {quoted(own)} OR starts_with({column}, {quoted(f'{own}/')})")


def show_refused(
    store: Store, stage: str, groups: Mapping[str, Sequence[str]], fingerprints: Sequence[str]
) -> dict[str, int]:
    """Make the quarantine show what a stage has set aside, by shard; how many of each shard, without zeros.

    groups: documents of each shard that was looked at.
    """
    refused = read_refused(store, [stage], fingerprints)
    alone = [place_of(stage, shard) for shard in groups if not is_group_key(shard)]
    scope = " OR ".join(
        [one_of("shard", alone), *(rows_aside(stage, shard) for shard in groups if is_group_key(shard))]
    )
    if not len(refused) and not store.count(QUARANTINE, scope):
        return {}
    files = files_of(store, list(groups))
    held = rows_of_files(store, "occurrences", ["doc_id", "shard", "row"], files["shard"].to_list())
    found = (
        held.sort("shard", "row")
        .unique(["doc_id", "shard"], keep="first", maintain_order=True)
        .join(refused, on="doc_id")
        .join(files, on="shard")
        .sort("shard", "row")
        .unique(["shard", "row", "reason"], keep="first", maintain_order=True)  # passages of a row are one
    )
    file = (
        pl.when(pl.col("partition") == pl.col("shard")).then(pl.lit("")).otherwise(pl.format("/{}", "shard"))
    )
    place = pl.format(f"stage/{stage}/{{}}{{}}", "partition", file).alias("shard")
    _replace(store, found.with_columns(place, pl.col("row").cast(pl.Int64)), scope)
    return dict(found.group_by("partition").len().sort("partition").iter_rows())


def rows_aside(stage: str, shard: str) -> str:
    """Return the filter on the quarantine that finds what a stage has set aside of a shard."""
    place = place_of(stage, shard)
    if is_group_key(shard):
        return f"starts_with(shard, {quoted(place + '/')})"
    return f"shard = {quoted(place)}"


def show_rows(store: Store, place: str, refused: pl.DataFrame) -> None:
    """Make the quarantine show these documents (doc_id, reason, detail), numbered, under one place."""
    scope = f"shard = {quoted(place)}"
    if not len(refused) and not store.count(QUARANTINE, scope):
        return
    rows = refused.sort("doc_id").with_columns(
        pl.lit(place).alias("shard"),
        pl.int_range(pl.len(), dtype=pl.Int64).alias("row"),
    )
    _replace(store, rows, scope)


def forget_shown(store: Store, shards: Sequence[str]) -> None:
    """Take what stages have set aside of these shards out of the quarantine."""
    places = store.read(QUARANTINE, ["shard"], "shard LIKE 'stage/%/%'")["shard"].unique().sort()
    parts = places.str.split("/")
    of_shards = places.filter(parts.list.get(2).is_in(list(shards)) | parts.list.last().is_in(list(shards)))
    if len(of_shards):
        store.delete(QUARANTINE, one_of("shard", of_shards.to_list()))


def _replace(store: Store, documents: pl.DataFrame, scope: str) -> None:
    """Put documents (shard, row, doc_id, reason, detail) in place of the entries in a scope."""
    rows = documents.with_columns(
        detail=pl.format("document {}: {}", "doc_id", "detail"),
        excerpt="doc_id",
        rows_lost=pl.lit(1, pl.Int64),
    )
    store.put(QUARANTINE, rows, scope)
