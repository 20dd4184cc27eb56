"""Requests for runs: one for a piece of work, known again by a tag, so that its failures can be counted.

A run that somebody cancelled, or whose partition or inputs went away under it, has failed at nothing.
"""

import contextlib
import hashlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import dagster as dg

from tamis.base.numbers import counted, named
from tamis.base.trust import UntrustedError, unaccepted
from tamis.graph.automation import Group
from tamis.graph.stages import stages
from tamis.platform.resources.store import StoreResource
from tamis.project import broken_file
from tamis.runtime.dagster_internals import (
    BulkActionsFilter,
    BulkActionStatus,
    PartitionBackfill,
    SerializableErrorInfo,
)
from tamis.runtime.failures import InputMissingError, PartitionGoneError
from tamis.runtime.running import range_tags, selected_assets
from tamis.runtime.runs import (
    BACKFILL_TAG,
    CERTIFIED_TAG,
    DRIVER_TAG,
    SENSOR,
    WORK_TAG,
    Owner,
    active_runs,
    is_of_tamis,
    tags_of,
)
from tamis.store.home import Home, writer
from tamis.trust import asked_by

FAILURES = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
IN_FLIGHT = BulkActionsFilter(
    statuses=[BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING, BulkActionStatus.FAILING]
)
DEPRIVED = frozenset(
    error.__name__ for error in (PartitionGoneError, InputMissingError, dg.DagsterUnknownPartitionError)
)
BACK_OFF_SECONDS = 20.0
SETTLED_SECONDS = 10
MOST_COUNTED = 20
MOST_SHOWN = 5
LISTED_SECONDS = 60.0
"""How long the sensors that ask for runs go by the last listing: the arrivals sensor makes one each tick."""


def busy(context: dg.SensorEvaluationContext, home: Home) -> str:
    """Why nothing is requested now: a run or a backfill is in flight, or somebody writes; "" for nothing.

    Between the runs of a backfill nothing may leave: it fails where a partition does that it is about.
    """
    instance = context.instance
    if any(_of_home(context, home, one) for one in instance.get_backfills(IN_FLIGHT)):
        return "a backfill is in progress; the sensor continues when it ends"
    if active_runs(instance, home, context.code_location_origin):
        return "a run is in progress; the sensor continues when it ends"
    holder = writer(home)
    return f"{holder} is writing; the sensor continues when it ends" if holder else ""


def _of_home(context: dg.SensorEvaluationContext, home: Home, backfill: PartitionBackfill) -> bool:
    """Return whether a backfill is of assets of this home: nobody else has run a part of it."""
    if not backfill.asset_selection or not all(map(is_of_tamis, backfill.asset_selection)):
        return False
    runs = context.instance.get_runs(dg.RunsFilter(tags={BACKFILL_TAG: backfill.backfill_id}))
    owner = Owner.of(context.instance, home)
    return all(owner.may_own(run, context.code_location_origin) for run in runs)


def settling(store: StoreResource) -> str:
    """Return why tamis.toml is not read yet, "" where it can be: it changed just now, maybe half of it."""
    with contextlib.suppress(OSError):  # that it is missing is said by who opens it
        age = time.time() - Path(store.project_file).stat().st_mtime
        if 0 <= age < SETTLED_SECONDS:
            return f"tamis.toml has just changed; sensors wait {SETTLED_SECONDS} s before they read it"
    return ""


def broken(store: StoreResource) -> str:
    """Return the error in tamis.toml, or what nobody has accepted of it; "" for nothing."""
    if problem := broken_file(Path(store.project_file)):
        return f"{problem}; sensors wait until tamis.toml is corrected"
    missing = unaccepted(asked_by(store.project))
    return f"{UntrustedError(missing)}; sensors wait until then" if missing else ""


def changing(store: StoreResource) -> str:
    """Return why tamis.toml is not acted on yet, "" where it can be."""
    return settling(store) or broken(store)


