"""Runs of a home: their tags, whose a run is, which process it lives in, which partitions it may name.

An instance may hold runs of other homes and of other code locations. Every run of a home has the home's id in
a tag. The command line and the sensors put it there; a run that somebody starts in the UI gets it when its
process opens the store, before its first step, and so do runs of backfills. Until then only its code location
is known. Runs of Tamis 0.2 have no id, but tags that only Tamis writes: they are this home's, unless another
home uses the instance. Steps read the tags of runs, the driver and the sensors write them. The UI shows those
that a person understands; names that begin with `.dagster/` it hides.

Dagster's default launcher does not watch its processes (measured on 1.13.27: run monitoring leaves a killed
run in STARTED), and the reselection sensor waits while any run is active: so a run names its process.

Partition sets are all dynamic, so a new file, target or model needs no new definitions; documents are never
partitions. Dagster knows a set by its name, so all homes and code locations of an instance share it. What a
home has registered is noted in a set of its own, whose name holds the home's id.
"""

import contextlib
import json
import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import psutil

from tamis.base.installation import PLATFORM
from tamis.base.processes import lives, process_named, this_process
from tamis.graph.snapshot import ProjectSnapshot
from tamis.graph.stages import stages
from tamis.mixture.stage import SWARM_SETS
from tamis.records.current_values import read_current_values
from tamis.runtime.dagster_internals import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    HIDDEN_TAG_PREFIX,
    PARTITION_NAME_TAG,
    REPOSITORY_LABEL_TAG,
    SINGLETON_REPOSITORY_NAME,
    CodeLocationOrigin,
    FileCodePointer,
    ModuleCodePointer,
    RegisteredCodeLocationOrigin,
    RemoteRepositoryOrigin,
)
from tamis.store.home import Home, home_id

DRIVER_TAG = "tamis/driver"
HOME_TAG = "tamis/home"
"""Tag of runs and of materializations: the id of the home that they are of."""
PROCESS_TAG = f"{HIDDEN_TAG_PREFIX}tamis_process"
WORK_TAG = f"{HIDDEN_TAG_PREFIX}tamis_work"
ON_REQUEST_TAG = "tamis/on_request"
BACKFILL_TAG = "dagster/backfill"
CERTIFIED_TAG = "tamis/certified"
ALLOW_REMOVAL_TAG = "tamis/allow_removal"
PARTITIONS_TAG = f"{HIDDEN_TAG_PREFIX}tamis_partitions"
COMMAND_LINE, SENSOR = "command line", "sensor"
ALIVE = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
ACTIVE = [*ALIVE, dg.DagsterRunStatus.QUEUED]
"""A run in one of these has not ended."""
ASSET_JOB = "__ASSET_JOB"
DEFINITIONS = (PLATFORM / "definitions.py").resolve()
MODULES = frozenset({"tamis.platform.definitions", "definitions"})
"""Names of the definitions as a module; the second one is that of earlier versions."""
REMOVAL = "removal"
"""The job that removes what left; the definitions have it."""
JOBS = frozenset({ASSET_JOB, REMOVAL, "trials_on_request"})
"""Jobs of the definitions; the first is Dagster's name for runs of single assets."""
LOCATION = "definitions.py"
"""The code location's name in workspace.yaml, by which homes know the states of its sensors."""
ORIGIN = RemoteRepositoryOrigin(
    code_location_origin=RegisteredCodeLocationOrigin(LOCATION),
    repository_name=SINGLETON_REPOSITORY_NAME,
)
IN_TIMELINE = {REPOSITORY_LABEL_TAG: ORIGIN.get_label()}
"""Tags of a run of the command line in the UI's Timeline, which shows those of a code location alone."""
CODE_SERVERS = frozenset({"grpc", "code-server"})
"""Words of the command lines of Dagster's code servers."""
SILENT_SECONDS = 300.0
"""A run that has started but reached no step for so long died in between: steps name their process."""
PARTITION_SETS = {
    name: dg.DynamicPartitionsDefinition(name=name)
    for name in ("shards", "targets", "selections", "models", "trials", *SWARM_SETS)
}
PARTITION_TAGS = (PARTITION_NAME_TAG, ASSET_PARTITION_RANGE_START_TAG, ASSET_PARTITION_RANGE_END_TAG)


