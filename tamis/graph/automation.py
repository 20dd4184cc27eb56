"""Automation: which values are kept current, and the groups of work in which runs make them, in order.

Everything cheap that a configured selection reads is kept current. The judge's stages and the selections
themselves follow once a person has made a selection that needs them. Trials and base models are never
automatic.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from tamis.graph.plan import due_partitions, full_plan, input_key, label, upstream
from tamis.graph.snapshot import ProjectSnapshot
from tamis.graph.stages import names_where, stages
from tamis.records.current_values import CurrentValues
from tamis.selection.stage import SELECTION_STAGE
from tamis.stage import Automation, Stage
from tamis.training.stage import TRIALS_STAGE

FIRST_GROUPS = frozenset({"corpus", "target", "embedding", "coverage", "selection"})


def stages_made(*automation: Automation) -> tuple[str, ...]:
    """Return the names of the stages whose `automation` is one of these."""
    return names_where(lambda stage: stage.automation in automation)


@dataclass(frozen=True, kw_only=True)
class Group:
    """Assets and partitions that one run can make; `keys` are the input keys of the first asset."""

    assets: tuple[str, ...]
    partitions: tuple[str, ...]
    keys: tuple[str, ...]


def automatic_work(snapshot: ProjectSnapshot, current: CurrentValues) -> set[tuple[str, str]]:
    """Return (asset, partition) of everything that automation keeps current."""
    always, never = stages_made(Automation.ALWAYS), stages_made(Automation.BY_HAND)
    costly = stages_made(Automation.ONCE_SELECTED)
    wanted = {(name, key) for name in always for key in snapshot.keys(stages()[name].partitions)}
    for key in snapshot.keys("selections"):
        selection = (SELECTION_STAGE.name, key)
        made = selection in current
        wanted |= upstream(snapshot, selection, never if made else (*never, *costly))
        wanted |= {selection} if made else set()
    return wanted


def trial_work(snapshot: ProjectSnapshot, current: CurrentValues) -> tuple[list[Group], str]:
    """Return the next groups of work under a trial budget, and the first base model they lack ("" for none).

    There is one group a trial, in the order of the search. Once the search asks for no further trial, the
    groups are those of the stages that summarise the trials.
    """
    never, drawn = stages_made(Automation.BY_HAND), stages_made(Automation.ONCE_SEARCHED)
    asked = [(TRIALS_STAGE.name, name) for search in snapshot.searches.values() for name in search.open]
    if not asked:
        return next_groups(snapshot, current, {(name, "") for name in drawn}, refit=False), ""
    inputs = {entry for trial in asked for entry in upstream(snapshot, trial, never)}
    due = {(found.asset, found.partition) for found in full_plan(snapshot, current, refit=False)}
    models = {entry for trial in asked for entry in upstream(snapshot, trial) if entry[0] in never}
    if lacking := sorted(models & due):
        return [], label(*lacking[-1])
    groups = next_groups(snapshot, current, {*asked, *inputs}, refit=False)
    order = {name: place for place, (_asset, name) in enumerate(asked)}
    single = [one for group in groups for one in _one_by_one(group)]
    return sorted(single, key=lambda group: order.get(group.partitions[0], -1)), ""


def _one_by_one(group: Group) -> list[Group]:
    if group.assets[0] != TRIALS_STAGE.name:
        return [group]
    return [
        Group(assets=group.assets, partitions=(partition,), keys=(key,))
        for partition, key in zip(group.partitions, group.keys, strict=True)
    ]


def next_groups(
    snapshot: ProjectSnapshot,
    current: CurrentValues,
    wanted: set[tuple[str, str]] | None = None,
    refit: bool = True,
    without: AbstractSet[tuple[str, str]] = frozenset(),
) -> list[Group]:
    """Return the groups of work whose inputs are up to date, in order of execution.

    A group holds the partitions of a stage that wait for nothing, and the later stages that wait for these
    partitions alone. A caller starts only the first group and asks again when it has ended. `wanted` limits
    the work to these (asset, partition), None means everything; `without` are left out, as is what waits for
    them; `refit` as in `full_plan`.
    """
    due_now = {(due.asset, due.partition) for due in full_plan(snapshot, current, refit)}
    due_now = (due_now if wanted is None else due_now & wanted) - without
    together = {(other.name, other.made_with) for other in stages().values() if other.made_with}
    waiting = due_now | {(name, key) for name, maker in together for asset, key in due_now if asset == maker}
    groups = []
    for stage in [stages()[name] for name in stages() if any(asset == name for asset, _key in due_now)]:
        due = [found.partition for found in due_partitions(stage, snapshot, current, refit)]
        mine = [key for key in due if (stage.name, key) in waiting]
        partitions = tuple(key for key in mine if not _waits(stage, key, snapshot, waiting | without))
        if partitions:
            keys = tuple(input_key(stage, key, snapshot, current) or "" for key in partitions)
            assets = _together(stage, partitions, snapshot, current, waiting, without)
            groups.append(Group(assets=assets, partitions=partitions, keys=keys))
    return sorted(groups, key=lambda group: not _comes_first(stages()[group.assets[0]]))


def _comes_first(stage: Stage) -> bool:
    """Return whether a stage goes before others: a first selection needs it, and it is not costly.

    So a new project has its first selection within a minute.
    """
    return stage.group in FIRST_GROUPS and stage.automation != Automation.ONCE_SELECTED


def _waits(stage: Stage, partition: str, snapshot: ProjectSnapshot, waiting: set[tuple[str, str]]) -> bool:
    """Return whether an input of a partition is itself out of date."""
    return any(
        (edge.asset, key) in waiting for edge in stage.edges for key in edge.partitions(snapshot, partition)
    )


def _together(
    first: Stage,
    partitions: tuple[str, ...],
    snapshot: ProjectSnapshot,
    current: CurrentValues,
    waiting: set[tuple[str, str]],
    without: AbstractSet[tuple[str, str]],
) -> tuple[str, ...]:
    """Return the names of a stage and of later stages that the same run can make of the same partitions.

    Their other inputs are up to date, so one process makes them all.
    """
    names = [first.name]
    for stage in list(stages().values())[list(stages()).index(first.name) + 1 :]:
        if stage.partitions != first.partitions or stage.made_with:
            continue
        # A run over many partitions logs its values as events instead of outputs of Dagster, and Dagster
        # would skip a later step that reads such an output.
        if len(partitions) > 1 and (stage.step is None or stage.step != first.step):
            continue
        if not waiting.issuperset((stage.name, key) for key in partitions):
            continue
        if _comes_first(first) and not _comes_first(stage):
            continue
        made = {(name, key) for name in names for key in partitions}
        inputs = {
            (edge.asset, key)
            for partition in partitions
            for edge in stage.edges
            for key in edge.partitions(snapshot, partition)
        }
        outside = inputs - made
        if all(entry in current and entry not in waiting and entry not in without for entry in outside):
            names.append(stage.name)
    return tuple(names)
