"""Failures: Dagster's sensor for runs that failed puts a message about each step into the outbox.

It sends nothing itself: of a run that this sensor could not tell of, Dagster tries no second time.
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from tamis.base.errors import TamisError
from tamis.base.kept_errors import NOT_KEPT, OF_DATABASES, RAN_OUT
from tamis.platform.resources.store import StoreResource
from tamis.platform.sensors.outbox import put
from tamis.project import BROKEN, load_project
from tamis.runtime.failures import failed_assets
from tamis.runtime.runs import Owner
from tamis.verbs.notices import FAILED, notice


@dg.run_failure_sensor(
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Queue a message about each failed run of this project, runs of the command line included, "
    "for the webhook set in [automation].",
    monitor_all_code_locations=True,  # runs of the command line belong to none
)
def failures(context: dg.RunFailureSensorContext, store: StoreResource) -> None:
    """Let the notifications tell of a run that failed, where somebody wants to know."""
    try:
        project = store.project
    except BROKEN:  # the run is not shown to this sensor again
        project, _ = load_project()
    if not Owner.of(context.instance, project.home).may_own(context.dagster_run):
        return
    section = project.settings.automation
    if section.webhook is not None and FAILED in section.webhook_events:
        for facts in _failures(context.instance, context.dagster_run):
            put(project.home, notice(project, FAILED, facts))


def _failures(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Iterator[dict[str, Any]]:
    """Facts of each step that failed (asset, partition, error, run), which hold no text of documents."""
    partition = run.tags.get("dagster/partition")
    entries = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    for entry in entries:
        if (event := entry.dagster_event) is not None:
            data, stated = event.step_failure_data, event.step_failure_data.user_failure_data
            named = failed_assets(stated.metadata if stated else None)
            for asset, error in (named or {str(event.step_key): error_line(data.error)}).items():
                yield {"asset": asset, "partition": partition, "error": error, "run": run.run_id}
    if not entries:
        yield {"asset": None, "partition": partition, "error": "the run ended early", "run": run.run_id}


def error_line(error: Any) -> str:
    """An error in one line: of errors of our own the message, of others the class, which quotes nothing."""
    cause = error.cause if error is not None and error.cause is not None else error
    if cause is None:
        return "unknown"
    name = str(cause.cls_name)
    first = (str(cause.message).strip().splitlines() or [""])[0].split(f"{name}: ", 1)[-1]
    inner, _, said = first.partition(": ")
    own, stack = set[str](), [TamisError]
    while stack:
        known = stack.pop()
        own.add(known.__name__)
        stack += known.__subclasses__()
    ended = name in ("Failure", "StepError")  # how the platform ends a step
    if ended and (inner in own | OF_DATABASES or NOT_KEPT in first or said == RAN_OUT):
        return first
    return f"{name}: {first}" if name in own else name