@dataclass(frozen=True, kw_only=True)
class Owner:
    """A home as the owner of runs of an instance; `alone`: no other home has a run there."""

    id: str
    alone: bool

    @classmethod
    def of(cls, instance: dg.DagsterInstance, home: Home) -> "Owner":
        """Return the owner that a home is."""
        known = home_id(home)
        return cls(id=known, alone=other_homes(instance, known) == set())

    def owns(self, run: dg.DagsterRun) -> bool:
        """Return whether a run is of this home, as its tags say."""
        if HOME_TAG in run.tags:
            return run.tags[HOME_TAG] == self.id
        return self.alone and not run.tags.keys().isdisjoint((PROCESS_TAG, DRIVER_TAG))

    def may_own(self, run: dg.DagsterRun, location: CodeLocationOrigin | None = None) -> bool:
        """Return whether a run is of this home, or nobody's yet and of this code location.

        `location`: the code location, None where it is not known. Those of several homes may have the same
        name, and are told apart by their servers.
        """
        if HOME_TAG in run.tags or self.owns(run):
            return self.owns(run)
        ours = all(map(is_of_tamis, run.asset_selection or ()))
        if run.remote_job_origin is None or run.job_name not in JOBS or not ours or _is_of_other_code(run):
            return False
        if location is None:
            return self.alone and bool(run.asset_selection)
        there = run.remote_job_origin.repository_origin.code_location_origin
        return there.location_name == location.location_name if self.alone else there == location


def refits(run: dg.DagsterRun) -> bool:
    """Whether a run fits again what is fitted on the pool: all but those that sensors ask for."""
    return CERTIFIED_TAG not in run.tags


def asked_for(run: dg.DagsterRun) -> bool:
    """Whether a person chose the partitions of this run; our own driver says so where one did."""
    return DRIVER_TAG not in run.tags or ON_REQUEST_TAG in run.tags


def named_partitions(run: dg.DagsterRun) -> frozenset[str] | None:
    """Return the partitions that a run is to make; None for all of its range that are due."""
    named = run.tags.get(PARTITIONS_TAG)
    return frozenset(json.loads(named)) if named else None


def allowed_removals(run: dg.DagsterRun) -> frozenset[str]:
    """Return the names that a run may remove although they are held back: its tag, separated by commas."""
    return frozenset(filter(None, map(str.strip, run.tags.get(ALLOW_REMOVAL_TAG, "").split(","))))


def tags_of(home: Home) -> dict[str, str]:
    """Return the tag of runs and materializations of a home; none before the home has an id."""
    known = home_id(home)
    return {HOME_TAG: known} if known else {}


def claim_run(instance: dg.DagsterInstance, run: dg.DagsterRun, home: Home) -> None:
    """Tag a run that executes steps of a home, unless it is tagged or the home has no id yet."""
    tags = tags_of(home)
    if tags and HOME_TAG not in run.tags:
        instance.add_run_tags(run.run_id, tags)


def is_of_tamis(key: dg.AssetKey) -> bool:
    """Return whether an asset has a name that Tamis gives; others may have it below a prefix."""
    return len(key.path) == 1 and key.path[0] in stages()


def other_homes(instance: dg.DagsterInstance, known: str) -> set[str]:
    """Return the ids of the other homes that have runs in an instance."""
    values = dict(instance.get_run_tags([HOME_TAG])).get(HOME_TAG, set())
    return set(values) - {known}


def active_runs(
    instance: dg.DagsterInstance, home: Home, location: CodeLocationOrigin | None = None
) -> Sequence[dg.DagsterRun]:
    """Return the runs that have not ended and are of this home, or may turn out to be."""
    runs = instance.get_runs(dg.RunsFilter(statuses=ACTIVE))
    owner = Owner.of(instance, home) if runs else None
    return [run for run in runs if owner and owner.may_own(run, location)]


def show_in_timeline(instance: dg.DagsterInstance, run_id: str) -> None:
    """Let a run that this process is about to execute belong to the code location, from its first event on.

    A run that Dagster executes in process belongs to none, and what executes it takes no origin.
    """

    shown: set[str] = set()

    def see(entry: dg.EventLogEntry) -> None:
        if entry.run_id not in shown and (run := instance.get_run_by_id(entry.run_id)):
            shown.add(entry.run_id)
            instance.run_storage.replace_job_origin(run, ORIGIN.get_job_origin(run.job_name))

    instance.add_event_listener(run_id, see)


