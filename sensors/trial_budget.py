"""The trial budget: runs the fine-tunings that tell most about which model to take, until it is spent.

Each tick begins the search again from the losses that the store holds, and requests a run for the next
trial that it asks for; when nothing more is asked for, one for the curves, the report and the choice. A trial
that fails is tried again, later each time, and then left out with its reason. With [trainer], a run of the
graph submits a trial or records one that has ended: nothing is held while the command trains.
"""

import time
from collections.abc import Sequence

import dagster as dg

from tamis.base.numbers import counted
from tamis.graph.automation import Group, next_groups, one_by_one, trial_work
from tamis.graph.submissions import Submissions
from tamis.platform.resources.store import StoreResource
from tamis.platform.sensors.requests import (
    LISTED_SECONDS,
    attempts,
    busy,
    changing,
    failed_attempts,
    requests_for,
    waits_until,
)
from tamis.runtime.runs import end_killed_runs
from tamis.scaling.searched import sentences
from tamis.store.home import HomeLockedError, writing
from tamis.training.failures import failures_of, note_failure
from tamis.training.stage import TRIALS_STAGE

NO_BUDGET = "tamis.toml sets no share in [trial_budget], so no sensor runs trials; `tamis materialize` does"


def trial_budget(
    context: dg.SensorEvaluationContext, store: StoreResource
) -> dg.SensorResult | dg.SkipReason:
    """Request the next trial that [trial_budget] pays for; once there is none, the report on all trials."""
    if reason := changing(store):
        return dg.SkipReason(reason)
    end_killed_runs(context.instance, store.home)
    settings = store.project.settings
    if settings.trial_budget.share is None and settings.trainer is None:
        return dg.SkipReason(NO_BUDGET)
    if reason := busy(context, store.home):
        return dg.SkipReason(reason)
    snapshot, current = store.scan(LISTED_SECONDS)
    submissions = Submissions(project=store.project, snapshot=snapshot, current=current)
    if settings.trainer is not None and (request := _gone_on_with(context, store, submissions)):
        return request
    if settings.trial_budget.share is None:
        return dg.SkipReason(NO_BUDGET)
    if not snapshot.searches:
        return dg.SkipReason("[scaling] in tamis.toml names no models to choose among")
    said = "; ".join(sentences(snapshot.searches))
    groups, missing = trial_work(snapshot, current)
    if missing:
        return dg.SkipReason(f"{missing} is missing or out of date: run `tamis materialize`")
    by_command = settings.trainer is not None and groups and groups[0].assets[0] == TRIALS_STAGE.name
    training = 0
    for group in groups:
        if by_command and not submissions.can_advance(group.assets[0], group.partitions[0], group.keys[0]):
            training += 1
            continue
        tried = attempts(context.instance, store.home, group)
        if by_command:  # a run that submitted the trial has succeeded, and is no attempt that failed
            tried = [one for one in tried if one.dagster_run.status == dg.DagsterRunStatus.FAILURE]
        failed = failed_attempts(context.instance, tried)
        if len(failed) >= store.project.settings.trial_budget.maximum_attempts:
            return _left_out(store, group, failed, said)
        if not tried or time.time() >= waits_until(tried):
            context.log.info(said)
            return dg.SensorResult(run_requests=requests_for(context.instance, store.home, group))
    if training:
        return dg.SkipReason(f"{said}; {counted(training, 'trial')} in training, or waiting for a turn")
    return dg.SkipReason(f"{said}; failed work will be tried again shortly" if groups else said)


def _gone_on_with(
    context: dg.SensorEvaluationContext, store: StoreResource, submissions: Submissions
) -> dg.SensorResult | None:
    """Request the record, or the next runs, of what a person has submitted; None where all is in training.

    Trials of a search are left to it.
    """
    is_searched = store.project.settings.trial_budget.share is not None
    begun = {entry for entry in submissions.begun() if not (is_searched and entry[0] == TRIALS_STAGE.name)}
    for group in next_groups(submissions.snapshot, submissions.current, begun, refit=False):
        for single in one_by_one(group):
            tried = attempts(context.instance, store.home, single)
            if not tried or time.time() >= waits_until(tried):
                return dg.SensorResult(run_requests=requests_for(context.instance, store.home, single))
    return None


def _left_out(store: StoreResource, group: Group, failed: Sequence[dg.RunRecord], said: str) -> dg.SkipReason:
    """Note a trial whose runs died without saying why, so that the search goes on without it."""
    name, count = group.partitions[0], len(failed)
    if group.assets[0] != TRIALS_STAGE.name:
        return dg.SkipReason(f"{group.assets[0]} failed {count} times; materialize it to see why")
    reason = f"{count} of its runs ended without a result"
    took = sum(run.end_time - run.start_time for run in failed if run.start_time and run.end_time)
    noted = {(one.trial, one.input_key): one.spent_seconds or 0.0 for one in failures_of(store.tables)}
    # Runs that ended in an error have noted their time themselves.
    seconds = max(0.0, took - noted.get((name, group.keys[0]), 0.0))
    try:
        with writing(store.home, "trial budget sensor"):
            note_failure(store.tables, name, group.keys[0], reason, permanent=True, seconds=seconds)
    except HomeLockedError as error:
        return dg.SkipReason(str(error))
    return dg.SkipReason(f"trial {name} is left out: {reason}; {said}")
