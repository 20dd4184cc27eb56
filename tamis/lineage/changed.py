"""What lies between the last value of a partition and the one that would be made now."""

from collections.abc import Sequence, Set

from tamis.lineage.heads import Heads
from tamis.lineage.manifest import InputReference, Manifest
from tamis.lineage.plan import config_of, input_references
from tamis.lineage.world import World
from tamis.stage import Stage


def differs_only_in(before: Manifest, stage: Stage, world: World, heads: Heads, assets: Set[str]) -> bool:
    """Whether a value was made as it would be now, but for its inputs among `assets`."""
    made_by = (stage.code_version, config_of(stage, before.partition, world), world.project.seed)
    if (before.code_version, before.config, before.seed) != made_by:
        return False
    without = {*assets, stage.name}
    return _versions(before.inputs, without) == _versions(_now(before, stage, world, heads), without)


def changed_partitions(before: Manifest, stage: Stage, world: World, heads: Heads, asset: str) -> list[str]:
    """Partitions of an input that are new or have another version than the value was made from, sorted."""
    known = _versions(before.inputs, set())
    now = _versions([entry for entry in _now(before, stage, world, heads) if entry.asset == asset], set())
    return sorted(partition for _asset, partition, _version in now - known)


def _now(before: Manifest, stage: Stage, world: World, heads: Heads) -> list[InputReference]:
    found = input_references(stage, before.partition, world, heads)
    return [entry for entry in found if isinstance(entry, InputReference)]


def _versions(inputs: Sequence[InputReference], without: Set[str]) -> set[tuple[str, str, str]]:
    return {
        (entry.asset, entry.partition, entry.data_version) for entry in inputs if entry.asset not in without
    }


def only_grew(
    before: Manifest, stage: Stage, world: World, heads: Heads, without: Set[str] = frozenset()
) -> bool:
    """Whether a value was made as it would be now, and of all that it would be made of now but what is new.

    Then rows that were computed of single inputs still stand, and only those of the new inputs are missing.
    Inputs `without` are not looked at: views, whose own inputs are those of the value too.
    """
    made_by = (stage.code_version, config_of(stage, before.partition, world), world.project.seed)
    if (before.code_version, before.config, before.seed) != made_by:
        return False
    now = _versions(_now(before, stage, world, heads), without)
    return _versions(before.inputs, {stage.name, *without}) <= now
