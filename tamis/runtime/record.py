"""Outputs of partitions, and their record in Dagster: one event a value, one result a check.

Dagster takes one result of each check from a run, so those of many partitions wait for the last one.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import dagster as dg

from tamis.audit.events import event_tags
from tamis.corpus.quarantine import rows_aside
from tamis.corpus.stage import QUARANTINE
from tamis.graph.stages import made_together, stages
from tamis.records.current_values import CurrentValues
from tamis.records.manifest import InputReference, Manifest, ManifestFolder
from tamis.runtime.dagster_internals import SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION
from tamis.runtime.events import digest_of_metadata
from tamis.runtime.runs import tags_of
from tamis.stage import Stage
from tamis.store.columns import BadDeclarationError
from tamis.store.home import Home
from tamis.store.rows_files import BY_DOC_IDS, records_of_ids
from tamis.store.tables import Store, quoted


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows of one table that a partition holds: all that match `where`, or those of `doc_ids`.

    `records`: their digest and rows file where the one who wrote them has them at hand.
    """

    table: str
    where: str | None = None
    doc_ids: Sequence[str] | None = None
    records: tuple[str, bytes] | None = None


@dataclass(frozen=True, kw_only=True)
class Output:
    """The result of one partition, as the asset returns it.

    `rows`: None for those of the tables that its stage declares (`rows_of`), of a shard by its `doc_ids`.
    `aside`: rows of quarantine besides them.
    """

    partition: str = ""
    rows: Sequence[Rows] | None = None
    doc_ids: Sequence[str] | None = None
    aside: Sequence[Rows] = ()
    files: Sequence[Path] = ()
    row_count: int | None = None
    data_version: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    checks: Sequence[dg.AssetCheckResult] = ()
    asset: str | None = None
    settled: bool = True
    origins: Sequence[InputReference] = ()
    announce: Callable[[str], object] | None = None
    """Called with the manifest's id before the event is logged, and again where a retry records it again."""

    @property
    def refused(self) -> bool:
        """Whether a blocking check of it failed."""
        error = dg.AssetCheckSeverity.ERROR
        return any(not check.passed and check.severity == error for check in self.checks)


class Checks:
    """What was found of the partitions that a step makes, by asset."""

    def __init__(self, partitions: Collection[str]) -> None:
        self._partitions = partitions
        self._found: dict[str, list[dg.AssetCheckResult]] = {}
        self._done: dict[str, set[str]] = {}

    def add(
        self, asset: str, partition: str, found: Sequence[dg.AssetCheckResult]
    ) -> Iterator[dg.AssetCheckResult]:
        """Keep the checks of a partition of an asset; with the last one, those of the whole run."""
        kept = self._found.setdefault(asset, [])
        kept += found
        done = self._done.setdefault(asset, set())
        done.add(partition)
        if done.issuperset(self._partitions):
            yield from _merged(kept)


def rows_set_aside(stage: str, shard: str, facts: dict[str, Any], aside: Mapping[str, int]) -> list[Rows]:
    """The rows of quarantine that name what a stage set aside of a shard; counted in `facts`.

    Nothing is listed where nothing is set aside, so manifests of ordinary shards hold no more than before.
    """
    if not aside.get(shard):
        return []
    facts["set_aside"] = aside[shard]
    return [Rows(table=QUARANTINE.name, where=rows_aside(stage, shard))]


def rows_of(stage: Stage, made: Output) -> list[Rows]:
    """All rows of a partition: those that its asset lists, else those of the tables that the stage declares.

    Of such a table these are the rows of the partition's documents where they are given, else those that
    name the partition, and all of a stage without partitions. Raises `BadDeclarationError` where it is not
    said which they are.
    """
    if made.rows is not None:
        return [*made.rows, *made.aside]
    found = []
    for table in stage.tables:
        where = (
            f"{table.partition} = {quoted(made.partition)}" if stage.partitions and table.partition else None
        )
        if table.many or (stage.partitions and where is None and made.doc_ids is None):
            problem = f"which rows of table {table.name} a value holds is to be listed: Output(rows=...)"
            raise BadDeclarationError(stage.name, problem)
        found.append(Rows(table=table.name, where=where, doc_ids=made.doc_ids))
    return [*found, *made.aside]


