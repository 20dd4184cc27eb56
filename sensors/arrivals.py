"""Arrivals: files that appear, change or disappear become partitions of the graph, or leave it.

The sensor looks at the folders themselves, not at events, so nothing that happened while it was off is
missed. It registers what came and requests the removal of what left; what has to be computed again is the
reselection sensor's matter. What is held back it only names.
"""

import contextlib

import dagster as dg

from resources.instance import register_partitions
from resources.specification import PARTITION_SETS
from resources.store import StoreResource
from sensors.reloading import changed_use, load_again, log_check
from sensors.requests import broken, busy, removal_request, settling
from tamis.graph.held_back import held_back, hold
from tamis.graph.plan import label
from tamis.graph.reconciliation import find_gone, set_aside
from tamis.graph.snapshot import ProjectSnapshot
from tamis.store.home import HomeLockedError, writing

Changes = dict[str, tuple[list[str], list[str]]]


def arrivals(context: dg.SensorEvaluationContext, store: StoreResource) -> dg.SensorResult | dg.SkipReason:
    """Register new shards and request the removal of those that are gone; have loaded what is used newly."""
    if reason := settling(store):
        return dg.SkipReason(reason)
    problem = broken(store)
    log_check(context.instance, problem)
    if problem:
        return dg.SkipReason(problem)
    parts = []
    if change := changed_use(context, store):
        by_hand = load_again(context, store)
        if not by_hand:
            return dg.SkipReason(f"{change}; the webserver was asked to load the definitions again")
        parts.append(f"{change}; {by_hand}")
    snapshot, current = store.scan()
    changes = register_partitions(context.instance, snapshot, remove=False)
    if snapshot.held or snapshot.absent:
        with contextlib.suppress(HomeLockedError), writing(store.home, "arrivals sensor"):
            set_aside(store.tables, snapshot)
            hold(store.home, snapshot, current)
    parts += [f"{name}: {len(added)} added" for name, (added, _removed) in changes.items()]
    if snapshot.held:
        parts.append(f"{len(snapshot.held)} files are still being written")
    parts += [one.line for one in held_back(snapshot, current)]
    gone = [label(*entry) for entry in find_gone(store.tables, snapshot, current)]
    if not gone and not _leaving(context.instance, snapshot):
        return dg.SkipReason("; ".join(parts) or "nothing arrived, nothing left")
    # Nothing leaves while somebody writes: a run in flight may name it.
    waits = busy(context.instance, store.home)
    request = "" if waits else removal_request(context.instance, gone)
    if isinstance(request, str):
        return dg.SkipReason("; ".join([*parts, f"removals wait: {waits or request}"]))
    return dg.SensorResult(run_requests=[request])


def _leaving(instance: dg.DagsterInstance, snapshot: ProjectSnapshot) -> bool:
    """Whether a partition is registered that the snapshot no longer holds."""
    return any(
        set(instance.get_dynamic_partitions(name)).difference(
            snapshot.keys(name), snapshot.held, snapshot.kept.get(name, ())
        )
        for name in PARTITION_SETS
    )
