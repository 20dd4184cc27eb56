"""Reselection: keeps what has been selected once in step with the corpora.

Level-triggered: each tick compares the input key that every value should have with the one it has and
requests the next run that can be made, so a change that lands while a run is in flight, or after one that
failed, is seen on the next tick. Where selections have to be approved, all before them is made and they
wait. Automation stops at selections and reports; trials are run by hand.
"""

import contextlib
import time
from collections.abc import Iterable

import dagster as dg

from tamis.base.numbers import counted, named
from tamis.base.trust import UntrustedError, unaccepted
from tamis.corpus.stage import RAW_STAGE
from tamis.graph.automation import (
    Group,
    next_groups,
    note_waiting,
    read_approvals,
    targets_without_files,
    unattended_work,
    waiting,
    waiting_lines,
)
from tamis.graph.plan import Due, full_plan, label, plugins_of
from tamis.graph.snapshot import ProjectSnapshot
from tamis.platform.resources.store import StoreResource
from tamis.platform.sensors.reloading import undefined
from tamis.platform.sensors.requests import (
    LISTED_SECONDS,
    attempts,
    busy,
    changing,
    failed_attempts,
    requests_for,
    said_of,
    waits_until,
)
from tamis.platform.sensors.unchanged import Unchanged
from tamis.records.current_values import CurrentValues
from tamis.retention.reconciled import find_gone
from tamis.runtime.runs import end_killed_runs
from tamis.selection.stage import SELECTION_STAGE
from tamis.store.home import HomeLockedError, writing
from tamis.trust import PLUGIN_CURE, plugins_asked

SHOWN = 5
NOTHING = "every selection is current"
NO_FILES = "no corpus contains a file yet (`tamis plan` names the folders); the sensor waits for files"
FROM_FILES = frozenset({RAW_STAGE.name, SELECTION_STAGE.name})
"""What is made once a corpus had files: without any of these there is nothing to keep current."""
UNCHANGED = Unchanged()


def reselection(context: dg.SensorEvaluationContext, store: StoreResource) -> dg.SensorResult | dg.SkipReason:
    """Keep every materialized selection current: request runs of its inputs, then of the selection itself.

    Failed work is tried at most three times (maximum_attempts in [automation]).
    """
    if reason := changing(store):
        return dg.SkipReason(reason)
    end_killed_runs(context.instance, store.home)
    if reason := busy(context, store.home):
        return dg.SkipReason(reason)
    snapshot, current = store.scan(LISTED_SECONDS)
    approvals = read_approvals(store.tables)
    sight = snapshot, current, approvals
    if UNCHANGED.since(store.home.root, sight):
        return dg.SkipReason(_at_rest(snapshot, current))
    if gone := find_gone(store.tables, snapshot, current):
        return dg.SkipReason(
            f"the sensor waits until {counted(len(gone), 'result')} of removed files or sections "
            "have been deleted"
        )
    if not snapshot.shards.keys() <= {*context.instance.get_dynamic_partitions("shards")}:
        return dg.SkipReason("new shards are being registered")
    wanted = unattended_work(snapshot, current, approvals) if _had_files(snapshot, current) else set()
    empty = targets_without_files(snapshot, current)
    barred, asked = _unaccepted(snapshot, current, wanted)
    groups = next_groups(snapshot, current, wanted, refit=False, without=empty | barred)
    group, given_up = _first_allowed(context, store, groups)
    if group is None:
        given_up = "; ".join(filter(None, [given_up, asked]))
        held = waiting(snapshot, current, approvals)
        if held:  # noted for a person, unless somebody writes just now: then the next tick does
            with contextlib.suppress(HomeLockedError), writing(store.home, "reselection sensor"):
                note_waiting(store.tables, held)
        reasons = [given_up, *waiting_lines(held)] if given_up else waiting_lines(held)
        if not reasons:
            UNCHANGED.note(store.home.root, sight)
        return dg.SkipReason("; ".join(reasons) or _at_rest(snapshot, current))
    context.log.info(said_of(group))
    return dg.SensorResult(run_requests=requests_for(context.instance, store.home, group))


def _had_files(snapshot: ProjectSnapshot, current: CurrentValues) -> bool:
    """Return whether a corpus contains a file, or something was made of one."""
    return bool(snapshot.shards) or not FROM_FILES.isdisjoint(asset for asset, _key in current)


def _at_rest(snapshot: ProjectSnapshot, current: CurrentValues) -> str:
    """Say why there is nothing to do; a first selection is left to a person, who may not know that."""
    if not _had_files(snapshot, current):
        return NO_FILES
    reasons = []
    if empty := {name for _asset, name in targets_without_files(snapshot, current)}:
        names = named(sorted(empty), SHOWN)
        reasons.append(f"no file with examples yet: {names}; the sensor waits for files of targets")
    made = {key for asset, key in current if asset == SELECTION_STAGE.name}
    sections = snapshot.project.settings.selection
    if new := [one.name for one in sections if one.name not in made and one.target not in empty]:
        reasons.append(
            f"not materialized yet: {named(new, SHOWN)}; run `tamis materialize` or materialize "
            "selected_subset; from then on the sensor keeps each materialized selection current"
        )
    return "; ".join(reasons) or NOTHING


def _first_allowed(
    context: dg.SensorEvaluationContext, store: StoreResource, groups: Iterable[Group]
) -> tuple[Group | None, str]:
    """The first piece of work that is defined, has attempts left and is not waiting for its next one."""
    most = store.project.settings.automation.maximum_attempts
    new, reasons = undefined(context, store), []
    for group in groups:
        tried = attempts(context.instance, store.home, group)
        failures = failed_attempts(context.instance, tried)
        if missing := sorted(new.intersection(group.assets)):
            reasons.append(f"{', '.join(missing)}: not defined yet; see the last tick of the arrivals sensor")
        elif len(failures) >= most:
            reasons.append(f"{_shown(group)} failed {len(failures)} times; materialize it to see why")
        elif tried and time.time() < waits_until(tried):
            reasons.append(f"{_shown(group)} will be tried again shortly")
        else:
            return group, ""
    return None, "; ".join(reasons[:SHOWN])


def _unaccepted(
    snapshot: ProjectSnapshot, current: CurrentValues, wanted: Iterable[tuple[str, str]]
) -> tuple[set[tuple[str, str]], str]:
    """Return the work whose plug-ins nobody has accepted, and a clause on what is due of it."""
    if not snapshot.project.settings.plugins.known:
        return set(), ""
    used = {
        entry: plugins_of(snapshot, [Due(asset=entry[0], partition=entry[1], reason="")]) for entry in wanted
    }
    missing = {
        entry: asked
        for entry, plugins in used.items()
        if (asked := unaccepted(plugins_asked(snapshot.project, plugins)))
    }
    due = [(one.asset, one.partition) for one in full_plan(snapshot, current, refit=False)] if missing else []
    waits = [entry for entry in due if entry in missing]
    if not waits:
        return {*missing}, ""
    consents = {one.digest: one for entry in waits for one in missing[entry]}
    names = named([label(*entry) for entry in waits], SHOWN)
    return {*missing}, f"not requested: {names}: {UntrustedError([*consents.values()], PLUGIN_CURE)}"


def _shown(group: Group) -> str:
    return label(group.assets[0], group.partitions[0] if len(group.partitions) == 1 else "")