def scope_of(entry: Rows) -> str:
    """How the rows are found again: by listed ids, by filter, or the whole table ("")."""
    return BY_DOC_IDS if entry.doc_ids is not None else entry.where or ""


def with_records(store: Store, mades: Sequence[Output]) -> list[Output]:
    """The same, with the rows of listed documents read by one reading of each table."""
    groups: dict[str, dict[str, Sequence[str]]] = {}
    for made in mades:
        for entry in made.rows or ():
            if entry.doc_ids is not None and entry.records is None:
                groups.setdefault(entry.table, {})[made.partition] = entry.doc_ids
    found = {table: records_of_ids(store, table, ids) for table, ids in groups.items()}
    return [
        replace(
            made,
            rows=[
                replace(entry, records=entry.records or found.get(entry.table, {}).get(made.partition))
                for entry in made.rows or ()
            ],
        )
        for made in mades
    ]


def evaluation_of(asset: str, check: dg.AssetCheckResult) -> dg.AssetCheckEvaluation:
    """Return a result as an event to log by hand."""
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(asset),
        check_name=str(check.check_name),
        passed=check.passed,
        severity=check.severity,
        metadata=check.metadata,
    )


def logged_by_hand(asset: dg.AssetKey) -> dg.MaterializeResult:
    """Return an output for which Dagster logs nothing: the values are logged by hand, or current.

    Without an output, Dagster skips what reads the asset in the same run; for one over many partitions, it
    logs the same version for each. This mark exempts the observations that it logs by hand itself.
    """
    return dg.MaterializeResult(
        asset_key=asset, metadata={SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION: True}
    )


def log_materialization(
    context: dg.AssetExecutionContext,
    stage: Stage,
    manifest: Manifest,
    metadata: dict[str, Any],
    tags: dict[str, str],
) -> None:
    """Log one value of a run of many; Dagster would give all of them the same version."""
    versions = {
        "dagster/data_version": manifest.data_version,
        "dagster/data_version_is_user_provided": "true",
        "dagster/code_version": stage.code_version,
    }
    context.log_event(
        dg.AssetMaterialization(
            stage.name, partition=manifest.partition or None, metadata=metadata, tags=tags | versions
        )
    )


def input_tags(context: dg.AssetExecutionContext, stage: Stage) -> dict[str, str]:
    """The latest event of each input, as Dagster would note it: without these the UI says "unsynced"."""
    found: dict[str, str] = {}
    for asset in sorted({edge.asset for edge in stage.edges}):
        records = context.instance.fetch_materializations(dg.AssetKey(asset), limit=1).records
        event = records[0].asset_materialization if records else None
        version = (event.tags or {}).get("dagster/data_version") if event else None
        found[f"dagster/input_data_version/{asset}"] = version or "INITIAL"
        found[f"dagster/input_event_pointer/{asset}"] = str(records[0].storage_id) if records else "NULL"
    return found


def log_current(
    context: dg.AssetExecutionContext,
    manifests: ManifestFolder,
    stage: Stage,
    partitions: Sequence[str],
    current: CurrentValues,
    home: Home,
) -> None:
    """Log values again that are current and are not made again: a backfill counts what its run has logged."""
    for name in made_together(stage.name):
        inputs = input_tags(context, stages()[name])
        for partition in partitions:
            value = current.get((name, partition))
            if value is not None and value.usable:
                manifest = manifests.read(value.manifest)
                metadata = {"current": True, "manifest": manifest.id, "input_key": manifest.input_key}
                tags = event_tags(manifest, digest_of_metadata(metadata)) | inputs | tags_of(home)
                log_materialization(context, stages()[name], manifest, metadata, tags)


def _merged(checks: Sequence[dg.AssetCheckResult]) -> Iterator[dg.AssetCheckResult]:
    """One result a check: passed when all passed, else the first that did not."""
    for name in dict.fromkeys((check.asset_key, check.check_name) for check in checks):
        same = [check for check in checks if (check.asset_key, check.check_name) == name]
        failed = [check for check in same if not check.passed]
        yield (failed or same)[0]
