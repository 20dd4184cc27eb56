"""Runs that failed since a moment, as messages that hold no text of documents."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from resources.work_errors import failed_assets
from tamis.base.errors import TamisError
from tamis.base.kept_errors import NOT_KEPT, RAN_OUT

MOST_AT_ONCE = 50


@dataclass(frozen=True, kw_only=True)
class Until:
    """How far failures were told of: the last moment, and the runs of that moment."""

    moment: float
    runs: tuple[str, ...] = ()


def failed_runs(instance: dg.DagsterInstance, since: Until) -> tuple[list[dict[str, Any]], Until]:
    """Facts of each step that failed (asset, partition, error, run) after `since`, and the new moment."""
    records = instance.get_run_records(
        dg.RunsFilter(
            statuses=[dg.DagsterRunStatus.FAILURE],
            updated_after=datetime.fromtimestamp(since.moment - 1, UTC),
        ),
        limit=MOST_AT_ONCE,
        order_by="update_timestamp",
        ascending=True,
    )
    facts, until = [], since
    for record in records:
        moment, run = record.update_timestamp.timestamp(), record.dagster_run
        if moment < until.moment or run.run_id in until.runs:
            continue
        facts += list(_failures(instance, run))
        same = until.runs if moment == until.moment else ()
        until = Until(moment=moment, runs=(*same, run.run_id))
    return facts, until


def _failures(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Iterator[dict[str, Any]]:
    partition = run.tags.get("dagster/partition")
    entries = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    for entry in entries:
        event = entry.dagster_event
        if event is not None:
            data = event.step_failure_data
            stated = data.user_failure_data
            named = failed_assets(stated.metadata if stated else None) or {
                str(event.step_key): told(data.error)
            }
            for asset, error in named.items():
                yield {"asset": asset, "partition": partition, "error": error, "run": run.run_id}
    if not entries:
        yield {"asset": None, "partition": partition, "error": "the run ended early", "run": run.run_id}


def told(error: Any) -> str:
    """An error in one line: of errors of our own the message, of others the class, which quotes nothing."""
    cause = error.cause if error is not None and error.cause is not None else error
    if cause is None:
        return "unknown"
    name = str(cause.cls_name)
    first = (str(cause.message).strip().splitlines() or [""])[0].split(f"{name}: ", 1)[-1]
    inner, _, said = first.partition(": ")
    ended = name in ("Failure", "StepError")  # how the platform ends a step
    if ended and (inner in _own_errors() or NOT_KEPT in first or said == RAN_OUT):
        return first
    return f"{name}: {first}" if name in _own_errors() else name


def _own_errors() -> set[str]:
    found, stack = set(), [TamisError]
    while stack:
        known = stack.pop()
        found.add(known.__name__)
        stack += known.__subclasses__()
    return found
