"""Plans: which partitions of which stages are out of date, and why.

A value is current when its input key computed now equals the one it was made with. No clock and no event
takes part, so no change can be missed. Planning 1,000 shards takes well under a second.
"""

import json
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

from tamis.corpus.stage import RAW_STAGE
from tamis.graph.snapshot import ProjectSnapshot
from tamis.graph.stages import made_together, stages
from tamis.plugins.reading import PLUGINS, Plugin
from tamis.records.current_values import CurrentValue, CurrentValues
from tamis.records.manifest import InputReference, Manifest, ManifestError, ManifestFolder, canonical_json
from tamis.stage import Edge, Stage
from tamis.store.digests import canonical_digest

INTERRUPTED = "interrupted"
INPUT_CHANGES = "an input changes"
STEADY = "an input changes; what was made with it stays unless its content changes"
IF_CHANGED = "a steady input may change"
SHOWN = 3
REASONS = {
    "new": "not materialized yet",
    "changed": "code, settings or inputs have changed",
    INTERRUPTED: "incomplete: rows were removed, or a run failed, was interrupted or is at work",
}


@dataclass(frozen=True, kw_only=True)
class Due:
    """A partition that is out of date; `waits_for` names the first input that has to be made before it."""

    asset: str
    partition: str
    reason: str
    waits_for: str | None = None


def input_references(
    stage: Stage, partition: str, snapshot: ProjectSnapshot, current: CurrentValues
) -> list[InputReference | str]:
    """Return the inputs of a partition: references to current values, `asset[partition]` for missing ones."""
    found: list[InputReference | str] = []
    for edge in stage.edges:
        for key in edge.partitions(snapshot, partition):
            value = current.get((edge.asset, key))
            if value is None and _is_kept(edge, key, snapshot):
                continue
            found.append(reference(value) if value and value.usable else label(edge.asset, key))
    return found


def reference(value: CurrentValue) -> InputReference:
    """Return a reference to a current value, as an input of another one."""
    return InputReference(
        asset=value.asset, partition=value.partition, data_version=value.data_version, manifest=value.manifest
    )


def label(asset: str, partition: str) -> str:
    """Return `asset[partition]`, or `asset` when it has no partitions."""
    return f"{asset}[{partition}]" if partition else asset


def input_key(stage: Stage, partition: str, snapshot: ProjectSnapshot, current: CurrentValues) -> str | None:
    """Return the hash of everything that a value depends on, or None while an input is missing.

    A value that is kept although its file or its section of tamis.toml is gone has the key it was made with.
    """
    if snapshot.keeps(stage.name, stage.partitions, partition):
        value = current.get((stage.name, partition))
        return value.input_key if value else None
    versions = _input_versions(stage, partition, snapshot, current)
    if versions is None:
        return None
    return canonical_digest(
        canonical_json(
            {
                "asset": stage.name,
                "partition": partition,
                "code_version": stage.code_version,
                "config": stage.settings(snapshot, partition),
                "seed": snapshot.project.seed,
                "inputs": [] if stage.frozen else sorted(versions),
            }
        )
    )


def _input_versions(
    stage: Stage, partition: str, snapshot: ProjectSnapshot, current: CurrentValues
) -> list[list[str]] | None:
    """Return asset, partition and data version of each input, or None while one is missing.

    They are plain lists for speed: a plan for 10,000 shards makes a few hundred thousand of them.
    """
    found = []
    for edge in stage.edges:
        asset = edge.asset
        for key in edge.partitions(snapshot, partition):
            value = current.get((asset, key))
            if value is None and _is_kept(edge, key, snapshot):
                continue
            if value is None or not value.usable:
                return None
            found.append([asset, key, value.data_version])
    return found


def _is_kept(edge: Edge, key: str, snapshot: ProjectSnapshot) -> bool:
    """Return whether an upstream value is kept although its name left tamis.toml: nothing makes it again."""
    return snapshot.keeps(edge.asset, stages()[edge.asset].partitions, key)


def config_of(stage: Stage, partition: str, snapshot: ProjectSnapshot) -> dict[str, Any]:
    """Return the settings that a value depends on, as JSON values."""
    return json.loads(json.dumps(stage.settings(snapshot, partition)))


def due_partitions(
    stage: Stage, snapshot: ProjectSnapshot, current: CurrentValues, refit: bool = True
) -> Iterator[Due]:
    """Yield the out-of-date partitions of one stage whose inputs are all there.

    With `refit`, a value that is certified but not settled counts as out of date (design section 5).
    """
    if stage.made_with or not stage.active(snapshot):
        return
    together = [stages()[name] for name in made_together(stage.name)]
    for partition in snapshot.keys(stage.partitions):
        if snapshot.waits_for_request(stage.partitions, partition):
            continue
        reasons = [_difference(member, partition, snapshot, current, refit) for member in together]
        if reason := next((found for found in reasons if found), None):
            yield Due(asset=stage.name, partition=partition, reason=reason)