def note_process(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Tag a run with the process that executes it, unless it is."""
    noted = run.tags.get(PROCESS_TAG)
    if noted != this_process() and noted != (process := _executing()):
        instance.add_run_tags(run.run_id, {PROCESS_TAG: process})


def _executing() -> str:
    """Return this process, or the one that started it where an executor of others gives steps their own.

    A process that executes a whole run is started by a code server.
    """
    if starter := multiprocessing.parent_process():
        with contextlib.suppress(psutil.Error):
            if CODE_SERVERS.isdisjoint(psutil.Process(starter.pid).cmdline()):
                return process_named(starter.pid or 0)
    return this_process()


def end_killed_runs(instance: dg.DagsterInstance, home: Home) -> int:
    """Mark runs of a home whose process is gone as failed; returns how many."""
    records = instance.get_run_records(dg.RunsFilter(statuses=ALIVE))
    if not records:
        return 0
    owner = Owner.of(instance, home)
    killed = [one.dagster_run for one in records if owner.owns(one.dagster_run) and _is_dead(one)]
    for run in killed:
        instance.report_run_failed(run, "the process that ran it has died; materialize again to continue")
    return len(killed)


def register_partitions(
    instance: dg.DagsterInstance, snapshot: ProjectSnapshot, remove: bool = True
) -> dict[str, tuple[list[str], list[str]]]:
    """Make this home's keys in each partition set those of the snapshot; return those added and removed.

    A partition stays while a run that has not ended names it, or another home has it. Without `remove` only
    what is new is registered, and what would be removed is returned alone.
    """
    changes: dict[str, tuple[list[str], list[str]]] = {}
    home, in_use = snapshot.project.home, None
    for name in PARTITION_SETS:
        wanted, present = set(snapshot.keys(name)), set(instance.get_dynamic_partitions(name))
        held = set(snapshot.held) if name == "shards" else snapshot.kept.get(name, frozenset())
        added, gone = sorted(wanted - present), present - wanted - held
        if added:
            instance.add_dynamic_partitions(name, added)
        gone &= _noted(instance, snapshot, name, gone)
        if gone and remove:
            in_use = in_use or partitions_in_use(instance, home)
            gone -= in_use[name]
        removed = sorted(gone)
        if removed and remove:
            _remove(instance, home, name, removed)
        if added or removed:
            changes[name] = (added, removed)
    return changes


def partitions_in_use(instance: dg.DagsterInstance, home: Home) -> dict[str, set[str]]:
    """Partition keys of each set that runs of a home name which have not ended: alone, or as a range."""
    found: dict[str, set[str]] = {name: set() for name in PARTITION_SETS}
    for run in active_runs(instance, home):
        named = {run.tags[tag] for tag in PARTITION_TAGS if tag in run.tags}
        for name in _sets_of(run) if named else ():
            keys = list(instance.get_dynamic_partitions(name))
            if PARTITION_NAME_TAG not in run.tags and named.issubset(keys):
                places = [keys.index(key) for key in named]
                named = set(keys[min(places) : max(places) + 1])
            found[name] |= named
    return found


def _is_of_other_code(run: dg.DagsterRun) -> bool:
    """Return whether a run's job is defined elsewhere; False where the run does not say where."""
    if run.job_code_origin is None:
        return False
    pointer = run.job_code_origin.repository_origin.code_pointer
    if isinstance(pointer, FileCodePointer):
        return Path(pointer.working_directory or "", pointer.python_file).resolve() != DEFINITIONS
    return not isinstance(pointer, ModuleCodePointer) or pointer.module not in MODULES


def _is_dead(record: dg.RunRecord) -> bool:
    process = record.dagster_run.tags.get(PROCESS_TAG)
    if process is None:
        started = record.start_time if record.dagster_run.status == dg.DagsterRunStatus.STARTED else None
        return started is not None and time.time() - started > SILENT_SECONDS
    return lives(process) is False


def _note(name: str, home: str) -> str:
    """Return the name of the set in which a home notes its keys of a partition set."""
    return f"{name} of home {home}"


def _noted(
    instance: dg.DagsterInstance, snapshot: ProjectSnapshot, name: str, unwanted: set[str]
) -> set[str]:
    """Return the keys of a set that are this home's, once those of now and of `unwanted` are noted.

    Of the latter a home of 0.2 has noted none: its own are those that it has values of.
    """
    home = home_id(snapshot.project.home)
    if not home:
        return set()
    note = _note(name, home)
    noted = set(instance.get_dynamic_partitions(note))
    new = set(snapshot.keys(name)) - noted
    if unwanted - noted:
        current = read_current_values(snapshot.project.home.store)
        new |= {key for asset, key in current if key in unwanted and _set_of(asset) == name} - noted
    if new:
        instance.add_dynamic_partitions(note, sorted(new))
    return noted | new


def _remove(instance: dg.DagsterInstance, home: Home, name: str, keys: list[str]) -> None:
    """Remove keys of this home from a set, but for those that another home has noted, too."""
    known = home_id(home)
    kept: set[str] = set()
    for other in other_homes(instance, known):
        kept.update(instance.get_dynamic_partitions(_note(name, other)))
    for key in keys:
        if key not in kept:
            instance.delete_dynamic_partition(name, key)
        instance.delete_dynamic_partition(_note(name, known), key)


def _sets_of(run: dg.DagsterRun) -> set[str]:
    """Partition sets of the assets that a run makes; all of them where it does not say which."""
    sets = {_set_of(key.path[-1]) for key in run.asset_selection or ()}
    return {name for name in sets if name} or set(PARTITION_SETS)


def _set_of(asset: str) -> str | None:
    stage = stages().get(asset)
    return stage.partitions if stage else None
