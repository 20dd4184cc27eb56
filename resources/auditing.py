"""The audit as the command line asks for it: the store against the event log."""

import math
import os
import time
from collections.abc import Callable

from tamis.audit.events import judge_empty_log
from tamis.audit.verdicts import Audit
from tamis.audit.whole import audit_graph, audit_of_crashes, audit_of_damage, result_stages
from tamis.base.errors import NotMadeError, PermanentError, UnknownNameError
from tamis.base.progress import Progress
from tamis.graph.scan import scan
from tamis.platform.resources.events import logged_events
from tamis.platform.resources.instance import dagster_state, open_instance
from tamis.platform.resources.instance_file import POSTGRES_URL
from tamis.project import Project
from tamis.records.current_values import read_current_values
from tamis.store.home import last_writing, writer
from tamis.store.probing import crashing_tables
from tamis.store.table_errors import DamagedTableError

PATIENCE_SECONDS = 30.0


class HomeBeingWrittenError(PermanentError):
    """No verdict: values that are being written would be reported as altered. Names who writes."""

    def __init__(self, holder: str) -> None:
        self.holder = holder
        super().__init__(
            f"no verdict: {holder} was writing to the home, and values that are being written look altered; "
            "run `tamis audit` again when that process has finished"
        )


def audit_project(
    project: Project,
    name: str | None,
    quick: bool,
    say: Callable[[str], None],
) -> Audit:
    """Audit a checkpoint or selection, or all of them, in a home that nobody writes to.

    A red audit during which somebody wrote starts again when the writer has finished; what it finds twice
    holds. Raises `UnknownNameError` and, `PATIENCE_SECONDS` after the first audit, `HomeBeingWrittenError`.
    """
    home, deadline, earlier = project.home, math.inf, ""
    while True:
        before, holder = last_writing(home), writer(home)
        audit = _whole_audit(project, name, quick, say)
        holder = holder or writer(home)
        undisturbed = not holder and last_writing(home) == before
        if audit.status != "red" or undisturbed or (found := audit.version) == earlier:
            return audit
        holder, earlier = holder or "another process", found
        deadline = min(deadline, time.monotonic() + PATIENCE_SECONDS)
        if time.monotonic() < deadline:
            say(f"{holder} writes to the home; the audit starts again when it has finished")
        while writer(home) and time.monotonic() < deadline:
            time.sleep(0.2)
        if time.monotonic() >= deadline:
            raise HomeBeingWrittenError(holder)


def _whole_audit(project: Project, name: str | None, quick: bool, say: Callable[[str], None]) -> Audit:
    """Audit, with a verdict on damage that leaves nothing to walk."""
    project.home.store.read_afresh()
    if not quick and (crashing := crashing_tables(project.home.store)):
        return audit_of_crashes(crashing)
    try:
        return _audited(project, name, quick, say)
    except DamagedTableError as error:  # of the index, or of what is known of the sources
        with project.home.as_stored(*(() if quick else ("manifests",))) as home:
            return audit_of_damage(home, error, quick)


def _audited(project: Project, name: str | None, quick: bool, say: Callable[[str], None]) -> Audit:
    if not quick:
        for table in project.home.store.names():
            project.home.store.check_columns(table)
    current = read_current_values(project.home.store)
    results = result_stages()
    names = {partition for asset, partition in current if asset in results and partition}
    if name is not None and name not in names:
        snapshot = scan(project)
        configured = {key for kind in ("selections", "models", "trials") for key in snapshot.keys(kind)}
        if name in configured:
            raise NotMadeError(name)
        raise UnknownNameError("checkpoint or selection", name, names | configured)
    with (
        dagster_state(project),
        project.home.as_stored(*(() if quick else ("manifests",))) as home,
        Progress("audit", unit="manifests") as progress,
    ):
        instance = open_instance(project)
        found = logged_events(instance, home, copies=not quick)
        events = found if found or not _is_of_this_machine(project) else None
        snapshot = scan(project)
        audit = audit_graph(home, snapshot, current, events, name=name, quick=quick, advance=progress.advance)
        if events is None and current:
            judge_empty_log(audit.nodes, project.home.place)
        return audit


def _is_of_this_machine(project: Project) -> bool:
    """Return whether the results are in a store for many machines, and the event log is of this one alone.

    Such a log is empty as long as this machine has made nothing; one that holds anything speaks.
    """
    return project.home.url is not None and not os.environ.get(POSTGRES_URL)
