"""Partition sets of an instance: this home's keys are registered and removed, those of others are left alone.

Dagster knows a set by its name, so all homes and code locations of an instance share it. What a home has
registered is noted in a set of its own, whose name holds the home's id.
"""

import dagster as dg
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)

from tamis.graph.snapshot import ProjectSnapshot
from tamis.graph.stages import stages
from tamis.platform.resources.ownership import active_runs, other_homes
from tamis.platform.resources.specification import PARTITION_SETS
from tamis.records.current_values import read_current_values
from tamis.store.home import Home, home_id

PARTITION_TAGS = (PARTITION_NAME_TAG, ASSET_PARTITION_RANGE_START_TAG, ASSET_PARTITION_RANGE_END_TAG)


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


def _sets_of(run: dg.DagsterRun) -> set[str]:
    """Partition sets of the assets that a run makes; all of them where it does not say which."""
    sets = {_set_of(key.path[-1]) for key in run.asset_selection or ()}
    return {name for name in sets if name} or set(PARTITION_SETS)


def _set_of(asset: str) -> str | None:
    stage = stages().get(asset)
    return stage.partitions if stage else None
