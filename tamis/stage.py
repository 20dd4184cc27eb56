"""Declarations of stages: inputs, settings, tables and files of each stage of the graph as data.

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

PartitionSet = Literal[
    "shards", "targets", "selections", "models", "trials", "mixture_runs", "agreement_runs"
]


class Snapshot(Protocol):
    """The snapshot of a project as the functions of a stage see it: settings and sources at one moment.

    Values of the type `Any` belong to packages above this module, which it must not import.
    """

    @property
    def project(self) -> Project:
        """The project: its tamis.toml with its home."""

    @property
    def shards(self) -> Mapping[str, Any]:
        """Shards whose files exist, by key."""

    @property
    def fingerprints(self) -> Mapping[str, str]:
        """Digest of the bytes of each shard."""

    @property
    def target_fingerprints(self) -> Mapping[str, str]:
        """Digest of the bytes of each target."""

    @property
    def benchmark_fingerprints(self) -> Mapping[str, str]:
        """Digest of the bytes of each benchmark to keep out."""

    @property
    def control_fingerprints(self) -> Mapping[str, str]:
        """Digest of the bytes of each control."""

    @property
    def withdrawn(self) -> Mapping[tuple[str, str], str]:
        """Digest of the withdrawn documents of each (asset, partition) that holds any."""

    @property
    def trials(self) -> Mapping[str, Any]:
        """Planned trials by name."""

    @property
    def searches(self) -> Mapping[str, Any]:
        """Searches of the scaling law under a budget, by target."""

    @property
    def swarm(self) -> Any:
        """The runs of [mixture] as they are planned; None without that section, or before it is planned."""

    @property
    def pinned(self) -> Mapping[str, Any]:
        """Pinned versions of the selections that are kept at an earlier version."""

    @property
    def kept(self) -> Mapping[str, Collection[str]]:
        """Names that left tamis.toml and whose values stay, by partition set."""

    @property
    def precision(self) -> str:
        """Precision in which models are computed."""

    @property
    def encoder_identity(self) -> str:
        """Identity of the configured encoder."""

    @property
    def tokenizer_identity(self) -> str:
        """Identity of the tokenizer that counts tokens, of a project that has one with files."""

    def keys(self, partition_set: PartitionSet | None) -> tuple[str, ...]:
        """Return the partition keys of a set, those of shards sorted; ("",) for stages without partitions."""

    def waits_for_request(self, partition_set: PartitionSet | None, key: str) -> bool:
        """Return whether a partition is made only on request, and nobody has requested it."""


PartitionMapping = Callable[[Snapshot, str], tuple[str, ...]]
Settings = Callable[[Snapshot, str], dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Edge:
    """An input: the upstream stage, and the mapping from a partition to those that it reads there."""

    asset: str
    partitions: PartitionMapping


class Automation(StrEnum):
    """When automation makes a stage."""

    ALWAYS = "kept current whatever is configured"
    WHEN_READ = "kept current if a configured selection reads the stage"
    ONCE_SELECTED = "costly: kept current once a person has made a selection that reads the stage"
    ONCE_SEARCHED = "made once a search under a trial budget asks for no further trial"
    BY_HAND = "never made by automation"


class Learning(StrEnum):
    """How a stage learns from documents."""

    PRE_TRAINED = "weights pre-trained on documents that the stage lists"
    FINE_TUNED = "weights fine-tuned on documents that the stage lists"
    FITTED = "fitted on documents that the stage does not list"


class Growth(StrEnum):
    """The quantity that the time of a value grows with."""

    NOTHING = "nothing of the pool"
    POOL = "documents of the pool"
    OWN_ROWS = "rows of the stage itself, which grow with the pool"
    NO_TIME = "hardly any time"


@dataclass(frozen=True, kw_only=True)
class Price:
    """The price of a stage that asks a server: at most `questions`, at a price for each million tokens."""

    questions: int
    per_million_tokens: float


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One asset of the graph.

    `edges`: its inputs. `settings`: the settings that its value depends on, as JSON values, by partition.
    `active`: whether the project uses it.
    `frozen`: inputs are recorded but do not enter the input key, so arrivals never make it out of date.
    `steady`: its content usually stays when its inputs change, so plans leave out the values that only it
    could make out of date, until its content has changed.
    `by_content`: the data version is a digest of the content; otherwise it is the input key.
    `plans`: the set of partitions that its rows decide; what reads those comes in later runs.
    `made_with`: the stage whose step makes this one, too. `step`: the step that makes it together with other
    stages of the same partitions, however many partitions there are.
    `tables`: tables that it writes. `files`: folder of the home that holds its files.
    `from_files`: it reads files of the corpora; while the loss of a file is held back, its value stays.
    `result`: audits begin with it. `growth`: None means as its inputs: the pool, if it reads shards.
    `description`: the rows of a SQL model, in words.
    """

    name: str
    group: str
    code_version: str
    partitions: PartitionSet | None = None
    edges: tuple[Edge, ...] = ()
    settings: Settings = field(default=lambda snapshot, partition: {})
    active: Callable[[Snapshot], bool] = field(default=lambda snapshot: True)
    frozen: bool = False
    steady: bool = False
    by_content: bool = False
    plans: PartitionSet | None = None
    made_with: str | None = None
    step: str | None = None
    tables: tuple[Table, ...] = ()
    files: Literal["fitted", "checkpoints"] | None = None
    from_files: bool = False
    learning: Learning | None = None
    result: bool = False
    automation: Automation = Automation.WHEN_READ
    growth: Growth | None = None
    description: str = ""
    price: Callable[[Snapshot], Price | None] = field(default=lambda snapshot: None)


