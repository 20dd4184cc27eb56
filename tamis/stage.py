"""A stage of the graph as data: what it reads, which settings its value depends on, and what it leaves.

Each package of a method declares its stages in its `stage.py`, as the tuple `STAGES`; `tamis.base.declared`
finds them. The planner, the audit, withdrawal, removal, estimates, SQL sources and Dagster's definitions read
these declarations, so a new stage is one of these files and its asset.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, Protocol

from tamis.project import Project
from tamis.store.columns import Table

PartitionSet = Literal["shards", "targets", "selections", "models", "trials"]


class Snapshot(Protocol):
    """What the functions of a stage may ask: settings, sources and pins as they were at one moment.

    `shards`, `trials`, `pins` and `searches` are what the packages above have planned, by name.
    """

    @property
    def project(self) -> Project:
        """The project."""

    @property
    def shards(self) -> Mapping[str, Any]:
        """Shards whose files are there."""

    @property
    def fingerprints(self) -> Mapping[str, str]:
        """Digest of the bytes of each shard."""

    @property
    def target_fingerprints(self) -> Mapping[str, str]:
        """Digest of the bytes of each target."""

    @property
    def withdrawn(self) -> Mapping[tuple[str, str], str]:
        """Of each (asset, partition) that holds what somebody has withdrawn, a digest of what that is."""

    @property
    def trials(self) -> Mapping[str, Any]:
        """Planned trials."""

    @property
    def searches(self) -> Mapping[str, Any]:
        """Searches of the scaling law under a budget, by target."""

    @property
    def pinned(self) -> Mapping[str, Any]:
        """Selections that are kept at an earlier version."""

    @property
    def kept(self) -> Mapping[str, Collection[str]]:
        """By partition set, names that left tamis.toml and whose values stay."""

    @property
    def precision(self) -> str:
        """What models are computed in."""

    @property
    def encoder_identity(self) -> str:
        """What the configured encoder is."""

    def keys(self, partition_set: PartitionSet | None) -> tuple[str, ...]:
        """Partition keys of a set, sorted; ("",) for stages without partitions."""

    def waits_for_request(self, partition_set: PartitionSet | None, key: str) -> bool:
        """Whether a partition is made only when somebody asks for it, and nobody has."""


PartitionMapping = Callable[[Snapshot, str], tuple[str, ...]]
Settings = Callable[[Snapshot, str], dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Edge:
    """An input: the upstream stage, and which of its partitions a partition reads."""

    asset: str
    partitions: PartitionMapping


class Automation(StrEnum):
    """When automation makes a stage."""

    ALWAYS = "kept current whatever is configured"
    WHEN_READ = "kept current where a configured selection reads it"
    ONCE_SELECTED = "costly: kept current once a selection that reads it was made by hand"
    ONCE_SEARCHED = "made when a search under a budget asks for no further trial"
    BY_HAND = "never made by automation"


class Learning(StrEnum):
    """How a stage learns from documents."""

    PRE_TRAINED = "weights pre-trained on documents that it lists"
    FINE_TUNED = "weights fine-tuned on documents that it lists"
    FITTED = "fitted on documents that it does not list"


class Growth(StrEnum):
    """What the time of a value grows with."""

    NOTHING = "nothing of the pool"
    POOL = "documents of the pool"
    OWN_ROWS = "its own rows, which grow with the pool"
    NO_TIME = "no time to speak of"


@dataclass(frozen=True, kw_only=True)
class Price:
    """What a stage pays for: at most so many questions, at a price for each million tokens."""

    questions: int
    per_million_tokens: float


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One asset of the graph.

    `frozen`: inputs are recorded but do not enter the input key, so arrivals never call for it again.
    `by_content`: the data version is a digest of the content; otherwise it is the input key.
    `made_with`: the stage whose step makes this one, too. `step`: the step that makes it with others of the
    same partitions, however many are made at once.
    `tables`: what it writes into the store. `files`: folder of the home that holds its files.
    `from_files`: it reads files of the corpora; while a file that is gone is held back, its value stays.
    `result`: audits begin with it. `growth`: None for what its inputs say.
    """

    name: str
    group: str
    code_version: str
    partitions: PartitionSet | None = None
    edges: tuple[Edge, ...] = ()
    settings: Settings = field(default=lambda snapshot, partition: {})
    active: Callable[[Snapshot], bool] = field(default=lambda snapshot: True)
    frozen: bool = False
    by_content: bool = False
    made_with: str | None = None
    step: str | None = None
    tables: tuple[Table, ...] = ()
    files: Literal["fitted", "checkpoints"] | None = None
    from_files: bool = False
    learning: Learning | None = None
    result: bool = False
    automation: Automation = Automation.WHEN_READ
    growth: Growth | None = None
    price: Callable[[Snapshot], Price | None] = field(default=lambda snapshot: None)


def same(snapshot: Snapshot, partition: str) -> tuple[str, ...]:
    """The partition of the same name."""
    return (partition,)


def every(partition_set: PartitionSet) -> PartitionMapping:
    """Return a mapping to all partitions of a set, those included that left tamis.toml and are kept.

    As long as their rows are in the tables, what reads these tables depends on them.
    """

    def choose(snapshot: Snapshot, partition: str) -> tuple[str, ...]:
        kept = snapshot.kept.get(partition_set)
        return (*snapshot.keys(partition_set), *sorted(kept)) if kept else snapshot.keys(partition_set)

    return choose


def only(snapshot: Snapshot, partition: str) -> tuple[str, ...]:
    """The one value of an upstream without partitions."""
    return ("",)


def when(condition: Callable[[Snapshot], bool], mapping: PartitionMapping) -> PartitionMapping:
    """Return a mapping to the same partitions where a condition on the project holds, of none elsewhere."""
    return lambda snapshot, partition: mapping(snapshot, partition) if condition(snapshot) else ()


def all_made(stage: Stage) -> PartitionMapping:
    """Return a mapping to all that a stage makes in this project: nothing where it is not used, and no trials
    that wait to be asked for.
    """

    def choose(snapshot: Snapshot, partition: str) -> tuple[str, ...]:
        if not stage.active(snapshot):
            return ()
        found = every(stage.partitions)(snapshot, partition) if stage.partitions else ("",)
        return tuple(key for key in found if not snapshot.waits_for_request(stage.partitions, key))

    return choose


def edge(asset: str, partitions: PartitionMapping = only) -> Edge:
    """An edge; the default is an upstream without partitions."""
    return Edge(asset=asset, partitions=partitions)


def refused(snapshot: Snapshot, asset: str, partition: str) -> dict[str, Any]:
    """What is refused of a shard or target; nothing at all where nothing is, so that no key changes."""
    found = snapshot.withdrawn.get((asset, partition))
    return {"withdrawn": found} if found else {}


def section_settings(name: str, exclude: frozenset[str] = frozenset()) -> Settings:
    """Return the settings of one section of tamis.toml."""
    return lambda snapshot, partition: getattr(snapshot.project.settings, name).model_dump(exclude=exclude)


def encoder_settings(snapshot: Snapshot, partition: str) -> dict[str, Any]:
    """The encoder."""
    return {"encoder": snapshot.encoder_identity}


def precision_settings(snapshot: Snapshot) -> dict[str, Any]:
    """What models and the first passes of a solve are computed in: the other one gives other last digits."""
    return {"computed_in": snapshot.precision}
