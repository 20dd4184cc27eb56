"""Automation: which values are kept current, and the groups of work in which runs make them, in order.

Everything cheap that a configured selection reads is kept current. The judge's stages and the selections
themselves follow once a person has made a selection that needs them, and so do the marts, the comparison of
samplers and the audit (`[automation] until`). Trials and base models are never automatic.
"""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from tamis.base.errors import TransientError, UnknownNameError
from tamis.comparison.stage import SAMPLER_TRIALS_STAGE
from tamis.corpus.stage import DOCUMENTS, EXAMPLES_STAGE
from tamis.corpus.targets import WITHOUT_FILES
from tamis.graph.plan import due_partitions, full_plan, input_key, label, upstream
from tamis.graph.snapshot import ProjectSnapshot
from tamis.graph.stages import ancestors, made_together, names_where, stages
from tamis.mixture.stage import LARGER_LOSSES_STAGE, LARGER_STAGE, LOSSES_STAGE, RUNS_STAGE
from tamis.records.current_values import CurrentValues
from tamis.selection.stage import SELECTION_STAGE
from tamis.stage import Automation, Stage
from tamis.store.tables import Store
from tamis.training.stage import TRIALS_STAGE
from tamis.tuning.stage import GAIN_STAGE, RECIPE_STAGE

LARGE_POOL = 30_000
"""Of more documents, the scores that no selection reads take longer than a run of their own to start."""
FIRST_GROUPS = frozenset({"corpus", "target", "embedding", "coverage", "selection"})
SUBMITTED = frozenset(
    {
        *(TRIALS_STAGE.name, SAMPLER_TRIALS_STAGE.name, RUNS_STAGE.name, LARGER_STAGE.name),
        *(RECIPE_STAGE.name, GAIN_STAGE.name),
        *(LOSSES_STAGE.name, LARGER_LOSSES_STAGE.name),
    }
)
"""Stages whose models the command of [trainer] trains or measures, where there is one."""
TABLE, ASSET = "approvals", SELECTION_STAGE.name


def is_submitted(snapshot: ProjectSnapshot, stage: str) -> bool:
    """Return whether the command of [trainer] trains or measures the models of a stage."""
    return snapshot.project.settings.trainer is not None and stage in SUBMITTED


def stages_made(*automation: Automation) -> tuple[str, ...]:
    """Return the names of the stages whose `automation` is one of these."""
    return names_where(lambda stage: stage.automation in automation)


@dataclass(frozen=True, kw_only=True)
class Group:
    """Assets that one run can make: unpartitioned ones, and those of one set of partitions.

    `partitions` are those of the set, or `""` where no asset has any; `keys` are the input keys of the first
    asset.
    """

    assets: tuple[str, ...]
    partitions: tuple[str, ...]
    keys: tuple[str, ...]

    @property
    def partition_set(self) -> str | None:
        """The name of the set of partitions, None where no asset has any."""
        return next((found for name in self.assets if (found := stages()[name].partitions)), None)

    def partitions_of(self, asset: str) -> tuple[str, ...]:
        """Return the partitions of an asset that the run makes, where they are due."""
        return self.partitions if stages()[asset].partitions else ("",)


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
    # Whatever samplers read: what Dagster shows before a selection has to be there when a person makes one.
    wanted |= _readable(snapshot, wanted | current.keys(), ancestors(SELECTION_STAGE.name))
    if snapshot.project.settings.automation.until == "reports" and any(
        asset == SELECTION_STAGE.name for asset, _key in wanted
    ):
        wanted |= _readable(snapshot, wanted | current.keys(), stages().keys())
    return wanted


def targets_without_files(snapshot: ProjectSnapshot, current: CurrentValues) -> set[tuple[str, str]]:
    """Return (asset, partition) of the targets that were never made and have no file yet.

    Their step could only fail, so automation waits for the files.
    """
    return {
        (EXAMPLES_STAGE.name, name)
        for name, digest in snapshot.target_fingerprints.items()
        if digest == WITHOUT_FILES
    } - current.keys()


def _readable(
    snapshot: ProjectSnapshot, kept: set[tuple[str, str]], names: AbstractSet[str]
) -> set[tuple[str, str]]:
    """Return the cheap values of these stages that read only what is kept, and selections of none.

    So no report is a reason to make what it reports on.
    """
    found: set[tuple[str, str]] = set()
    for name in stages_made(Automation.WHEN_READ):
        stage = stages()[name]
        if name not in names or SELECTION_STAGE.name in (name, stage.made_with):
            continue
        for key in snapshot.keys(stage.partitions) if stage.active(snapshot) else ():
            if kept.union(found).issuperset(_inputs(stage, key, snapshot)):
                found.add((name, key))
    return found


