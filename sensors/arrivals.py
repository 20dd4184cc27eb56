"""Arrivals: files that appear, change or disappear become partitions of the graph, or leave it.

The sensor looks at the folders themselves, not at events, so nothing that happened while it was off is
missed. It only registers; what has to be computed again is the reselection sensor's matter.
"""

import dagster as dg

from resources.instance import register_partitions
from resources.platform import Platform
from resources.specification import PARTITION_SETS
from sensors.interval import INTERVAL_SECONDS
from tamis.lineage.reconcile import find_gone, forget_gone, set_aside
from tamis.lineage.world import World
from tamis.store.home import HomeLockedError, writing

Changes = dict[str, tuple[list[str], list[str]]]


@dg.sensor(minimum_interval_seconds=INTERVAL_SECONDS, default_status=dg.DefaultSensorStatus.RUNNING)
def arrivals(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SkipReason:
    """Register new shards and forget those that are gone."""
    world, heads = platform.look()
    changes = register_partitions(context.instance, world, remove=False)
    gone: list[tuple[str, str]] = []
    waits = ""
    if world.held or find_gone(platform.store, world, heads) or _leaving(context.instance, world):
        try:
            # Nothing leaves while somebody writes: a run in flight may name it.
            with writing(platform.home, "arrivals sensor"):
                changes |= register_partitions(context.instance, world)
                set_aside(platform.store, world)
                gone = forget_gone(platform.store, world, platform.heads())
        except HomeLockedError as error:
            waits = f"; removals wait: {error}"
    return dg.SkipReason(_told(changes, len(gone), len(world.held)) + waits)


def _leaving(instance: dg.DagsterInstance, world: World) -> bool:
    """Whether a partition is registered that the world no longer holds."""
    return any(
        set(instance.get_dynamic_partitions(name)).difference(world.keys(name), world.held)
        for name in PARTITION_SETS
    )


def _told(changes: Changes, gone: int, held: int) -> str:
    parts = [
        f"{name}: {len(added)} added, {len(removed)} removed" for name, (added, removed) in changes.items()
    ]
    if gone:
        parts.append(f"{gone} values of removed partitions forgotten")
    if held:
        parts.append(f"{held} files are still being written")
    return "; ".join(parts) or "nothing arrived, nothing left"
