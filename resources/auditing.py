"""The audit as the command line asks for it: the store against the event log."""

from collections.abc import Callable

from resources.events import logged_events
from resources.instance import dagster_state, open_instance
from tamis.errors import NotMadeError, UnknownNameError
from tamis.lineage.audit import ROOTS, audit_graph
from tamis.lineage.audit_node import Audit
from tamis.lineage.heads import read_heads
from tamis.lineage.look import look
from tamis.progress import Progress
from tamis.project import Project


def audit_project(project: Project, name: str | None, quick: bool, say: Callable[[str], None]) -> Audit:
    """Audit a checkpoint or selection, or all of them; raises `UnknownNameError`."""
    heads = read_heads(project.home.store)
    names = {partition for asset, partition in heads if asset in ROOTS and partition}
    if name is not None and name not in names:
        world = look(project)
        configured = {key for kind in ("selections", "models", "trials") for key in world.keys(kind)}
        if name in configured:
            raise NotMadeError(name)
        raise UnknownNameError("checkpoint or selection", name, names | configured)
    with (
        dagster_state(project),
        project.home.as_stored(*(() if quick else ("manifests",))) as home,
        Progress("audit", unit="manifests", sink=say) as progress,
    ):
        instance = open_instance(project)
        events = logged_events(instance, copies=not quick)
        world = look(project)
        return audit_graph(home, world, heads, events, name=name, quick=quick, advance=progress.advance)
