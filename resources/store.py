"""The project as a resource: its tables, its manifests, and how a materialization is recorded.

Assets get their work from here and hand back what they wrote; input keys, manifests, events and current
values are made in one place, always in the order attempt, rows, manifest, event, current value, so that after
a crash between any two of them the next run only repeats the step.
"""

import contextlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import dagster as dg
from pydantic import PrivateAttr

from tamis.base.precision import computing_in
from tamis.base.signals import end_when_stuck
from tamis.corpus.stage import RAW_STAGE
from tamis.graph.absent_files import note_absent
from tamis.graph.failed_steps import failed_step_noted
from tamis.graph.plan import due_partitions, input_key, input_references
from tamis.graph.reconciliation import drop_unnamed_vectors, find_gone, find_regrouped
from tamis.graph.scan import kept_listing, scan_again, scan_files, searched
from tamis.graph.snapshot import ProjectSnapshot
from tamis.graph.stages import made_together, stages
from tamis.platform.resources.ownership import active_runs, claim_run
from tamis.platform.resources.process_deaths import watching
from tamis.platform.resources.processes import note_process
from tamis.platform.resources.retries import retried
from tamis.platform.resources.tags import DRIVER_TAG, SENSOR, asked_for, named_partitions, refits
from tamis.platform.resources.work import Work, log_current
from tamis.platform.resources.work_errors import InactiveStageError, NothingDueError, PartitionGoneError
from tamis.project import Project, chosen_precision, open_project
from tamis.records.attempts import begin
from tamis.records.current_values import CurrentValues, read_current_values
from tamis.records.losses import note_tables, require_answers
from tamis.records.manifest import ManifestFolder
from tamis.records.retention import remove_earlier_fits, remove_superseded_lists
from tamis.stage import Stage
from tamis.store.compaction import compact, tables_to_tidy
from tamis.store.home import Home, claim, writing
from tamis.store.places import costs_a_request
from tamis.store.retained import collect_expired
from tamis.store.tables import Store
from tamis.store.unwritable import storing
from tamis.training.stage import TRIALS_STAGE

BACKFILL_TAG = "dagster/backfill"
LOCK_PATIENCE_SECONDS = 900.0


