"""Documents set aside by a stage: why, by which model or server, and the rows that show it in quarantine.

The table `set_aside` is the memory: what is in it under the current fingerprint is not tried again. Rows of
the quarantine, under `stage/NAME`, say the same to people; the key of a shard holds no slash, so no shard has
such a name. Of a file of a group the place is `stage/NAME/GROUP/FILE`.
"""

from collections.abc import Mapping, Sequence

import polars as pl

from tamis.base.unfit import Refusal
from tamis.corpus.shards import is_group_key
from tamis.corpus.small_files import files_of, rows_of_files
from tamis.store.schemas import schema_of
from tamis.store.tables import Store, one_of, quoted

TABLE, QUARANTINE = "set_aside", "quarantine"


def place_of(stage: str, partition: str = "") -> str:
    """What is written in place of a shard for the documents that a stage set aside."""
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
    """What these stages have set aside: doc_id, stage, reason, detail; with `fingerprints` only by those."""
    where = one_of("stage", stages)
    if fingerprints is not None:
        where += f" AND {one_of('fingerprint', fingerprints)}"
    return store.read(TABLE, ["doc_id", "stage", "reason", "detail"], where)


def forget_refused(store: Store, stage: str, fingerprints: Sequence[str]) -> None:
    """Forget what a stage has set aside under other fingerprints than these: it is tried again."""
    if store.exists(TABLE):
        store.delete(TABLE, f"stage = {quoted(stage)} AND NOT ({one_of('fingerprint', fingerprints)})")


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
    first = held.sort("shard", "row").unique(["doc_id", "shard"], keep="first", maintain_order=True)
    found = first.join(refused, on="doc_id").join(files, on="shard").sort("shard", "row")
    file = (
        pl.when(pl.col("partition") == pl.col("shard")).then(pl.lit("")).otherwise(pl.format("/{}", "shard"))
    )
    rows = found.with_columns(
        pl.format(f"stage/{stage}/{{}}{{}}", "partition", file).alias("shard"),
        pl.col("row").cast(pl.Int64),
        _named_detail(),
        pl.col("doc_id").alias("excerpt"),
    )
    _replace(store, rows, scope)
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
        _named_detail(),
        pl.col("doc_id").alias("excerpt"),
    )
    _replace(store, rows, scope)


def forget_shown(store: Store, shards: Sequence[str]) -> None:
    """Take what stages have set aside of these shards out of the quarantine."""
    places = store.read(QUARANTINE, ["shard"], "shard LIKE 'stage/%/%'")["shard"].unique().sort()
    parts = places.str.split("/")
    of_shards = places.filter(parts.list.get(2).is_in(list(shards)) | parts.list.last().is_in(list(shards)))
    if len(of_shards):
        store.delete(QUARANTINE, one_of("shard", of_shards.to_list()))


def _named_detail() -> pl.Expr:
    return pl.format("document {}: {}", "doc_id", "detail").alias("detail")


def _replace(store: Store, rows: pl.DataFrame, scope: str) -> None:
    schema = schema_of(QUARANTINE)
    rows = rows.with_columns(rows_lost=pl.lit(1, pl.Int64))
    store.replace(QUARANTINE, rows.select(schema.names).to_arrow().cast(schema), scope)
