"""The planner's answer by asset: current, or why not in one line. Checks and status give this one alone."""

from collections.abc import Sequence

from tamis.graph.plan import INTERRUPTED, Due, full_plan
from tamis.graph.snapshot import ProjectSnapshot
from tamis.graph.stages import made_together, stages
from tamis.records.current_values import CurrentValues

SHOWN = 3
REASONS = {
    "new": "not materialized yet",
    "changed": "code, settings or inputs have changed",
    INTERRUPTED: "incomplete: rows were removed, or a run was interrupted or is at work",
}


def out_of_date(snapshot: ProjectSnapshot, current: CurrentValues) -> dict[str, str]:
    """Return the stages that are not current, each with the reason in one line."""
    return by_stage(snapshot, full_plan(snapshot, current, refit=False))


def by_stage(snapshot: ProjectSnapshot, plan: Sequence[Due]) -> dict[str, str]:
    """Return the same of a plan."""
    found: dict[str, list[Due]] = {}
    for due in plan:
        for name in made_together(due.asset):
            found.setdefault(name, []).append(due)
    return {name: _line(name, of_stage, snapshot) for name, of_stage in found.items()}


def _line(name: str, found: Sequence[Due], snapshot: ProjectSnapshot) -> str:
    partitions = stages()[name].partitions
    if partitions is None:
        return reason_of(found[0])
    some = ", ".join(f"{due.partition} ({reason_of(due)})" for due in found[:SHOWN])
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return f"{len(found):,} of {len(snapshot.keys(partitions)):,} {partitions} out of date: {some}{more}"


def reason_of(due: Due) -> str:
    """Return why one value is out of date."""
    if due.waits_for:
        return f"waits for {due.waits_for}"
    return REASONS.get(due.reason, due.reason)
