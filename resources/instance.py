"""The Dagster instance of a home: its configuration file and its partitions."""

import os
from pathlib import Path

import dagster as dg

from resources.platform import quiet_environment
from resources.specification import PARTITION_SETS
from tamis.lineage.manifest import write_atomically
from tamis.lineage.world import World
from tamis.project import Project

CONFIGURATION = """\
telemetry:
  enabled: false
nux:
  enabled: false
concurrency:
  runs:
    max_concurrent_runs: 1
run_monitoring:
  enabled: true
  start_timeout_seconds: 300
  free_slots_after_run_end_seconds: 60
"""


def open_instance(project: Project) -> dg.DagsterInstance:
    """The instance of the project's home, configured at first use; `DAGSTER_HOME` is set to it."""
    quiet_environment(project)
    folder = prepare_folder(project)
    os.environ["DAGSTER_HOME"] = str(folder)
    return dg.DagsterInstance.from_config(str(folder))


def prepare_folder(project: Project) -> Path:
    """DAGSTER_HOME of the project, with a dagster.yaml unless it has one."""
    folder = project.home.dagster
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "dagster.yaml").exists():
        write_atomically(folder / "dagster.yaml", CONFIGURATION.encode())
    return folder


def register_partitions(
    instance: dg.DagsterInstance, world: World, remove: bool = True
) -> dict[str, tuple[list[str], list[str]]]:
    """Make the partition sets those of the world; returns what was added and removed per set.

    Without `remove` only what is new is registered: a run in flight may name what is gone.
    """
    changes = {}
    for name in PARTITION_SETS:
        wanted, present = set(world.keys(name)), set(instance.get_dynamic_partitions(name))
        held = set(world.held) if name == "shards" else set()
        added, removed = sorted(wanted - present), sorted(present - wanted - held) if remove else []
        if added:
            instance.add_dynamic_partitions(name, added)
        for key in removed:
            instance.delete_dynamic_partition(name, key)
        if added or removed:
            changes[name] = (added, removed)
    return changes