def trial_work(snapshot: ProjectSnapshot, current: CurrentValues) -> tuple[list[Group], str]:
    """Return the next groups of work under a trial budget, and the first base model they lack ("" for none).

    There is one group a trial, in the order of the search. Once the search asks for no further trial, the
    groups are those of the stages that summarise the trials.
    """
    never, drawn = stages_made(Automation.BY_HAND), stages_made(Automation.ONCE_SEARCHED)
    asked = [(TRIALS_STAGE.name, name) for search in snapshot.searches.values() for name in search.open]
    if not asked:
        return list(next_groups(snapshot, current, {(name, "") for name in drawn}, refit=False)), ""
    inputs = {entry for trial in asked for entry in upstream(snapshot, trial, never)}
    due = {(found.asset, found.partition) for found in full_plan(snapshot, current, refit=False)}
    models = {entry for trial in asked for entry in upstream(snapshot, trial) if entry[0] in never}
    if lacking := sorted(models & due):
        return [], label(*lacking[-1])
    groups = next_groups(snapshot, current, {*asked, *inputs}, refit=False)
    order = {name: place for place, (_asset, name) in enumerate(asked)}
    single = (one for group in groups for one in one_by_one(group))
    return sorted(single, key=lambda group: order.get(group.partitions[0], -1)), ""


def one_by_one(group: Group) -> list[Group]:
    """Return the trials of a group each by itself; another group as it is."""
    if group.assets[0] != TRIALS_STAGE.name:
        return [group]
    return [
        replace(group, partitions=(partition,), keys=(key,))
        for partition, key in zip(group.partitions, group.keys, strict=True)
    ]


def ready_groups(
    snapshot: ProjectSnapshot,
    current: CurrentValues,
    wanted: set[tuple[str, str]] | None = None,
    refit: bool = True,
    without: AbstractSet[tuple[str, str]] = frozenset(),
) -> list[Group]:
    """Return, for each stage in order of execution, its partitions that are due and wait for nothing.

    `wanted` limits the work to these (asset, partition), None means everything; `without` are left out, as is
    what waits for them; `refit` as in `full_plan`.
    """
    without = without | _in_vain(snapshot, current, wanted, refit, without)
    return _ready(snapshot, current, _waiting(snapshot, current, wanted, refit, without), refit, without)


def next_groups(
    snapshot: ProjectSnapshot,
    current: CurrentValues,
    wanted: set[tuple[str, str]] | None = None,
    refit: bool = True,
    without: AbstractSet[tuple[str, str]] = frozenset(),
) -> Iterator[Group]:
    """Yield the runs that could start now, in order; arguments as those of `ready_groups`.

    Each begins with a stage that waits for nothing, and goes on with all later stages that wait for nothing
    outside the run: unpartitioned ones, and those of one set of partitions, since Dagster joins no two sets.
    A caller starts only the first and asks again when it has ended.
    """
    without = without | _in_vain(snapshot, current, wanted, refit, without)
    waiting = _waiting(snapshot, current, wanted, refit, without)
    selections = {entry for entry in waiting if entry[0] == SELECTION_STAGE.name}
    needed = {name for entry in selections for name, _key in {entry, *upstream(snapshot, entry)}}
    if not selections <= current.keys():
        new = [(SELECTION_STAGE.name, key) for key in snapshot.keys(SELECTION_STAGE.partitions)]
        new = [entry for entry in new if entry in selections - current.keys()]
        needed = _of_one(snapshot, new, without) or {name for name in needed if _comes_first(stages()[name])}
    groups = _ready(snapshot, current, waiting, refit, without)
    apart = not selections <= current.keys() or (
        bool(selections) and snapshot.project.home.store.count(DOCUMENTS.name) > LARGE_POOL
    )
    for group in sorted(groups, key=lambda group: bool(needed) and group.assets[0] not in needed):
        yield _joined(group, snapshot, current, waiting, without, needed, apart)


def _of_one(
    snapshot: ProjectSnapshot, new: Sequence[tuple[str, str]], without: AbstractSet[tuple[str, str]]
) -> set[str]:
    """Return the stages of the first of these selections that none costly or failed is upstream of.

    The others follow: somebody with a new project looks at one selection while they are made.
    """
    for entry in new:
        entries = {entry, *upstream(snapshot, entry)}
        if entries.isdisjoint(without) and all(_comes_first(stages()[name]) for name, _key in entries):
            return {name for name, _key in entries}
    return set()


