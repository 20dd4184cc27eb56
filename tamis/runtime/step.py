"""One step's work: partitions with pinned inputs, and the recording of what was made of them."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dagster as dg

from tamis.audit.events import event_tags
from tamis.base.errors import may_pass
from tamis.base.kept_errors import kept_message
from tamis.base.progress import Progress, silent
from tamis.corpus.intake import groups_of_shards
from tamis.corpus.refusing import NEAR_REPEATS
from tamis.corpus.targets import ROWS_READ
from tamis.graph.failures import (
    MOST_ABORTS,
    MOST_NOTED,
    TRIALS,
    PartitionAbortedError,
    PartitionsFailedError,
    PartitionsToRetryError,
    Watch,
    reason_of,
    write_failed_steps,
)
from tamis.graph.plan import (
    changed_partitions,
    config_of,
    differs_only_in,
    input_key,
    input_references,
    label,
    reference,
)
from tamis.graph.snapshot import ProjectSnapshot
from tamis.graph.stages import stages
from tamis.project import Project
from tamis.records.current_values import TABLE, CurrentValue, CurrentValues, write_current_values
from tamis.records.manifest import (
    ELSEWHERE,
    NOT_LEARNT_FROM,
    REPLACES,
    InputReference,
    Manifest,
    ManifestFolder,
    content_digest,
    run_facts,
)
from tamis.report.address import page_url
from tamis.runtime.events import digest_of_metadata
from tamis.runtime.failures import InputMissingError, PartitionGoneError, withhold
from tamis.runtime.instance_file import POSTGRES_URL
from tamis.runtime.record import (
    Checks,
    Output,
    Rows,
    evaluation_of,
    input_tags,
    log_materialization,
    logged_by_hand,
    rows_of,
    scope_of,
    with_records,
)
from tamis.runtime.runs import COMMAND_LINE, DRIVER_TAG, refits, tags_of
from tamis.selection.filtering import FILES_LOST
from tamis.stage import Stage
from tamis.store.digests import canonical_digest, folder_digests
from tamis.store.rows_files import stored_rows
from tamis.store.schemas import described_columns
from tamis.store.tables import Store
from tamis.store.unwritable import stop_unless_writable
from tamis.training.failures import note_failure

COSTS = (
    "asked",
    "tokens_asked",
    "cost",
    "source_versions",
    "parameters",
    "spec",
    NEAR_REPEATS,
    ROWS_READ,
    FILES_LOST,
    NOT_LEARNT_FROM,
)
"""Metadata that a manifest keeps unhashed, too: it serves the next plan, or says what was read."""
MOST_TRANSIENT = 3
"""If more partitions of a step fail in a way that may pass, the step ends and is tried again as a whole."""


@dataclass(kw_only=True, eq=False)
class Work:
    """The partitions that one step has to make; inputs are pinned when the step starts."""

    project: Project
    manifests: ManifestFolder
    context: dg.AssetExecutionContext
    stage: Stage
    snapshot: ProjectSnapshot
    current: CurrentValues
    partitions: list[str]
    watch: Watch
    attempt: str = ""

    def __post_init__(self) -> None:
        self.written: set[str] = {TABLE}
        self._started = self._recorded = time.monotonic()
        self._shares: dict[str, float] = {}
        self._checks = Checks(self.partitions)
        self._tags: dict[str, dict[str, str]] = {}
        self.failed: dict[str, str] = {}
        self._transient = 0
        self._count, self._begun = len(self.partitions), 0
        self._asked = len(self.context.partition_keys) if self.stage.partitions else 1

    def begin(self, *partitions: str) -> None:
        """Note that these are worked on: when the process dies, it may be of one of them."""
        self.watch.begin({partition: self.key(partition) for partition in partitions})

    def set_aside(self) -> None:
        """Let each partition fail that the process died of twice; raise where no other is to be made.

        What it may have died of once comes after all others.
        """
        for partition in self.watch.suspected.keys() & set(self.partitions):
            abort = self.watch.suspected[partition]
            key = input_key(self.stage, partition, self.snapshot, self.current)
            if len(abort.reasons) >= MOST_ABORTS and abort.input_key == key:
                error = PartitionAbortedError(abort)
                if self.stage.name == TRIALS:
                    note_failure(self.store, partition, key, error, permanent=True)
                self.fail(partition, error)
        left = [key for key in self.partitions if key not in self.failed]
        self.partitions = sorted(left, key=self.watch.suspected.__contains__)
        if self.failed and not self.partitions:
            self.end()

    @property
    def batches(self) -> list[list[str]]:
        """The partitions to work on together, in order; each by itself that the process may die of."""
        first = [key for key in self.partitions if key not in self.watch.suspected]
        return [*([first] if first else []), *([key] for key in self.partitions[len(first) :])]

    @property
    def alone(self) -> bool:
        """Whether the step has a single partition to make, whose error ends it as it is."""
        return self._count == 1

    @property
    def store(self) -> Store:
        """All tables."""
        return self.project.home.store

    def key(self, partition: str) -> str:
        """The input key of a partition; raises `InputMissingError` while an input is missing.

        Raises `PartitionGoneError` for a shard whose file is gone.
        """
        there = partition in self.snapshot.shards or partition in self.snapshot.absent
        if self.stage.partitions == "shards" and not there:
            raise PartitionGoneError(self.stage.name, partition)
        key = input_key(self.stage, partition, self.snapshot, self.current)
        if key is None:
            references = input_references(self.stage, partition, self.snapshot, self.current)
            missing = [found for found in references if isinstance(found, str)]
            raise InputMissingError(label(self.stage.name, partition), missing)
        return key

    def refuse(self, withdrawn: dict[str, str | None]) -> None:
        """Take note of what was found withdrawn while partitions were read: their keys depend on it."""
        self.snapshot = self.snapshot.with_withdrawn(self.stage.name, withdrawn)

    @property
    def refits(self) -> bool:
        """Whether this run fits again from nothing what is fitted on the pool."""
        return refits(self.context.run)

    def differs_only_in(self, partition: str, assets: set[str]) -> bool:
        """Whether the last value of a partition was made as this one would be, but for these inputs.

        What an interrupted attempt has left is no value to go on from.
        """
        if not self.current[(self.stage.name, partition)].finished:
            return False
        before = self.manifests.read(self.current[(self.stage.name, partition)].manifest)
        return differs_only_in(before, self.stage, self.snapshot, self.current, assets)

    def changed_only(
        self, partition: str, asset: str, besides: AbstractSet[str] = frozenset()
    ) -> list[str] | None:
        """Return the partitions of `asset` that are new or changed since the last value.

        None where more changed than `asset` and `besides`, inputs whose changes do not matter for these.
        """
        entry = (self.stage.name, partition)
        if entry not in self.current or not self.differs_only_in(partition, {asset, *besides}):
            return None
        before = self.manifests.read(self.current[(self.stage.name, partition)].manifest)
        return changed_partitions(before, self.stage, self.snapshot, self.current, asset)

    def shard_groups(self) -> Iterator[dict[str, list[str]]]:
        """The partitions, which are shards, with their documents: many small ones at a time."""
        for batch in self.batches:
            yield from groups_of_shards(self.store, batch)

    def fitted(self, partition: str) -> Path:
        """Folder for the files of a partition, named by its input key."""
        name = partition or "all"
        return self.project.home.fitted / self.stage.name / name / self.key(partition)[:16]

    def upstream(self, asset: str, partition: str = "") -> Path:
        """Folder of the files of an input at the version that this step pinned."""
        value = self.current[(asset, partition)]
        files = stages()[asset].files
        assert files is not None, asset
        found = self.project.home.root / files / asset / (partition or "all") / value.input_key[:16]
        self.project.home.files.fetch(found)
        return found

    def link(self, page: Path) -> dg.MetadataValue:
        """Return a page as Dagster is to show it: the link to where it is served, or where the file is."""
        if url := page_url(self.project.home, page.name):
            return dg.MetadataValue.url(url)
        return dg.MetadataValue.text(self.project.home.relative(page))

    @property
    def watched(self) -> bool:
        """Whether somebody waits for this run at a terminal."""
        return self.context.run.tags.get(DRIVER_TAG) == COMMAND_LINE

    def progress(self, label_text: str, total: int | None = None, unit: str = "documents") -> Progress:
        """Progress of long work: to Dagster's log, and to the terminal from the command line."""
        which = f" ({self._begun} of {self._count})" if self._begun and self._count > 1 else ""
        sink = None if self.watched else silent
        return Progress(f"{label_text}{which}", total, unit, sink, self.context.log.info)

    def leave(self, partition: str, error: Exception, *checks: str) -> Iterator[dg.AssetCheckResult]:
        """Leave a partition for the next run, with warnings in place of its checks: Dagster wants them."""
        self.context.log.warning(str(error))
        self.watch.end([partition])
        found = [
            dg.AssetCheckResult(
                asset_key=self.stage.name,
                check_name=name,
                passed=False,
                severity=dg.AssetCheckSeverity.WARN,
                metadata={"left_for_later": str(error)},
            )
            for name in checks
        ]
        yield from self._checks.add(self.stage.name, partition, found) if self._asked > 1 else found

    @contextlib.contextmanager
    def apart(self, partition: str) -> Iterator[None]:
        """Let what fails inside hold no other partition back: the step goes on, and fails at its end."""
        try:
            self._begun += 1
            self.begin(partition)
            yield
        except Exception as error:
            self.fail(partition, error)

    def fail(self, partition: str, error: Exception) -> None:
        """Note that a partition failed; raise the error where nothing else could be made either.

        So it is of a single partition, of a home that cannot be written, and after many failures.
        """
        self.watch.end([partition])
        self._transient += may_pass(error)
        if self.alone or self._transient > MOST_TRANSIENT:
            raise error
        stop_unless_writable(self.project.home.root, error)
        self.project.home.require_store()
        self.failed[partition] = (
            error.description or "" if isinstance(error, dg.Failure) else reason_of(error)
        )
        withhold(error)
        self.context.log.error(f"{label(self.stage.name, partition)}: {kept_message(error)}")
        if len(self.failed) >= MOST_NOTED:
            self.end()

    def end(self) -> None:
        """Note the partitions that failed, and raise an error that lists them, where there are any."""
        if not self.failed:
            return
        if self.stage.name != TRIALS:  # trials keep their own account
            keys = {
                partition: input_key(self.stage, partition, self.snapshot, self.current)
                for partition in self.failed
            }
            write_failed_steps(self.store, self.stage.name, keys, self.failed)
        listed = PartitionsToRetryError if self._transient else PartitionsFailedError
        raise listed(self.stage.name, self.failed, self._count)

    def in_groups(self, make: Callable[[dict[str, list[str]]], Iterator[Any]]) -> Iterator[Any]:
        """Make shards of their documents, many at a time; of a group that fails, each by itself."""
        for group in self.shard_groups():
            yield from self._group(group, make)

    def _group(
        self, group: dict[str, list[str]], make: Callable[[dict[str, list[str]]], Iterator[Any]]
    ) -> Iterator[Any]:
        try:
            self.begin(*group)
            yield from make(group)
        except Exception as error:
            self.watch.end(group)
            if len(group) == 1:
                self.fail(next(iter(group)), error)
                return
            stop_unless_writable(self.project.home.root, error)
            self.context.log.warning(
                f"a group of {len(group)} shards failed; retrying its shards one at a time"
            )
            for shard, doc_ids in group.items():
                yield from self._group({shard: doc_ids}, make)

    def record(self, *mades: Output) -> Iterator[Any]:
        """Write the manifests, log the events, move the current values, in this order.

        Current values move in one commit. Of a partition, what one check refuses of one asset is refused of
        all that are recorded with it: they are parts of one value.
        """
        current = []
        listed = [replace(made, rows=rows_of(self._stage_of(made), made)) for made in mades]
        complete = with_records(self.store, listed)
        self._shares = _shares(mades, time.monotonic() - self._recorded)
        self.written.update(entry.table for made in complete for entry in made.rows or ())
        stated = [self._manifest(self._stage_of(made), made) for made in complete]
        named = [self.manifests.keep(manifest) for manifest in stated]
        files = [path for made in complete for path in made.files]
        self.project.home.publish([*files, *self.manifests.take_unpublished()])
        refused = {made.partition for made in complete if made.refused}
        for made, manifest, (manifest_id, kept) in zip(complete, stated, named, strict=True):
            stage = self._stage_of(made)
            if made.announce is not None:
                made.announce(manifest_id)
            metadata = self._metadata(made, manifest, kept)
            tags = event_tags(kept, digest_of_metadata(metadata)) | tags_of(self.project.home)
            yield from self._event(stage, made, manifest, metadata, tags)
            before = self.current.get((manifest.asset, manifest.partition))
            value = _head(manifest, manifest_id, self.attempt)
            if made.partition in refused:
                value = replace(value, passed=False, last_passed=before.published if before else None)
            current.append(value)
        write_current_values(self.store, current)
        self.watch.end({made.partition for made in complete}, made=True)
        self._recorded = time.monotonic()

    def _stage_of(self, made: Output) -> Stage:
        return stages()[made.asset or self.stage.name]

    def _event(
        self, stage: Stage, made: Output, manifest: Manifest, metadata: dict[str, Any], tags: dict[str, str]
    ) -> Iterator[Any]:
        """Yield what Dagster logs; log what it would not: one of many partitions, and what comes along."""
        asked = dg.AssetKey(stage.name) in self.context.selected_asset_keys
        if self._asked > 1 or not asked:
            if stage.name not in self._tags:
                self._tags[stage.name] = input_tags(self.context, stage)
                if asked:
                    yield logged_by_hand(dg.AssetKey(stage.name))
            log_materialization(self.context, stage, manifest, metadata, tags | self._tags[stage.name])
            for check in self._checks.add(stage.name, made.partition, made.checks):
                if asked:
                    yield check
                else:
                    self.context.log_event(evaluation_of(stage.name, check))
        else:
            yield dg.MaterializeResult(
                asset_key=stage.name,
                metadata=metadata,
                data_version=dg.DataVersion(manifest.data_version),
                tags=tags,
                check_results=list(made.checks),
            )

    def _manifest(self, stage: Stage, made: Output) -> Manifest:
        rows = {entry.table: self._store_records(entry) for entry in made.rows or ()}
        home = self.project.home
        files = {
            f"{home.relative(path)}/{name}" if path.is_dir() else home.relative(path): digest
            for path in made.files
            for name, digest in folder_digests(path).items()
        }
        key = self.key(made.partition) if stage is self.stage else self._other_key(stage, made.partition)
        digest = content_digest(rows, files)
        version = made.data_version or (digest if stage.by_content else key)
        before = self.current.get((stage.name, made.partition))
        costs = {name: made.metadata[name] for name in COSTS if name in made.metadata}
        if not made.settled and made.data_version is None:
            version = canonical_digest(f"{version}|{self.current[(stage.name, made.partition)].data_version}")
        return Manifest(
            asset=stage.name,
            partition=made.partition,
            code_version=stage.code_version,
            config=config_of(stage, made.partition, self.snapshot),
            seed=self.project.seed,
            input_key=key,
            data_version=version,
            digest=digest,
            row_count=made.row_count or 0,
            settled=made.settled,
            rows=rows,
            scopes={entry.table: scope_of(entry) for entry in made.rows or ()},
            files=files,
            inputs=tuple(self._inputs(stage, made)),
            beside=run_facts(
                self.context.run.run_id,
                (self._seconds(), self._shares[made.partition]),
                self._table_versions(made),
                costs
                | ({REPLACES: before.manifest} if before else {})
                | ({ELSEWHERE: True} if self._is_logged_elsewhere() else {}),
            ),
        )

    def _is_logged_elsewhere(self) -> bool:
        """Return whether the run is in an instance of others, in another folder, on no database of ours."""
        instance, own = self.context.instance, self.project.home.dagster
        if instance.is_ephemeral or POSTGRES_URL in os.environ:
            return False
        return Path(instance.root_directory).resolve() != own.resolve()

    def _other_key(self, stage: Stage, partition: str) -> str:
        key = input_key(stage, partition, self.snapshot, self.current)
        assert key is not None, stage.name
        return key

    def _inputs(self, stage: Stage, made: Output) -> list[InputReference]:
        found = input_references(stage, made.partition, self.snapshot, self.current)
        before = self.current.get((stage.name, made.partition))
        continued = [reference(before)] if before and not made.settled else []
        return [entry for entry in found if isinstance(entry, InputReference)] + continued + [*made.origins]

    def _store_records(self, entry: Rows) -> str:
        digest, content = entry.records or stored_rows(self.store, entry.table, scope_of(entry))
        self.manifests.write_rows(digest, content)
        return digest

    def _table_versions(self, made: Output) -> dict[str, int]:
        return {entry.table: self.store.version(entry.table) for entry in made.rows or ()}

    def _seconds(self) -> float:
        return round(time.monotonic() - self._started, 3)

    def _metadata(self, made: Output, manifest: Manifest, kept: Manifest) -> dict[str, Any]:
        """Return what the UI displays; `kept`: the manifest as it is stored, maybe by an earlier try."""
        values = dict(made.metadata)
        same_run = kept.beside.get("run_id") == manifest.beside["run_id"]
        clocked = kept.beside if same_run else manifest.beside
        if made.row_count is not None:
            name = "dagster/partition_row_count" if made.partition else "dagster/row_count"
            values[name] = made.row_count
        for entry in (made.rows or ())[:1]:
            schema = self.store.schema(entry.table)
            columns = [dg.TableColumn(name, kind, text) for name, kind, text in described_columns(schema)]
            values["dagster/column_schema"] = dg.TableSchema(columns=columns)
            values["dagster/table_name"] = entry.table
            values["table_version"] = clocked["table_versions"][entry.table]
        values["seconds"] = clocked["seconds"]
        return values | {"manifest": kept.id, "input_key": manifest.input_key}


def _shares(mades: Sequence[Output], seconds: float) -> dict[str, float]:
    """Return the seconds of each partition of those that were made together, in proportion to its rows."""
    rows: dict[str, int] = {}
    for made in mades:
        rows[made.partition] = max(rows.get(made.partition, 1), made.row_count or 0)
    return {partition: round(seconds * count / sum(rows.values()), 4) for partition, count in rows.items()}


def _head(manifest: Manifest, manifest_id: str, attempt: str) -> CurrentValue:
    return CurrentValue(
        asset=manifest.asset,
        partition=manifest.partition,
        manifest=manifest_id,
        input_key=manifest.input_key,
        data_version=manifest.data_version,
        settled=manifest.settled,
        attempt=attempt,
    )
