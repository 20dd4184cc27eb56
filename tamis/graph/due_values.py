"""Whether a value would be made again now, and why."""

from tamis.graph.out_of_date import reason_of
from tamis.graph.plan import Due, full_plan
from tamis.graph.scan import scan
from tamis.graph.snapshot import ProjectSnapshot
from tamis.project import Project
from tamis.records.current_values import read_current_values


def values_due(project: Project, asset: str, snapshot: ProjectSnapshot | None = None) -> dict[str, Due]:
    """Return the entries of the plan that would make values of an asset again, by partition.

    What was kept within a certificate is current, as in the status. `snapshot`: of the files as they are now,
    which are scanned without one.
    """
    snapshot = snapshot or scan(project, project.settings.automation.settle_seconds)
    found = full_plan(snapshot, read_current_values(project.home.store), refit=False)
    return {one.partition: one for one in found if one.asset == asset}


def why_due(entry: Due) -> str:
    """Return why a value would be made again, in words."""
    return f"it waits for {entry.waits_for}" if entry.waits_for else reason_of(entry)


def value_due(project: Project, asset: str, partition: str) -> Due | None:
    """Return the entry of the plan that would make a value again; None when it is current."""
    return values_due(project, asset).get(partition)


def due(project: Project, asset: str, partition: str) -> str | None:
    """Why a value would be made again now; None when it is current."""
    found = value_due(project, asset, partition)
    return why_due(found) if found else None