def _in_vain(
    snapshot: ProjectSnapshot,
    current: CurrentValues,
    wanted: set[tuple[str, str]] | None,
    refit: bool,
    without: AbstractSet[tuple[str, str]],
) -> set[tuple[str, str]]:
    """Return costly work whose selections cannot be made: each waits for something that failed."""
    if not without:
        return set()
    waiting = _waiting(snapshot, current, wanted, refit, frozenset())
    needed_by = {entry: upstream(snapshot, entry) for entry in waiting if entry[0] == SELECTION_STAGE.name}
    possible = [needed for one, needed in needed_by.items() if without.isdisjoint({one, *needed})]
    costly = stages_made(Automation.ONCE_SELECTED)
    in_vain = set().union(*needed_by.values()).difference(*possible)
    return {entry for entry in in_vain & waiting if entry[0] in costly}


def _waiting(
    snapshot: ProjectSnapshot,
    current: CurrentValues,
    wanted: set[tuple[str, str]] | None,
    refit: bool,
    without: AbstractSet[tuple[str, str]],
) -> set[tuple[str, str]]:
    """Return what is to be made, now or after its inputs, with what is made in the same step."""
    due = {(found.asset, found.partition) for found in full_plan(snapshot, current, refit, possible=True)}
    due = (due if wanted is None else due & wanted) - without
    together = {(other.name, other.made_with) for other in stages().values() if other.made_with}
    return due | {(name, key) for name, maker in together for asset, key in due if asset == maker}


def _ready(
    snapshot: ProjectSnapshot,
    current: CurrentValues,
    waiting: set[tuple[str, str]],
    refit: bool,
    without: AbstractSet[tuple[str, str]],
) -> list[Group]:
    groups = []
    held_up = waiting | without
    for stage in stages().values():
        if not any(asset == stage.name for asset, _key in waiting):
            continue
        due = [found.partition for found in due_partitions(stage, snapshot, current, refit)]
        partitions = tuple(
            key
            for key in due
            if (stage.name, key) in waiting and held_up.isdisjoint(_inputs(stage, key, snapshot))
        )
        if partitions:
            keys = tuple(input_key(stage, key, snapshot, current) or "" for key in partitions)
            groups.append(Group(assets=(stage.name,), partitions=partitions, keys=keys))
    return sorted(groups, key=lambda group: not _comes_first(stages()[group.assets[0]]))


def _comes_first(stage: Stage) -> bool:
    """Return whether a stage goes before others: a first selection needs it, and it is not costly.

    So a new project has its first selection within a minute.
    """
    return stage.group in FIRST_GROUPS and stage.automation != Automation.ONCE_SELECTED


def _inputs(stage: Stage, partition: str, snapshot: ProjectSnapshot) -> Iterator[tuple[str, str]]:
    return ((edge.asset, key) for edge in stage.edges for key in edge.partitions(snapshot, partition))


def _joined(
    group: Group,
    snapshot: ProjectSnapshot,
    current: CurrentValues,
    waiting: set[tuple[str, str]],
    without: AbstractSet[tuple[str, str]],
    needed: set[str],
    apart: bool,
) -> Group:
    """Return a group with all other stages that the same run can make, inputs before what reads them.

    What is `needed` for selections does not wait for what is not: the steps of a run are in Dagster's order,
    so those of selections come in runs of their own where `apart` says so. Trials are runs of their own:
    of a search, each decides what comes next. So are stages that plan partitions, and what a trainer trains.
    """
    first, partition_set, partitions = stages()[group.assets[0]], group.partition_set, group.partitions

    def is_apart(stage: Stage) -> bool:
        return bool(stage.plans) or stage.name == TRIALS_STAGE.name or is_submitted(snapshot, stage.name)

    if is_apart(first):
        return group
    names, made = [first.name], _made_by(first, partitions)
    selections = {entry for entry in waiting if entry[0] == SELECTION_STAGE.name and first.name in needed}
    for stage in sorted(stages().values(), key=lambda stage: stage.name not in needed):
        if (
            stage is first
            or stage.made_with
            or is_apart(stage)
            or (stage.name not in needed and (apart or not selections <= made))
            or (stage.partitions and partition_set not in (None, stage.partitions))
        ):
            continue
        keys = partitions if stage.partitions and partition_set else snapshot.keys(stage.partitions)
        mine = tuple(
            key
            for key in keys
            if (stage.name, key) in waiting
            and all(
                entry in made or (entry in current and entry not in waiting and entry not in without)
                for entry in _inputs(stage, key, snapshot)
            )
        )
        if not mine:
            continue
        names.append(stage.name)
        made |= _made_by(stage, mine)
        if stage.partitions and not partition_set:
            partition_set, partitions = stage.partitions, mine
    return replace(group, assets=tuple(names), partitions=partitions)