def _difference(
    stage: Stage, partition: str, snapshot: ProjectSnapshot, current: CurrentValues, refit: bool
) -> str | None:
    """Return why a value is out of date, or None when it is current or an input is missing."""
    if snapshot.keeps(stage.name, stage.partitions, partition):
        return None
    key = input_key(stage, partition, snapshot, current)
    value = current.get((stage.name, partition))
    if key is None or snapshot.is_shrunken(stage.name, partition, key):
        return None
    if value is not None and not value.finished:
        return INTERRUPTED
    if value is not None and value.input_key == key:
        return None if value.settled or not refit else "to be recomputed from the whole pool"
    if value is None:
        return "new"
    return _changed_plugins(stage, partition, snapshot, value) or "changed"


def _changed_plugins(
    stage: Stage, partition: str, snapshot: ProjectSnapshot, value: CurrentValue
) -> str | None:
    """Return which plug-ins of a value have other code under the same version; None for none."""
    now = plugins_run(stage, partition, snapshot)
    if not now:
        return None
    try:
        config = ManifestFolder.of(snapshot.project.home).read(value.manifest).config
    except ManifestError:
        return None
    before = {(one["kind"], one["name"], one["version"]): one["digest"] for one in config.get(PLUGINS, ())}
    changed = [
        f"{one['name']} ({one['file']})"
        for one in now
        if before.get((one["kind"], one["name"], one["version"]), one["digest"]) != one["digest"]
    ]
    if not changed:
        return None
    noun = "plug-in" if len(changed) == 1 else "plug-ins"
    return f"the code of {noun} {', '.join(changed)} has changed, though not its version"


def plugins_run(stage: Stage, partition: str, snapshot: ProjectSnapshot) -> list[dict[str, str]]:
    """Return the plug-ins that the step of a value runs, as `Plugin.to_json` gives them."""
    if not snapshot.project.settings.plugins.known:
        return []
    found: list[dict[str, str]] = stage.settings(snapshot, partition).get(PLUGINS, [])
    return found


def plugins_of(snapshot: ProjectSnapshot, plan: Iterable[Due]) -> list[Plugin]:
    """Return the plug-ins that the steps of a plan run."""
    known = snapshot.project.settings.plugins
    named = {
        (one["kind"], one["name"])
        for due in plan
        for one in plugins_run(stages()[due.asset], due.partition, snapshot)
    }
    return [one for one in known.known if (one.declaration.kind, one.name) in named]


def full_plan(
    snapshot: ProjectSnapshot, current: CurrentValues, refit: bool = True, possible: bool = False
) -> list[Due]:
    """Return everything that is out of date, in order of execution, with what waits for another entry.

    Trials that wait for a request are left out. `refit` as in `due_partitions`. `possible`: include
    the values that are out of date only if the content of a steady input changes.
    """
    plan: list[Due] = []
    pending: set[tuple[str, str]] = set()
    for stage in stages().values():
        if not stage.active(snapshot):
            continue
        for partition in snapshot.keys(stage.partitions):
            if snapshot.waits_for_request(stage.partitions, partition):
                continue
            due = _due(stage, partition, snapshot, current, pending, refit)
            if due is None or (due.reason == IF_CHANGED and not possible):
                continue
            pending.add((stage.name, partition))
            if stage.made_with is None or (stage.made_with, partition) not in pending:
                plan.append(due if stage.made_with is None else replace(due, asset=stage.made_with))
    return plan


def _due(
    stage: Stage,
    partition: str,
    snapshot: ProjectSnapshot,
    current: CurrentValues,
    pending: set[tuple[str, str]],
    refit: bool,
) -> Due | None:
    value = current.get((stage.name, partition))
    if snapshot.keeps(stage.name, stage.partitions, partition):
        # Rows were withdrawn from a file that is gone: the next run marks as finished what is left.
        cut = stage.partitions == "shards" and value is not None and not value.finished
        return Due(asset=stage.name, partition=partition, reason=INTERRUPTED) if cut else None
    inputs = ((edge.asset, key) for edge in stage.edges for key in edge.partitions(snapshot, partition))
    waiting = (one for one in inputs if one in pending)
    waits_for = next(waiting, None) if pending else None
    if waits_for and not (stage.frozen and value):
        reason = "new" if value is None else STEADY if stage.steady else INPUT_CHANGES
        if value and all(stages()[asset].steady for asset, _key in (waits_for, *waiting)):
            reason = reason if _difference(stage, partition, snapshot, current, refit) else IF_CHANGED
        return Due(asset=stage.name, partition=partition, reason=reason, waits_for=label(*waits_for))
    if difference := _difference(stage, partition, snapshot, current, refit):
        return Due(asset=stage.name, partition=partition, reason=difference)
    if value is not None:
        return None
    missing = (i for i in input_references(stage, partition, snapshot, current) if isinstance(i, str))
    return Due(asset=stage.name, partition=partition, reason="new", waits_for=next(missing, None))


