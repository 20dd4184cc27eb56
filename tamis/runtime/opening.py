"""Open a step: the partitions that it has to make, by the sources as its run saw them.

What is made is recorded in the order attempt, rows, manifest, event, current value, so that after a crash
between any two of them the next run only repeats the step.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import dagster as dg

from tamis.base.precision import computing_in
from tamis.base.processes import end_when_stuck
from tamis.corpus.stage import RAW_STAGE
from tamis.graph.failures import failed_step_noted, watching
from tamis.graph.plan import due_partitions, input_key, input_references
from tamis.graph.snapshot import ProjectSnapshot
from tamis.graph.stages import made_together, stages
from tamis.project import Project, chosen_precision
from tamis.records.attempts import begin
from tamis.records.current_values import CurrentValues
from tamis.records.losses import note_tables, require_answers
from tamis.records.manifest import ManifestFolder
from tamis.retention.losses import note_absent
from tamis.retention.reconciled import drop_unnamed_vectors, find_gone, find_regrouped
from tamis.retention.superseded import remove_earlier_fits, remove_superseded_lists
from tamis.runtime.failures import InactiveStageError, NothingDueError, PartitionGoneError, retried
from tamis.runtime.record import log_current
from tamis.runtime.runs import (
    BACKFILL_TAG,
    DRIVER_TAG,
    SENSOR,
    active_runs,
    asked_for,
    claim_run,
    named_partitions,
    note_process,
    refits,
)
from tamis.runtime.step import Work
from tamis.scan.sources import kept_listing, scan_again, scan_files
from tamis.stage import Stage
from tamis.store.compaction import compact, tables_to_tidy
from tamis.store.home import Home, claim, writing
from tamis.store.places import costs_a_request
from tamis.store.retained import collect_expired
from tamis.store.unwritable import storing
from tamis.training.stage import TRIALS_STAGE

LOCK_PATIENCE_SECONDS = 900.0


@dataclass(kw_only=True)
class Seen:
    """The sources as a run saw them at its first step; `by`: its id, and whether it saw all trials."""

    by: str = ""
    snapshot: ProjectSnapshot | None = None


class Source(Protocol):
    """The part of the store resource that a step needs."""

    @property
    def project(self) -> Project:
        """The project, read once."""

    @property
    def manifests(self) -> ManifestFolder:
        """All manifests."""

    @property
    def seen(self) -> Seen:
        """The sources as the last run that looked at them saw them."""

    def current(self) -> CurrentValues:
        """The latest materialization of everything."""


@contextlib.contextmanager
def opened(source: Source, context: dg.AssetExecutionContext, name: str | None = None) -> Iterator[Work]:
    """The work of this step: which partitions to make, with their inputs pinned as of now.

    Raises `NothingDueError` where there are none.
    """
    end_when_stuck()
    home = source.project.home
    stage = stages()[name or context.asset_key.path[-1]]
    note_process(context.instance, context.run)
    purpose = f"{stage.name}, run {context.run.run_id[:8]}"
    with (
        writing(home, purpose, LOCK_PATIENCE_SECONDS),
        computing_in(chosen_precision(source.project, context.log.info)),
    ):
        claim(home, source.project.settings.project.name)
        claim_run(context.instance, context.run, home)
        note_tables(home)
        require_answers(home, [table.name for table in stage.tables])
        snapshot, current = _of_run(source, context, stage)
        keys = _partitions(source, context, stage, snapshot, current)
        noted = failed_step_noted(
            home.store, stage.name, lambda: {key: input_key(stage, key, snapshot, current) for key in keys}
        )
        with (
            retried(context.retry_number),
            noted,
            storing(home.root),
            watching(home, stage.name, context.log.warning) as watch,
        ):
            work = Work(
                project=source.project,
                manifests=source.manifests,
                context=context,
                stage=stage,
                snapshot=snapshot,
                current=current,
                partitions=keys,
                watch=watch,
            )
            work.set_aside()
            work.attempt = begin(
                home.store, [(asset, key) for asset in made_together(stage.name) for key in work.partitions]
            )
            if not stage.partitions:
                work.begin("")
            yield work
            _tidy(source, work)
            work.end()


def _of_run(
    source: Source, context: dg.AssetExecutionContext, stage: Stage
) -> tuple[ProjectSnapshot, CurrentValues]:
    """Return the sources as the run saw them at its first step, and the latest materializations.

    What arrives while it runs is for the next one; a file that changes is left by the step that reads it.
    Of a run that a sensor or a backfill asked for, what came since then is left out, too: nobody has made
    its inputs.
    """
    store = source.project.home.store
    chosen = stage.partitions == TRIALS_STAGE.partitions and asked_for(context.run)
    seen_by = f"{context.run.run_id} {'all trials' if chosen else ''}"
    seen = source.seen
    if seen.snapshot is None or seen.by != seen_by:
        # Whoever asked for the run, a command or a sensor, has just listed them.
        listing = kept_listing(source.project) if DRIVER_TAG in context.run.tags else None
        seen.snapshot = scan_files(source.project, by_hand=chosen, listing=listing)
        seen.by = seen_by
    current = source.current()
    snapshot = scan_again(seen.snapshot, current)
    note_absent(store, snapshot)
    waiting = find_regrouped(store, snapshot, current)  # for the shards that have their files now
    snapshot = snapshot.with_unremoved([*find_gone(store, snapshot, current), *waiting])
    if context.run.tags.get(DRIVER_TAG) != SENSOR and BACKFILL_TAG not in context.run.tags:
        return snapshot, current
    made = {partition for asset, partition in current if asset == RAW_STAGE.name}
    return snapshot.with_known_shards(made.union(context.partition_keys if stage.partitions else ())), current


def _partitions(
    source: Source,
    context: dg.AssetExecutionContext,
    stage: Stage,
    snapshot: ProjectSnapshot,
    current: CurrentValues,
) -> list[str]:
    """Return what the step has to make; raise `NothingDueError` or `dg.Failure` where that is nothing.

    A single value that a person asked for in the UI is made though it is current, but not by a backfill.
    """
    keys = list(context.partition_keys) if stage.partitions else [""]
    if not stage.active(snapshot) and not (stage.step is not None and len(keys) > 1):
        raise dg.Failure(str(InactiveStageError(stage.name)), allow_retries=False)
    # A step over shards leaves those that are gone for the next run by itself.
    if stage.partitions != "shards" and set(snapshot.keys(stage.partitions)).isdisjoint(keys):
        gone = PartitionGoneError(stage.name, keys[0], snapshot.keys(stage.partitions))
        raise dg.Failure(str(gone), allow_retries=False) from gone
    if stage.partitions != "shards":
        known = snapshot.keys(stage.partitions)
        for key in set(keys).difference(known):  # it left tamis.toml while the run went on
            context.log.warning(str(PartitionGoneError(stage.name, key, known)))
        keys = [key for key in keys if key in known]
    left = [key for key in keys if _left_by_this_run(context, stage, key, snapshot, current)]
    if len(keys) == 1 and not left and context.run.tags.keys().isdisjoint((DRIVER_TAG, BACKFILL_TAG)):
        return keys
    found = due_partitions(stage, snapshot, current, refits(context.run))
    named = named_partitions(context.run) if stage.partitions else None
    due = {one.partition for one in found if named is None or one.partition in named}
    if BACKFILL_TAG in context.run.tags:
        unchanged = [key for key in keys if key not in due]
        log_current(context, source.manifests, stage, unchanged, current, source.project.home)
    if due.isdisjoint(keys):
        there = [current[stage.name, key] for key in keys if (stage.name, key) in current]
        raise NothingDueError(stage.name, current=not left, passed=all(value.passed for value in there))
    return [key for key in keys if key in due]


def _tidy(source: Source, work: Work) -> None:
    """Drop what nobody needs any more, and compact what was written."""
    home = source.project.home
    days = source.project.settings.retention.days
    if expired := collect_expired(home.store, days):
        work.context.log.info(
            f"deleted {expired} rows of removed documents, which expired under [retention] days = {days}"
        )
    if not _others_run(work.context, home):
        for table in drop_unnamed_vectors(source.project):
            work.context.log.info(f"dropped table {table}: no current value has vectors in it")
    replaced = work.stage.name, work.partitions, work.current
    if work.stage.files == "fitted":
        remove_earlier_fits(home, *replaced, source.current())
    if any(table.rewritten for table in work.stage.tables) and not costs_a_request(home.store.folder):
        remove_superseded_lists(home, *replaced, source.current())
    for table in sorted(work.written.union(tables_to_tidy(home.store))):
        compact(home.store, table)


def _left_by_this_run(
    context: dg.AssetExecutionContext,
    stage: Stage,
    partition: str,
    snapshot: ProjectSnapshot,
    current: CurrentValues,
) -> bool:
    """Return whether a partition lacks nothing but what this run should have made and has left for the next
    one, say of a file that changed while it was read.
    """
    inputs = input_references(stage, partition, snapshot, current)
    missing = {found.partition("[")[0] for found in inputs if isinstance(found, str)}
    asked = context.run.asset_selection  # None: all
    return bool(missing) and (asked is None or missing <= {asset.path[-1] for asset in asked})


def _others_run(context: dg.AssetExecutionContext, home: Home) -> bool:
    """Whether another run of the home has not ended: it may have been requested of other tables."""
    return any(run.run_id != context.run.run_id for run in active_runs(context.instance, home))
