"""Materializing everything that is out of date, in one process and as few runs as possible.

A run makes all that can be made with one set of partitions, so 1,000 shards cost one run and not 1,000
processes. Nothing out of date means no run at all.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial

import dagster as dg

from tamis.base.imports import importing
from tamis.base.limits import stop_at_limit
from tamis.base.numbers import counted
from tamis.base.progress import Heartbeat
from tamis.base.sqlite import wait_until_free
from tamis.graph.automation import next_groups
from tamis.graph.failures import forget_aborts
from tamis.graph.plan import Due, full_plan, input_key, label, plugins_of
from tamis.graph.repair import (
    Damage,
    drop_unreadable,
    find_damage,
    forget_damaged,
    lost_index,
    sweep_unwritten,
    unreadable_tables,
)
from tamis.graph.snapshot import ProjectSnapshot
from tamis.graph.stages import AUDIT_ASSET, stages
from tamis.graph.submissions import Next, Submissions, end_stale, wait_for_trainer
from tamis.graph.used_stages import used_by
from tamis.mixture.stage import SWARM_SETS
from tamis.project import Project, chosen_precision
from tamis.records.attempts import TABLE as ATTEMPTS
from tamis.records.attempts import begin
from tamis.records.current_values import TABLE, CurrentValues, read_current_values
from tamis.records.losses import MISSING, lost_tables, note_records, note_tables
from tamis.records.manifest import ManifestFolder
from tamis.records.published import restore_pins
from tamis.records.receipts import restore_lost
from tamis.retention.held_back import hold
from tamis.retention.reconciled import forget_regrouped, removals, set_aside
from tamis.retention.removals import end_removals
from tamis.retention.superseded import remove_superseded
from tamis.runtime.checks import log_current_checks, log_taints
from tamis.runtime.dagster_internals import keep_no_compute_logs
from tamis.runtime.databases import TABLES
from tamis.runtime.events import let_go, log_again
from tamis.runtime.instance import dagster_state, open_instance
from tamis.runtime.running import EVERYTHING, Outcome, Runner, Wanted, run_removal
from tamis.runtime.runs import REMOVAL, end_killed_runs, register_partitions
from tamis.scan.precheck import UnmetTargetsError, precheck
from tamis.scan.sources import permitted, scan, scan_again
from tamis.store.home import Home, Writing, claim
from tamis.store.retained import retained_tables
from tamis.store.schemas import declared
from tamis.store.tables import DamagedTableError, Store
from tamis.store.unwritable import stop_unless_writable, storing
from tamis.training.failures import Failure, forget_failures
from tamis.training.stage import TRIALS_STAGE
from tamis.trust import require_plugins_trusted, require_trusted
from tamis.withdrawal.withdrawing import finish

PATIENCE_SECONDS = 5.0
"""Sensors write for moments only; a command that meets one waits, and says who writes when it is not one."""
PURPOSE = "tamis materialize"
MOST_ROUNDS = 3
"""How often a materialization begins again because files came or changed while it ran."""


def materialize(
    project: Project,
    definitions: Callable[[Project], dg.Definitions],
    instance: dg.DagsterInstance,
    say: Callable[[str], None],
    wanted: Wanted = EVERYTHING,
) -> Outcome:
    """Bring the project up to date; a failed stage does not stop the others.

    The definitions are loaded when there is something to do: that takes a second. They have the removal job.
    Raises `AmbiguousRemovalError` for names of `allow_removal`.
    """
    outcome = Outcome()
    require_trusted(project)
    loaded = cache(partial(_loaded, definitions, project))
    with storing(project.home.root), Writing(project.home, PURPOSE, PATIENCE_SECONDS) as lock:
        claim(project.home, project.settings.project.name)
        with Heartbeat("reading the state of the project"):
            end_killed_runs(instance, project.home)
            for line in let_go(project.home, instance, wanted.allow_removal):
                say(line)
                outcome.let_go.append(line)
            knows_current = repair(project, instance, say, wanted)
            asked = wanted.allow_removal
            wanted = replace(wanted, allow_removal=permitted(project, asked))
            forgotten = _forgotten(project, say) if wanted.try_again else []
            chosen_precision(project, say, wanted.choose_precision)
            snapshot = _scan_and_reconcile(project, loaded, instance, wanted, outcome)
            current = read_current_values(project.home.store)
        if asked and not (outcome.removed or outcome.let_go):
            say(f"nothing is held back under {', '.join(sorted(asked))} (see `tamis plan`)")
        if count := _tried_again(snapshot, current, forgotten, wanted):
            say(f"retrying {counted(count, 'trial')} that failed")
        plan = full_plan(snapshot, current, not wanted.certified)
        if wanted.only is None and not plan:
            conclude(project, instance, snapshot, say, knows_current)
            return outcome
        plan = [one for one in plan if wanted.includes(one.asset)]
        require_plugins_trusted(project, plugins_of(snapshot, plan))
        _check_first(snapshot, current, plan, wanted, say)
        outcome.planned = {one.asset for one in plan}
        job = loaded().resolve_implicit_global_asset_job_def()
        runner = Runner(project=project, job=job, instance=instance, say=say, wanted=wanted)
        for _ in range(MOST_ROUNDS):
            snapshot = _make_groups(runner, loaded, snapshot, outcome, lock)
            gone_before = len(outcome.removed) + len(outcome.let_go)
            with Heartbeat("looking for files that changed during the run"):
                before, snapshot = snapshot, _scan_and_reconcile(project, loaded, instance, wanted, outcome)
            removed = len(outcome.removed) + len(outcome.let_go) > gone_before
            if snapshot.same_files(before) and not removed:
                conclude(project, instance, snapshot, say, knows_current)
                return outcome
            if not removed:
                say("files arrived or changed during the run; processing them now")
            outcome.tried.clear()
        outcome.failed["corpus"] = "files kept changing; run `tamis materialize` again once they stop"
    return outcome


def _loaded(definitions: Callable[[Project], dg.Definitions], project: Project) -> dg.Definitions:
    with importing():
        return definitions(project)


def _forgotten(project: Project, say: Callable[[str], None]) -> list[Failure]:
    """Forget which trials failed and which partitions crashed the process; return the failures of trials."""
    forgotten = forget_failures(project.home.store)
    if count := forget_aborts(project.home):
        say(f"retrying {counted(count, 'partition')} that crashed the process")
    return forgotten


def _make_groups(
    runner: Runner,
    loaded: Callable[[], dg.Definitions],
    snapshot: ProjectSnapshot,
    outcome: Outcome,
    lock: Writing,
) -> ProjectSnapshot:
    """Make one group after another; return the snapshot, a newer one where lost files left in that time.

    Once nothing is left but trials on the command of [trainer], wait for one to end, without the lock.
    """
    project = runner.project
    has_read = False
    end_stale(project, snapshot, runner.say)
    while True:
        group, running = _next(project, snapshot, runner.wanted, outcome)
        if group is None:
            if running is None:
                return snapshot
            with lock.given_up():
                wait_for_trainer(project.home, running, runner.say)
            snapshot = _scan_and_reconcile(project, loaded, runner.instance, runner.wanted, outcome)
            end_stale(project, snapshot, runner.say)
            continue
        reads = any(stages()[name].from_files for name in group.assets)
        if has_read and not reads and snapshot.lost:
            # Lost files whose documents were read elsewhere leave before anything is made of both.
            snapshot = _scan_and_reconcile(project, loaded, runner.instance, runner.wanted, outcome)
            has_read = False
            continue
        has_read |= reads
        if group.partition_set in SWARM_SETS:  # planned by a stage of this very materialization
            now = scan_again(snapshot, read_current_values(project.home.store))
            register_partitions(runner.instance, now, remove=False)
        runner.make(snapshot, group, outcome)
        if outcome.failed:  # on a full disk, or without its store, all that follows would fail, too
            stop_unless_writable(project.home.root)
            stop_at_limit(outcome.failed.values())
            project.home.require_store()


def _check_first(
    snapshot: ProjectSnapshot,
    current: CurrentValues,
    plan: Sequence[Due],
    wanted: Wanted,
    say: Callable[[str], None],
) -> None:
    """Say what is known of the files before they are read; raises `UnmetTargetsError`.

    Where single stages are asked for, the step itself fails at once.
    """
    with Heartbeat("checking new files"):
        found = precheck(snapshot, current, plan)
    for line in (*found.unread, *found.warnings):
        say(f"warning: {line}")
    if found.unmet and wanted.only is None:
        raise UnmetTargetsError(found.unmet)
    for line in found.unmet:
        say(f"warning: {line}")


def _tried_again(
    snapshot: ProjectSnapshot, current: CurrentValues, forgotten: Sequence[Failure], wanted: Wanted
) -> int:
    """How many of the failures that were forgotten are of trials that are due, of the same inputs."""
    if not forgotten or not wanted.includes(TRIALS_STAGE.name):
        return 0
    plan = full_plan(snapshot, current, not wanted.certified)
    due = {found.partition for found in plan if found.asset == TRIALS_STAGE.name}
    mine = [one for one in forgotten if one.trial in due]
    return sum(
        one.input_key == input_key(stages()[TRIALS_STAGE.name], one.trial, snapshot, current) for one in mine
    )


def conclude(
    project: Project,
    instance: dg.DagsterInstance,
    snapshot: ProjectSnapshot,
    say: Callable[[str], None],
    knows_current: bool,
) -> None:
    """Remove what a rule of the project no longer keeps, and log which assets are current now.

    Nothing is removed where it is not known what was current before.
    """
    current = read_current_values(project.home.store)
    for line in remove_superseded(project, current) if knows_current else ():
        say(line)
    log_current_checks(instance, scan_again(snapshot, current), current, used_by(project).assets)


def _scan_and_reconcile(
    project: Project,
    loaded: Callable[[], dg.Definitions],
    instance: dg.DagsterInstance,
    wanted: Wanted,
    outcome: Outcome,
) -> ProjectSnapshot:
    """Return the snapshot as it is now; what is gone from it, and not held back, is removed first."""
    store, patience = project.home.store, project.settings.automation.settle_seconds
    snapshot = scan(project, patience, wanted.on_request, allowed=wanted.allow_removal)
    set_aside(store, snapshot)
    forget_regrouped(store, snapshot)
    current = read_current_values(store)
    hold(project.home, snapshot, current)
    gone, let_go = removals(snapshot, current)
    if gone or let_go:
        removal = loaded().resolve_job_def(REMOVAL)
        if error := run_removal(instance, project, removal, wanted.allow_removal):
            outcome.failed["removal"] = error
        else:
            outcome.removed += [label(*entry) for entry in gone]
            outcome.let_go += [one.shard for one in let_go]
        snapshot = scan(project, patience, wanted.on_request)
    else:
        end_removals(store)
    register_partitions(instance, snapshot)
    return snapshot


def _next(project: Project, snapshot: ProjectSnapshot, wanted: Wanted, outcome: Outcome) -> Next:
    """Return what `Submissions.first` does of the work that has not failed in this materialization."""
    current = read_current_values(project.home.store)
    snapshot = scan_again(snapshot, current)
    entries = (
        None
        if wanted.only is None
        else {
            (name, key)
            for name in wanted.only
            for key in snapshot.keys(stages()[name].partitions)
            if wanted.partitions is None or key in wanted.partitions
        }
    )
    groups = next_groups(snapshot, current, entries, not wanted.certified, outcome.given_up)
    submissions = Submissions(project=project, snapshot=snapshot, current=current)
    return submissions.first(groups, outcome.tried)


def repair(
    project: Project, instance: dg.DagsterInstance, say: Callable[[str], None], wanted: Wanted
) -> bool:
    """Forget what was damaged, so that it is made again, and log again what the event log has lost.

    Return whether it is known what was current: False where that index was dropped or is gone.
    """
    for line in sweep_unwritten(project.home):
        say(line)
    if gone := lost_index(project.home):
        say(gone)
    note_tables(project.home, recount=True)
    knows_current = _readable_index(project, say)
    for line in _drop_unreadable(project.home.store):
        say(line)
    for line in restore_lost(project.home):
        say(line)
    for withdrawn in finish(project.home):
        say(f"completed a withdrawal that was interrupted: {counted(len(withdrawn.new), 'document')}")
    log_taints(instance, project.home, read_current_values(project.home.store))
    current = read_current_values(project.home.store)
    for name in restore_pins(project.home, current):
        say(f"the table of pins was gone; selection {name} is pinned again, as its record says")
    audit = current.get((AUDIT_ASSET, ""))
    red = audit is not None and not audit.passed
    damage = find_damage(project.home, current, lost_tables(project.home), thorough=red)
    _note_lost_records(project.home, current, damage)
    for line in forget_damaged(project.home, damage) if damage else ():
        say(line)
    kept = {entry: value for entry, value in current.items() if entry not in damage}
    if logged := log_again(instance, project.home, kept):
        say(f"logged again: {counted(logged, 'materialization')} that were missing from Dagster's event log")
    if red and (AUDIT_ASSET, "") in kept and wanted.includes(AUDIT_ASSET):
        begin(project.home.store, [(AUDIT_ASSET, "")])  # made again, since what it found may be mended by now
    return knows_current


def _drop_unreadable(store: Store) -> Iterator[str]:
    """Drop tables that cannot be read, before anything reads them; yield a line for each."""
    broken = unreadable_tables(store)
    retained = {one for one in retained_tables(store) if (known := declared(one)) and not known.decided}
    for table in retained.intersection(broken):
        store.drop(table)
        yield (
            f"table {table} cannot be read and was dropped; its rows, which are of removed documents, will "
            "be computed again if those documents return"
        )
    yield from drop_unreadable(store, [table for table in broken if table not in retained])


def _note_lost_records(home: Home, current: CurrentValues, damage: Damage) -> None:
    """Note which records of damaged values cannot be read: the values are made again, and said to be."""
    folder = ManifestFolder.of(home)
    records = {current[entry].manifest: entry for entry in damage}
    lost = {key: entry for key, entry in records.items() if not folder.readable([key])}
    note_records(home, lost, MISSING)


def _readable_index(project: Project, say: Callable[[str], None]) -> bool:
    """Drop the index of current values where it cannot be read; return whether there still is one.

    It comes first: whatever else is repaired asks for current values.
    """
    store = project.home.store
    try:
        read_current_values(store)
    except DamagedTableError:
        for table in {TABLE, ATTEMPTS}.intersection(store.names()):
            store.drop(table)
        say(
            "the index of current values cannot be read and was dropped; "
            "everything will be materialized again"
        )
    return store.exists(TABLE)


def materialize_project(
    project: Project,
    say: Callable[[str], None],
    wanted: Wanted,
    definitions: Callable[[Project], dg.Definitions],
) -> Outcome:
    """Materialize from the command line: the instance of the project, quiet logs."""
    with dagster_state(project):
        with storing(project.home.root):
            wait_until_free(project.home.dagster / path for path in TABLES)
            instance = open_instance(project)
        keep_no_compute_logs(instance)
        return materialize(project, definitions, instance, say, wanted)
