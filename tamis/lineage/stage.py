"""A stage of the graph as data: what it reads, and which settings its value depends on."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from tamis.lineage.world import World

PartitionSet = Literal["shards", "targets", "selections", "models", "trials"]
Chooser = Callable[[World, str], tuple[str, ...]]
Settings = Callable[[World, str], dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Edge:
    """An input: the upstream stage, and which of its partitions a partition reads."""

    asset: str
    partitions: Chooser


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One asset of the graph.

    `frozen`: inputs are recorded but do not enter the input key, so arrivals never call for it again.
    `by_content`: the data version is a digest of the content; otherwise it is the input key.
    """

    name: str
    group: str
    code_version: str
    partitions: PartitionSet | None = None
    edges: tuple[Edge, ...] = ()
    settings: Settings = field(default=lambda world, partition: {})
    active: Callable[[World], bool] = field(default=lambda world: True)
    frozen: bool = False
    by_content: bool = False
    made_with: str | None = None


def same(world: World, partition: str) -> tuple[str, ...]:
    """The partition of the same name."""
    return (partition,)


def every(partition_set: PartitionSet) -> Chooser:
    """Return a chooser of all partitions of a set, those included that left tamis.toml and are kept.

    As long as their rows are in the tables, what reads these tables depends on them.
    """

    def choose(world: World, partition: str) -> tuple[str, ...]:
        kept = world.kept.get(partition_set)
        return (*world.keys(partition_set), *sorted(kept)) if kept else world.keys(partition_set)

    return choose


def only(world: World, partition: str) -> tuple[str, ...]:
    """The one value of an upstream without partitions."""
    return ("",)


def edge(asset: str, partitions: Chooser = only) -> Edge:
    """An edge; the default is an upstream without partitions."""
    return Edge(asset=asset, partitions=partitions)
