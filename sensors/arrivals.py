"""Arrivals: files that appear, change or disappear become partitions of the graph, or leave it.

The sensor looks at the folders themselves, not at events, so nothing that happened while it was off is
missed. It only registers; what has to be computed again is the reselection sensor's matter.
"""

import dagster as dg

from resources.instance import register_partitions
from resources.platform import Platform
from tamis.lineage.heads import read_heads
from tamis.lineage.reconcile import forget_gone, set_aside
from tamis.store.home import HomeLockedError, writing


@dg.sensor(minimum_interval_seconds=5, default_status=dg.DefaultSensorStatus.RUNNING)
def arrivals(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SkipReason:
    """Register new shards and forget those that are gone."""
    world = platform.look()
    changes = register_partitions(context.instance, world)
    gone: list[tuple[str, str]] = []
    if _something_left(platform, world):
        try:
            with writing(platform.home, "arrivals sensor"):
                set_aside(platform.store, world)
                gone = forget_gone(platform.store, world, read_heads(platform.store))
        except HomeLockedError as error:
            return dg.SkipReason(f"removals wait: {error}")
    return dg.SkipReason(_told(changes, gone, len(world.held)))


def _something_left(platform: Platform, world: object) -> bool:
    from tamis.lineage.plan import gone_partitions
    from tamis.lineage.world import World

    assert isinstance(world, World)
    return bool(world.held or gone_partitions(world, read_heads(platform.store)))


def _told(changes: dict[str, tuple[list[str], list[str]]], gone: list[tuple[str, str]], held: int) -> str:
    parts = [
        f"{name}: {len(added)} added, {len(removed)} removed" for name, (added, removed) in changes.items()
    ]
    if gone:
        parts.append(f"{len(gone)} values of removed partitions forgotten")
    if held:
        parts.append(f"{held} files are still being written")
    return "; ".join(parts) or "nothing arrived, nothing left"