def upstream(
    snapshot: ProjectSnapshot, root: tuple[str, str], without: tuple[str, ...] = ()
) -> set[tuple[str, str]]:
    """Return all ancestors of `root` (asset, partition), without the assets in `without` and theirs."""
    found: set[tuple[str, str]] = set()
    stack = [root]
    while stack:
        name, partition = stack.pop()
        if snapshot.keeps(name, stages()[name].partitions, partition):
            continue
        for edge in stages()[name].edges:
            inputs = {(edge.asset, key) for key in edge.partitions(snapshot, partition)} - found
            if edge.asset not in without:
                found |= inputs
                stack += inputs
    return found


def gone_partitions(snapshot: ProjectSnapshot, entries: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return those of the (asset, partition) whose stage or partition no longer exists, raw shards first."""
    known = stages()
    present = {stage.partitions: frozenset(snapshot.keys(stage.partitions)) for stage in known.values()}
    gone = []
    for asset, partition in entries:
        stage = known.get(asset)
        if stage is not None and snapshot.keeps(asset, stage.partitions, partition):
            continue
        if stage is None or not stage.active(snapshot) or partition not in present[stage.partitions]:
            gone.append((asset, partition))
    return sorted(gone, key=lambda entry: (entry[0] != RAW_STAGE.name, entry))


def differs_only_in(
    before: Manifest, stage: Stage, snapshot: ProjectSnapshot, current: CurrentValues, assets: Set[str]
) -> bool:
    """Return whether making a value again would differ only in its inputs among `assets`."""
    without = {*assets, stage.name}
    return _same_code_and_settings(before, stage, snapshot) and (
        _versions(before.inputs, without) == _versions(_now(before, stage, snapshot, current), without)
    )


def _same_code_and_settings(before: Manifest, stage: Stage, snapshot: ProjectSnapshot) -> bool:
    """Return whether a value was made with the present code version, settings and seed."""
    made_by = (stage.code_version, config_of(stage, before.partition, snapshot), snapshot.project.seed)
    return (before.code_version, before.config, before.seed) == made_by


def changed_partitions(
    before: Manifest, stage: Stage, snapshot: ProjectSnapshot, current: CurrentValues, asset: str
) -> list[str]:
    """Return, sorted, the partitions of an input that are new or changed since the value was made."""
    known = _versions(before.inputs, set())
    now = _versions(
        [entry for entry in _now(before, stage, snapshot, current) if entry.asset == asset], set()
    )
    return sorted(partition for _asset, partition, _version in now - known)


def _now(
    before: Manifest, stage: Stage, snapshot: ProjectSnapshot, current: CurrentValues
) -> list[InputReference]:
    found = input_references(stage, before.partition, snapshot, current)
    return [entry for entry in found if isinstance(entry, InputReference)]


def _versions(inputs: Sequence[InputReference], without: Set[str]) -> set[tuple[str, str, str]]:
    return {
        (entry.asset, entry.partition, entry.data_version) for entry in inputs if entry.asset not in without
    }


def only_grew(
    before: Manifest,
    stage: Stage,
    snapshot: ProjectSnapshot,
    current: CurrentValues,
    without: Set[str] = frozenset(),
) -> bool:
    """Return whether making a value again would differ only in inputs that have been added.

    Then rows that were computed from single inputs are still right, and only those of the new inputs are
    missing. The inputs in `without` are not compared: views, whose own inputs are inputs of the value, too.
    """
    known = _versions(before.inputs, {stage.name, *without})
    return _same_code_and_settings(before, stage, snapshot) and (
        known <= _versions(_now(before, stage, snapshot, current), without)
    )


def out_of_date(snapshot: ProjectSnapshot, current: CurrentValues) -> dict[str, str]:
    """Return the stages that are not current, each with the reason in one line."""
    return by_stage(snapshot, full_plan(snapshot, current, refit=False))


def by_stage(snapshot: ProjectSnapshot, plan: Sequence[Due]) -> dict[str, str]:
    """Return the same of a plan."""
    found: dict[str, list[Due]] = {}
    for due in plan:
        for name in made_together(due.asset):
            found.setdefault(name, []).append(due)
    return {name: _line(name, of_stage, snapshot) for name, of_stage in found.items()}


def _line(name: str, found: Sequence[Due], snapshot: ProjectSnapshot) -> str:
    partitions = stages()[name].partitions
    if partitions is None:
        return reason_of(found[0])
    some = ", ".join(f"{due.partition} ({reason_of(due)})" for due in found[:SHOWN])
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return f"{len(found):,} of {len(snapshot.keys(partitions)):,} {partitions} out of date: {some}{more}"


def reason_of(due: Due) -> str:
    """Return why one value is out of date."""
    return f"waits for {due.waits_for}" if due.waits_for else REASONS.get(due.reason, due.reason)