def _made_by(stage: Stage, partitions: Sequence[str]) -> set[tuple[str, str]]:
    return {(name, key) for name in made_together(stage.name) for key in partitions}


class NotReadyError(TransientError):
    """A selection whose inputs are not up to date yet, so that the state to approve is not known."""

    def __init__(self, selection: str, waits_for: str) -> None:
        self.selection, self.waits_for = selection, waits_for
        super().__init__(
            f"selection {selection!r} cannot be approved yet, because {waits_for} is not up to date; wait "
            "until the sensors have updated it (while `tamis ui` runs), or run `tamis materialize`"
        )


@dataclass(frozen=True, kw_only=True)
class Approval:
    """A state of a selection that waits for a person, or that one has approved."""

    selection: str
    input_key: str
    approved: bool
    made_at: datetime

    def to_json(self) -> dict[str, Any]:
        """Return the approval as JSON values."""
        return self.__dict__ | {"made_at": f"{self.made_at:%Y-%m-%d %H:%M:%S} UTC"}


def read_approvals(store: Store) -> dict[str, Approval]:
    """Return the last state of each selection that waited or was approved."""
    return {row["selection"]: Approval(**row) for row in store.read(TABLE).iter_rows(named=True)}


def unattended_work(
    snapshot: ProjectSnapshot, current: CurrentValues, approvals: dict[str, Approval]
) -> set[tuple[str, str]]:
    """Return (asset, partition) that sensors may make now: all automatic work but unapproved selections."""
    wanted = automatic_work(snapshot, current)
    if not snapshot.project.settings.automation.approve_selections:
        return wanted
    approved = {(name, one.input_key) for name, one in approvals.items() if one.approved}
    return wanted - {
        (ASSET, name)
        for name in snapshot.keys("selections")
        if name not in snapshot.pinned
        and (name, input_key(stages()[ASSET], name, snapshot, current)) not in approved
    }


def waiting(
    snapshot: ProjectSnapshot, current: CurrentValues, approvals: dict[str, Approval]
) -> list[Approval]:
    """Return the states that wait for a person: their inputs are up to date, and they are not approved."""
    if not snapshot.project.settings.automation.approve_selections:
        return []
    wanted = automatic_work(snapshot, current)
    held = wanted - unattended_work(snapshot, current, approvals)
    found = []
    for group in ready_groups(snapshot, current, wanted, refit=False):
        for name, key in zip(group.partitions, group.keys, strict=True):
            if group.assets[0] == ASSET and (ASSET, name) in held:
                known = approvals.get(name)
                since = known.made_at if known and known.input_key == key else _now()
                found.append(Approval(selection=name, input_key=key, approved=False, made_at=since))
    return found


def note_waiting(store: Store, found: Sequence[Approval]) -> bool:
    """Note since when each state waits, and return whether any of them is new."""
    known = read_approvals(store)
    new = [one for one in found if (k := known.get(one.selection)) is None or k.input_key != one.input_key]
    store.merge_values(TABLE, [one.__dict__ for one in new])
    return bool(new)


def approve(
    store: Store, snapshot: ProjectSnapshot, current: CurrentValues, names: Sequence[str]
) -> list[Approval]:
    """Approve the present states of these selections, or of all that wait; return the approvals.

    A selection that does not wait is left as it is. Raises `UnknownNameError`, and `NotReadyError` for a
    selection whose inputs are not up to date yet.
    """
    known = snapshot.keys("selections")
    for name in names:
        if name not in known:
            raise UnknownNameError("selection", name, known)
    due = {one.partition: one for one in full_plan(snapshot, current, refit=False) if one.asset == ASSET}
    found = [
        one
        for one in waiting(snapshot, current, read_approvals(store))
        if not names or one.selection in names
    ]
    for name in set(names) - {one.selection for one in found}:
        if (ASSET, name) in current and name in due and (before := due[name].waits_for):
            raise NotReadyError(name, before)
    released = [
        Approval(selection=one.selection, input_key=one.input_key, approved=True, made_at=_now())
        for one in found
    ]
    store.merge_values(TABLE, [one.__dict__ for one in released])
    return released


def waiting_lines(found: Sequence[Approval]) -> list[str]:
    """Return a line for each waiting selection: since when, and the command that releases it."""
    return [
        f"waits for approval: selection {one.selection} (since {one.made_at:%Y-%m-%d %H:%M} UTC); "
        f"`tamis approve {one.selection}` approves this selection"
        for one in found
    ]


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
