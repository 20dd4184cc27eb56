"""The Dagster instance of a home: its configuration file, its partitions, and runs that were killed."""

import os
from pathlib import Path

import dagster as dg
import psutil

import resources.sqlite  # noqa: F401  (its listener is all that is wanted)
from resources.platform import quiet_environment
from resources.specification import PARTITION_SETS
from resources.tags import PROCESS_TAG
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


def register_partitions(instance: dg.DagsterInstance, world: World) -> dict[str, tuple[list[str], list[str]]]:
    """Make the partition sets those of the world; returns what was added and removed per set."""
    changes = {}
    for name in PARTITION_SETS:
        wanted, present = set(world.keys(name)), set(instance.get_dynamic_partitions(name))
        held = set(world.held) if name == "shards" else set()
        added, removed = sorted(wanted - present), sorted(present - wanted - held)
        if added:
            instance.add_dynamic_partitions(name, added)
        for key in removed:
            instance.delete_dynamic_partition(name, key)
        if added or removed:
            changes[name] = (added, removed)
    return changes


def end_killed_runs(instance: dg.DagsterInstance) -> int:
    """Mark runs of processes that are gone as failed, so that they do not look alive for ever."""
    started = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
    killed = [run for run in started if _is_dead(run.tags.get(PROCESS_TAG))]
    for run in killed:
        instance.report_run_failed(run, "the process that ran it is gone; materialize again to go on")
    return len(killed)


def _is_dead(process: str | None) -> bool:
    return process is not None and process.isdigit() and not psutil.pid_exists(int(process))
