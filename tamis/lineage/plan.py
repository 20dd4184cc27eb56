"""Plans: which partitions of which stages are out of date, and why.

A value is current when the input key computed now equals the one it was made with; no clocks, no
events, so nothing can be missed. Planning 1,000 shards takes well under a second.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from tamis.corpus.stage import RAW_STAGE
from tamis.lineage.heads import Head, Heads
from tamis.lineage.manifest import InputReference, canonical_json
from tamis.lineage.stages import stages
from tamis.lineage.world import World
from tamis.stage import Edge, Stage
from tamis.store.digests import canonical_digest


@dataclass(frozen=True, kw_only=True)
class Due:
    """A partition that is out of date; `waits_for` names the first input that must be made before."""

    asset: str
    partition: str
    reason: str
    waits_for: str | None = None


def input_references(stage: Stage, partition: str, world: World, heads: Heads) -> list[InputReference | str]:
    """The inputs of a partition: a reference to each head, or `asset[partition]` where there is none."""
    found: list[InputReference | str] = []
    for edge in stage.edges:
        for key in edge.partitions(world, partition):
            head = heads.get((edge.asset, key))
            if head is None and _is_kept(edge, key, world):
                continue
            found.append(reference(head) if head and head.usable else label(edge.asset, key))
    return found


def reference(head: Head) -> InputReference:
    """A head as an input of something else."""
    return InputReference(
        asset=head.asset, partition=head.partition, data_version=head.data_version, manifest=head.manifest
    )


def label(asset: str, partition: str) -> str:
    """`asset[partition]`, or `asset` when it has no partitions."""
    return f"{asset}[{partition}]" if partition else asset


def input_key(stage: Stage, partition: str, world: World, heads: Heads) -> str | None:
    """Return the hash of everything a value depends on, or None while an input is missing.

    What is kept although its file or its settings are gone has the key that it was made with.
    """
    if world.keeps(stage.name, stage.partitions, partition):
        head = heads.get((stage.name, partition))
        return head.input_key if head else None
    versions = _input_versions(stage, partition, world, heads)
    if versions is None:
        return None
    return canonical_digest(
        canonical_json(
            {
                "asset": stage.name,
                "partition": partition,
                "code_version": stage.code_version,
                "config": stage.settings(world, partition),
                "seed": world.project.seed,
                "inputs": [] if stage.frozen else sorted(versions),
            }
        )
    )


def _input_versions(stage: Stage, partition: str, world: World, heads: Heads) -> list[list[str]] | None:
    """Asset, partition and data version of each input; None while one is missing.

    Plain lists, since a plan for 10,000 shards looks at a few hundred thousand of them.
    """
    found = []
    for edge in stage.edges:
        asset = edge.asset
        for key in edge.partitions(world, partition):
            head = heads.get((asset, key))
            if head is None and _is_kept(edge, key, world):
                continue
            if head is None or not head.usable:
                return None
            found.append([asset, key, head.data_version])
    return found


def _is_kept(edge: Edge, key: str, world: World) -> bool:
    """Return whether an upstream value is of a name that left tamis.toml, which nobody makes any more."""
    return world.keeps(edge.asset, stages()[edge.asset].partitions, key)


def config_of(stage: Stage, partition: str, world: World) -> dict[str, Any]:
    """The settings a value depends on, as JSON values."""
    values: dict[str, Any] = json.loads(json.dumps(stage.settings(world, partition)))
    return values


def due_partitions(stage: Stage, world: World, heads: Heads, settle: bool = True) -> Iterator[Due]:
    """Out-of-date partitions of one stage whose inputs are all there.

    `settle` counts what is right within a certificate only as out of date (design section 5).
    """
    if stage.made_with or not stage.active(world):
        return
    together = [stage, *(other for other in stages().values() if other.made_with == stage.name)]
    for partition in world.keys(stage.partitions):
        if world.waits_for_request(stage.partitions, partition):
            continue
        reasons = [_difference(member, partition, world, heads, settle) for member in together]
        if reason := next((found for found in reasons if found), None):
            yield Due(asset=stage.name, partition=partition, reason=reason)


def _difference(stage: Stage, partition: str, world: World, heads: Heads, settle: bool) -> str | None:
    """Why a value whose inputs are all there is out of date, or None when it is current."""
    if world.keeps(stage.name, stage.partitions, partition):
        return None
    key = input_key(stage, partition, world, heads)
    head = heads.get((stage.name, partition))
    if key is None or world.is_shrunken(stage.name, partition, key):
        return None
    if head is not None and not head.finished:
        return "interrupted"
    if head is not None and head.input_key == key:
        return None if head.settled or not settle else "to be settled"
    return "new" if head is None else "changed"


def full_plan(world: World, heads: Heads, settle: bool = True) -> list[Due]:
    """Everything that is out of date, what waits for something else included, in order of execution.

    Trials that wait to be asked for are not part of it.
    """
    plan: list[Due] = []
    pending: set[tuple[str, str]] = set()
    for stage in stages().values():
        if not stage.active(world):
            continue
        for partition in world.keys(stage.partitions):
            if world.waits_for_request(stage.partitions, partition):
                continue
            due = _due(stage, partition, world, heads, pending, settle)
            if due is not None:
                pending.add((stage.name, partition))
                if stage.made_with is None or (stage.made_with, partition) not in pending:
                    plan.append(due if stage.made_with is None else replace(due, asset=stage.made_with))
    return plan


def _due(
    stage: Stage,
    partition: str,
    world: World,
    heads: Heads,
    pending: set[tuple[str, str]],
    settle: bool,
) -> Due | None:
    if world.keeps(stage.name, stage.partitions, partition):
        return None
    head = heads.get((stage.name, partition))
    waits_for = _pending_input(stage, partition, world, pending) if pending else None
    if waits_for and not (stage.frozen and head):
        reason = "new" if head is None else "an input changes"
        return Due(asset=stage.name, partition=partition, reason=reason, waits_for=waits_for)
    if difference := _difference(stage, partition, world, heads, settle):
        return Due(asset=stage.name, partition=partition, reason=difference)
    if head is not None:
        return None
    missing = next((i for i in input_references(stage, partition, world, heads) if isinstance(i, str)), None)
    return Due(asset=stage.name, partition=partition, reason="new", waits_for=missing)


def _pending_input(stage: Stage, partition: str, world: World, pending: set[tuple[str, str]]) -> str | None:
    """The first input that is itself out of date."""
    inputs = ((edge.asset, key) for edge in stage.edges for key in edge.partitions(world, partition))
    return next((label(*found) for found in inputs if found in pending), None)


def upstream(world: World, root: tuple[str, str], without: tuple[str, ...] = ()) -> set[tuple[str, str]]:
    """Everything that leads to `root` (asset, partition), stopping at the assets in `without`."""
    found: set[tuple[str, str]] = set()
    stack = [root]
    while stack:
        name, partition = stack.pop()
        if world.keeps(name, stages()[name].partitions, partition):
            continue
        for edge in stages()[name].edges:
            inputs = {(edge.asset, key) for key in edge.partitions(world, partition)} - found
            if edge.asset not in without:
                found |= inputs
                stack += inputs
    return found


def gone_partitions(world: World, entries: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Those of the (asset, partition) that no longer exist, shards first."""
    known = stages()
    present = {stage.partitions: frozenset(world.keys(stage.partitions)) for stage in known.values()}
    gone = []
    for asset, partition in entries:
        stage = known.get(asset)
        if stage is not None and world.keeps(asset, stage.partitions, partition):
            continue
        if stage is None or not stage.active(world) or partition not in present[stage.partitions]:
            gone.append((asset, partition))
    return sorted(gone, key=lambda entry: (entry[0] != RAW_STAGE.name, entry))