class StoreResource(dg.ConfigurableResource):
    """Opens the project of a tamis.toml, and gives the steps of a run their work."""

    project_file: str

    _project: Project | None = PrivateAttr(default=None)
    _seen: tuple[str, ProjectSnapshot] | None = PrivateAttr(default=None)
    """The run that looked at the sources last, and what it saw."""

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Claim the run for the home, before its first step."""
        if context.run is not None and context.instance is not None:
            claim_run(context.instance, context.run, self.home)

    @property
    def project(self) -> Project:
        """The project, read once."""
        if self._project is None:
            self._project = open_project(Path(self.project_file).parent)
        return self._project

    @property
    def home(self) -> Home:
        """The home folder."""
        return self.project.home

    @property
    def tables(self) -> Store:
        """All tables."""
        return self.project.home.store

    @cached_property
    def manifests(self) -> ManifestFolder:
        """All manifests."""
        return ManifestFolder.of(self.project.home)

    def scan(self, within: float | None = None) -> tuple[ProjectSnapshot, CurrentValues]:
        """Return the snapshot of now and the current values; a listing `within` so many seconds is good."""
        listing = None if within is None else kept_listing(self.project, within)
        snapshot, current = scan_files(self.project, listing=listing), self.current()
        return searched(snapshot, current), current

    def at_end_of(self, run: dg.DagsterRun) -> tuple[ProjectSnapshot, CurrentValues]:
        """Return the sources as the steps of a run saw them, and the current values; without steps, those of
        now.
        """
        if self._seen is None or self._seen[0] != f"{run.run_id} ":
            return self.scan()
        current = self.current()
        return scan_again(self._seen[1], current), current

    def current(self) -> CurrentValues:
        """The latest materialization of everything."""
        return read_current_values(self.tables)

    @contextlib.contextmanager
    def work(self, context: dg.AssetExecutionContext, name: str | None = None) -> Iterator[Work]:
        """The work of this step: which partitions to make, with their inputs pinned as of now.

        Raises `NothingDueError` where there are none.
        """
        end_when_stuck()
        stage = stages()[name or context.asset_key.path[-1]]
        note_process(context.instance, context.run)
        purpose = f"{stage.name}, run {context.run.run_id[:8]}"
        with (
            writing(self.home, purpose, LOCK_PATIENCE_SECONDS),
            computing_in(chosen_precision(self.project, context.log.info)),
        ):
            claim(self.home, self.project.settings.project.name)
            claim_run(context.instance, context.run, self.home)
            note_tables(self.home)
            require_answers(self.home, [table.name for table in stage.tables])
            snapshot, current = self._of_run(context, stage)
            keys = self._partitions(context, stage, snapshot, current)
            noted = failed_step_noted(
                self.tables,
                stage.name,
                lambda: {key: input_key(stage, key, snapshot, current) for key in keys},
            )
            with (
                retried(context.retry_number),
                noted,
                storing(self.home.root),
                watching(self.home, stage.name, context.log.warning) as watch,
            ):
                work = Work(
                    project=self.project,
                    manifests=self.manifests,
                    context=context,
                    stage=stage,
                    snapshot=snapshot,
                    current=current,
                    partitions=keys,
                    watch=watch,
                )
                work.set_aside()
                work.attempt = begin(
                    self.tables,
                    [(asset, key) for asset in made_together(stage.name) for key in work.partitions],
                )
                if not stage.partitions:
                    work.begin("")
                yield work
                self._tidy(work)
                work.end()

    def _of_run(
        self, context: dg.AssetExecutionContext, stage: Stage
    ) -> tuple[ProjectSnapshot, CurrentValues]:
        """Return the sources as the run saw them at its first step, and the latest materializations.

        What arrives while it runs is for the next one; a file that changes is left by the step that reads it.
        Of a run that a sensor or a backfill asked for, what came since then is left out, too: nobody has made
        its inputs.
        """
        chosen = stage.partitions == TRIALS_STAGE.partitions and asked_for(context.run)
        seen_by = f"{context.run.run_id} {'all trials' if chosen else ''}"
        if self._seen is None or self._seen[0] != seen_by:
            # Whoever asked for the run, a command or a sensor, has just listed them.
            listing = kept_listing(self.project) if DRIVER_TAG in context.run.tags else None
            self._seen = seen_by, scan_files(self.project, by_hand=chosen, listing=listing)
        current = self.current()
        snapshot = scan_again(self._seen[1], current)
        note_absent(self.tables, snapshot)
        waiting = find_regrouped(self.tables, snapshot, current)  # for the shards that have their files now
        snapshot = snapshot.with_unremoved([*find_gone(self.tables, snapshot, current), *waiting])
        if context.run.tags.get(DRIVER_TAG) != SENSOR and BACKFILL_TAG not in context.run.tags:
            return snapshot, current
        made = {partition for asset, partition in current if asset == RAW_STAGE.name}
        return snapshot.with_known_shards(
            made.union(context.partition_keys if stage.partitions else ())
        ), current

    def _partitions(
        self,
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
            log_current(context, self.manifests, stage, unchanged, current, self.home)
        if due.isdisjoint(keys):
            there = [current[stage.name, key] for key in keys if (stage.name, key) in current]
            raise NothingDueError(stage.name, current=not left, passed=all(value.passed for value in there))
        return [key for key in keys if key in due]

    def _tidy(self, work: Work) -> None:
        """Drop what nobody needs any more, and compact what was written."""
        days = self.project.settings.retention.days
        if expired := collect_expired(self.tables, days):
            work.context.log.info(
                f"deleted {expired} rows of removed documents, which expired under [retention] days = {days}"
            )
        if not _others_run(work.context, self.home):
            for table in drop_unnamed_vectors(self.project):
                work.context.log.info(f"dropped table {table}: no current value has vectors in it")
        replaced = work.stage.name, work.partitions, work.current
        if work.stage.files == "fitted":
            remove_earlier_fits(self.home, *replaced, self.current())
        if any(table.rewritten for table in work.stage.tables) and not costs_a_request(self.tables.folder):
            remove_superseded_lists(self.home, *replaced, self.current())
        for table in sorted(work.written.union(tables_to_tidy(self.tables))):
            compact(self.tables, table)


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
