"""What Dagster is told of each asset, taken from the graph in tamis/lineage/stages.py.

Partition sets are all dynamic, so definitions do not depend on tamis.toml and editing it needs no reload;
documents are never partitions.
"""

import re
from collections.abc import Sequence
from typing import Any

import dagster as dg

from tamis.lineage.stages import stages
from tamis.stage import Stage
from tamis.training.stage import TRIALS_STAGE

OWNERS = ["team:data"]
ACCELERATED = frozenset({"torch", "transformers"})
ACCELERATOR_POOL = "gpu"
"""Pool of the steps that compute on an accelerator where there is one; its limit is the number of devices."""
PARTITION_SETS = {
    name: dg.DynamicPartitionsDefinition(name=name)
    for name in ("shards", "targets", "selections", "models", "trials")
}
__all__ = ["ACCELERATOR_POOL", "OWNERS", "PARTITION_SETS", "dependencies", "described", "specified"]


def described(
    name: str, kinds: Sequence[str], checks: Sequence[tuple[str, str, bool]] = ()
) -> dict[str, Any]:
    """Arguments of `dg.asset` for a stage; each check is (name, description, blocking)."""
    stage = stages()[name]
    return {
        "name": name,
        "group_name": stage.group,
        "code_version": stage.code_version,
        "partitions_def": PARTITION_SETS[stage.partitions] if stage.partitions else None,
        "deps": dependencies(stage),
        "kinds": set(kinds),
        "pool": ACCELERATOR_POOL if ACCELERATED.intersection(kinds) else None,
        "owners": OWNERS,
        "output_required": False,
        "check_specs": [
            dg.AssetCheckSpec(check, asset=name, description=text, blocking=blocking)
            for check, text, blocking in checks
        ],
    }


def specified(name: str, kinds: Sequence[str], description: str) -> dg.AssetSpec:
    """Specification of a stage that one step makes together with another."""
    stage = stages()[name]
    return dg.AssetSpec(
        name,
        group_name=stage.group,
        code_version=stage.code_version,
        deps=dependencies(stage),
        kinds=set(kinds),
        owners=OWNERS,
        description=description,
        skippable=True,
        partitions_def=PARTITION_SETS[stage.partitions] if stage.partitions else None,
    )


def dependencies(stage: Stage) -> list[dg.AssetDep]:
    """Upstream assets with their partition mappings: identity within a set, all partitions across sets."""
    found = []
    for name in dict.fromkeys(edge.asset for edge in stage.edges):
        upstream = stages()[name].partitions
        mapping: dg.PartitionMapping | None
        if upstream is None:
            mapping = None
        elif upstream == stage.partitions and stage.name != TRIALS_STAGE.name:
            mapping = dg.IdentityPartitionMapping()
        else:
            mapping = dg.AllPartitionMapping()
        found.append(dg.AssetDep(name, partition_mapping=mapping))
    return found


def slug(value: str) -> str:
    """A value as a tag: letters, digits, `_.-`, at most 63 characters."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", value)[:63]
