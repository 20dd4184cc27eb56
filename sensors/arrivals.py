"""Arrivals: files that appear, change or disappear become partitions of the graph, or leave it.

The sensor looks at the folders themselves, not at events, so nothing that happened while it was off is
missed. It registers what came and requests the removal of what left; what has to be computed again is the
reselection sensor's matter. What is held back it only names.
"""

import contextlib
from pathlib import Path

import dagster as dg

from tamis.base.numbers import counted, named
from tamis.graph.plan import label
from tamis.platform.resources.store import StoreResource
from tamis.platform.sensors.reloading import changed_use, defined, load_again, log_check
from tamis.platform.sensors.requests import MOST_SHOWN, broken, busy, removal_request, settling
from tamis.platform.sensors.unchanged import Unchanged
from tamis.retention.held_back import held_back, hold
from tamis.retention.reconciled import find_gone, find_regrouped, forget_regrouped, set_aside
from tamis.retention.removals import begun_removals
from tamis.runtime.checks import log_current_checks
from tamis.runtime.runs import register_partitions
from tamis.store.home import HomeLockedError, claim, home_id, writing

NOTHING = "no changes"
UNCHANGED = Unchanged()


def arrivals(context: dg.SensorEvaluationContext, store: StoreResource) -> dg.SensorResult | dg.SkipReason:
    """Watch the files of all corpora: register new ones, request removal of those that are
    gone, and log what is out of date.

    It also has the definitions reloaded when tamis.toml starts to use something else.
    """
    if reason := settling(store):
        return dg.SkipReason(reason)
    problem = broken(store)
    log_check(context.instance, Path(store.project_file), problem)
    if problem:
        return dg.SkipReason(problem)
    if not home_id(store.home):  # the tag of the runs that are requested
        with contextlib.suppress(HomeLockedError), writing(store.home, "arrivals sensor"):
            claim(store.home, store.project.settings.project.name)
    parts = []
    if change := changed_use(context, store):
        if not (by_hand := load_again(context, store)):
            return dg.SkipReason(f"{change}; the webserver was asked to reload the definitions")
        parts.append(f"{change}; {by_hand}")
    sight = snapshot, current = store.scan()
    begun = begun_removals(store.tables)
    if not parts and not begun and UNCHANGED.since(store.home.root, sight):
        return dg.SkipReason(NOTHING)
    changes = register_partitions(context.instance, snapshot, remove=False)
    if snapshot.held or snapshot.lost or begun or find_regrouped(store.tables, snapshot, current):
        with contextlib.suppress(HomeLockedError), writing(store.home, "arrivals sensor"):
            set_aside(store.tables, snapshot)
            forget_regrouped(store.tables, snapshot)
            hold(store.home, snapshot, current)
    log_current_checks(context.instance, snapshot, current, defined(context, store))
    added = [counted(len(names), name.removesuffix("s")) for name, (names, _left) in changes.items() if names]
    parts += [f"registered {', '.join(added)}"] if added else []
    if snapshot.held:
        files = counted(len(snapshot.held), "file")
        parts.append(f"{files} still being written: {named([*snapshot.held], MOST_SHOWN)}")
    parts += [one.line for one in held_back(snapshot, current)]
    gone = [label(*entry) for entry in find_gone(store.tables, snapshot, current)]
    if not gone and not any(left for _added, left in changes.values()):
        if not parts and not begun:
            UNCHANGED.note(store.home.root, sight)
        return dg.SkipReason("; ".join(parts) or NOTHING)
    # Nothing leaves while somebody writes: a run in flight may name it.
    waits = busy(context, store.home)
    request = "" if waits else removal_request(context.instance, store.home, gone)
    if isinstance(request, str):
        return dg.SkipReason("; ".join([*parts, f"removals are waiting: {waits or request}"]))
    what = named(gone, MOST_SHOWN) or "partitions that tamis.toml no longer defines"
    context.log.info(f"removal requested: {what}")
    return dg.SensorResult(run_requests=[request])