def removal_request(instance: dg.DagsterInstance, home: Home, gone: Sequence[str]) -> dg.RunRequest | str:
    """Return the run that removes what is gone, or why it has to wait: it failed before."""
    work = _work_tag(["removal", *gone])
    wanted = dg.RunsFilter(tags={WORK_TAG: work}, statuses=[dg.DagsterRunStatus.FAILURE])
    failed = _own(instance, home, wanted)
    if failed and time.time() < waits_until(failed):
        return (
            f"the removal failed {counted(len(failed), 'time')} (the last run of the job says why); "
            "the sensor will try again shortly"
        )
    return dg.RunRequest(job_name="removal", tags={DRIVER_TAG: SENSOR, WORK_TAG: work, **tags_of(home)})


def _own(instance: dg.DagsterInstance, home: Home, wanted: dg.RunsFilter) -> list[dg.RunRecord]:
    """Return the records of the runs of a home, latest first."""
    records, owner = instance.get_run_records(wanted), Owner.of(instance, home)
    return [one for one in records if owner.owns(one.dagster_run)][:MOST_COUNTED]


def work_id(group: Group) -> str:
    """What is to be made, as a tag: the same inputs give the same id, whatever the tick."""
    return _work_tag(group.keys)


def _work_tag(parts: Sequence[str]) -> str:
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:32]


def attempts(instance: dg.DagsterInstance, home: Home, group: Group) -> Sequence[dg.RunRecord]:
    """Earlier runs of this very work, latest first; it is due, so none of them made it."""
    return _own(instance, home, dg.RunsFilter(tags={WORK_TAG: work_id(group)}))


def failed_attempts(instance: dg.DagsterInstance, runs: Sequence[dg.RunRecord]) -> list[dg.RunRecord]:
    """Those of these attempts that say something about the work: neither cancelled nor deprived of what they
    were to read by a withdrawal, a file that left or the like."""
    return [
        run
        for run in runs
        if run.dagster_run.status != dg.DagsterRunStatus.CANCELED
        and not any(map(_deprived, _errors(instance, run.dagster_run.run_id)))
    ]


def _errors(instance: dg.DagsterInstance, run_id: str) -> Iterator[SerializableErrorInfo]:
    """What a run failed with, each error followed by its causes."""
    for entry in instance.all_logs(run_id, of_type=FAILURES):
        data = entry.dagster_event.event_specific_data if entry.dagster_event else None
        error = getattr(data, "error", None)
        while error is not None:
            yield error
            error = error.cause


def _deprived(error: SerializableErrorInfo) -> bool:
    if error.cls_name == dg.DagsterInvalidInvocationError.__name__:
        return "Nonexistent partition keys" in error.message
    # A step that ends for good names its error in the message of Dagster's own.
    return error.cls_name in DEPRIVED or any(f"{name}: " in error.message for name in DEPRIVED)


def waits_until(failed: Sequence[dg.RunRecord]) -> float:
    """When work that was tried so often is tried again: twice as long after each attempt, counted or not."""
    return (failed[0].end_time or 0.0) + BACK_OFF_SECONDS * 2 ** len(failed)


def said_of(group: Group) -> str:
    """Say what a run is requested for."""
    assets = named(group.assets, MOST_SHOWN)
    keys = f" for {counted(len(group.partitions), 'partition')} ({named(group.partitions, MOST_SHOWN)})"
    return f"requested: {assets}{keys if group.partition_set is not None else ''}"


def requests_for(instance: dg.DagsterInstance, home: Home, group: Group) -> list[dg.RunRequest]:
    """The run that makes a group, in this process's name and within certificates."""
    tags = {DRIVER_TAG: SENSOR, CERTIFIED_TAG: "yes", WORK_TAG: work_id(group), **tags_of(home)}
    keys = [key for name in group.assets for key in selected_assets(stages()[name])]
    alone = group.partitions[0] if group.partition_set and len(group.partitions) == 1 else None
    if group.partition_set and not alone:
        tags |= range_tags(instance, group)
    return [dg.RunRequest(asset_selection=keys, tags=tags, partition_key=alone)]
