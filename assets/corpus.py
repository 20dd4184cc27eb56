"""Corpus: raw shards, their documents, and near-duplicates over the whole pool."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import polars as pl

from resources.platform import Platform
from resources.specification import described
from resources.work import Made, Rows, Work
from tamis.corpus import ShardChangedError, ShardGoneError, near_duplicates, read_shard
from tamis.corpus.documents import ShardBatch
from tamis.corpus.intake import store_shard
from tamis.lineage.reconcile import collect_orphans
from tamis.progress import Advance
from tamis.references import named
from tamis.store.schemas import schema_of
from tamis.store.tables import quoted

READABLE = ("readable", "Nothing of the shard is in quarantine.", False)


@dg.asset(**described("raw_shards", ["text"]))
def raw_shards(context: dg.AssetExecutionContext, platform: Platform) -> Iterator[Any]:
    """One raw file, or one installed package: hashed again at each materialization."""
    with platform.work(context) as work:
        for key in work.partitions:
            if key not in work.world.shards:
                yield from work.leave(key, ShardGoneError(key))
                continue
            shard, digest = work.world.shards[key], work.world.fingerprints[key]
            facts = {"corpus": shard.corpus, "name": shard.name, "sha256": digest}
            yield from work.record(Made(partition=key, data_version=digest, metadata=facts))


@dg.asset(**described("documents", ["lancedb", "polars"], [READABLE]))
def documents(context: dg.AssetExecutionContext, platform: Platform) -> Iterator[Any]:
    """Documents of a shard: normalised text under its content id, stored once however often it occurs.

    Bad rows go to quarantine with a reason; everything valid beside them is kept.
    """
    with platform.work(context) as work, work.progress("documents", unit="rows") as progress:
        for key in work.partitions:
            try:
                intake = store_shard(work.store, key, as_hashed(work, key, progress.advance))
            except (ShardChangedError, ShardGoneError) as error:
                yield from work.leave(key, error, "readable")
                continue
            if key == work.partitions[-1]:
                # Before the last head moves: a run that dies here leaves a shard to do, and this with it.
                collect_orphans(work.store, work.world)
            scope = f"shard = {quoted(key)}"
            yield from work.record(
                Made(
                    partition=key,
                    rows=[
                        Rows(table="occurrences", where=scope),
                        Rows(table="quarantine", where=scope),
                        Rows(table="documents", doc_ids=intake.doc_ids),
                    ],
                    row_count=intake.occurrences,
                    metadata=intake.metadata(),
                    checks=[_readable(intake.quarantined)],
                )
            )


def as_hashed(work: Work, key: str, advance: Advance) -> Iterator[ShardBatch]:
    """Batches of a shard; raises `ShardChangedError` unless they are the bytes that `raw_shards` hashed."""
    if key not in work.world.shards:
        raise ShardGoneError(key)
    work.key(key)
    shard = work.world.shards[key]
    if work.heads[("raw_shards", key)].data_version != work.world.fingerprints[key]:
        raise ShardChangedError(shard.path)
    yield from read_shard(shard, named(work.project.settings.corpus, shard.corpus), advance=advance)
    if not work.world.lies_as_hashed(key):
        raise ShardChangedError(shard.path)


def _readable(quarantined: dict[str, int]) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key="documents",
        check_name="readable",
        passed=not quarantined,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"quarantined": dg.MetadataValue.json(quarantined)},
    )


@dg.asset(**described("near_duplicates", ["lancedb", "minhash"]))
def near_duplicate_documents(context: dg.AssetExecutionContext, platform: Platform) -> Iterator[Any]:
    """Documents that repeat another almost word for word; the kept one is the smallest doc_id.

    MinHash over word 5-shingles finds candidates, exact Jaccard similarity decides.
    """
    with platform.work(context) as work:
        pool = work.store.read("documents", ["doc_id", "text"]).sort("doc_id")
        threshold = work.project.settings.near_duplicates.threshold
        with work.progress("near-duplicates", len(pool)) as progress:
            found = near_duplicates.find_near_duplicates(
                pool["doc_id"].to_list(),
                pool["text"].to_list(),
                threshold=threshold,
                advance=progress.advance,
            )
        rows = found.select(pl.col("doc_id"), pl.col("kept"), pl.col("jaccard").cast(pl.Float32)).to_arrow()
        work.store.overwrite("near_duplicates", rows.cast(schema_of("near_duplicates")))
        share = len(found) / max(len(pool), 1)
        yield from work.record(
            Made(rows=[Rows(table="near_duplicates")], row_count=len(found), metadata={"share": share})
        )