def same(snapshot: Snapshot, partition: str) -> tuple[str, ...]:
    """Return the partition of the same name: a mapping for an edge."""
    return (partition,)


def every(partition_set: PartitionSet) -> PartitionMapping:
    """Return a mapping to all partitions of a set, those included that left tamis.toml and are kept.

    A stage that reads the tables of these depends on them as long as their rows are there.
    """

    def choose(snapshot: Snapshot, partition: str) -> tuple[str, ...]:
        kept = snapshot.kept.get(partition_set)
        return (*snapshot.keys(partition_set), *sorted(kept)) if kept else snapshot.keys(partition_set)

    return choose


def only(snapshot: Snapshot, partition: str) -> tuple[str, ...]:
    """Return the one value of an upstream stage without partitions: a mapping for an edge."""
    return ("",)


def when(condition: Callable[[Snapshot], bool], mapping: PartitionMapping) -> PartitionMapping:
    """Return a mapping to the same partitions where a condition on the project holds, to none elsewhere."""
    return lambda snapshot, partition: mapping(snapshot, partition) if condition(snapshot) else ()


def all_made(stage: Stage) -> PartitionMapping:
    """Return a mapping to all partitions that a stage makes in this project.

    These are none where the project does not use the stage, and no trials that wait for a request.
    """

    def choose(snapshot: Snapshot, partition: str) -> tuple[str, ...]:
        if not stage.active(snapshot):
            return ()
        found = every(stage.partitions)(snapshot, partition) if stage.partitions else ("",)
        return tuple(key for key in found if not snapshot.waits_for_request(stage.partitions, key))

    return choose


def edge(asset: str, partitions: PartitionMapping = only) -> Edge:
    """Return an edge; the default is an upstream stage without partitions."""
    return Edge(asset=asset, partitions=partitions)


def refused(snapshot: Snapshot, asset: str, partition: str) -> dict[str, Any]:
    """Return a digest of the withdrawn documents of a shard or target, as settings.

    Empty where there are none, so that the input keys of others do not change.
    """
    found = snapshot.withdrawn.get((asset, partition))
    return {"withdrawn": found} if found else {}


def section_settings(name: str, exclude: frozenset[str] = frozenset()) -> Settings:
    """Return a function that reads one section of tamis.toml, without the keys in `exclude`."""
    return lambda snapshot, partition: getattr(snapshot.project.settings, name).model_dump(exclude=exclude)


def encoder_settings(snapshot: Snapshot, partition: str) -> dict[str, Any]:
    """Return the identity of the encoder as settings."""
    return {"encoder": snapshot.encoder_identity}


def precision_settings(snapshot: Snapshot) -> dict[str, Any]:
    """Return the precision of models and of the first passes of a solve, since it changes the last digits."""
    return {"computed_in": snapshot.precision}
