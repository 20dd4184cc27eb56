"""Held-back losses: removals that nobody asked for, suspended until a person allows them.

Absence is not deletion. Held back are files of a corpus (tamis/retention/losses.py), documents of a file
or examples of a target (tamis/retention/losses.py), and a corpus, target, model or selection that left
tamis.toml, unless nothing is lost with it. The limits are in tamis/graph/snapshot.py. Trials that
tamis.toml no longer plans are kept, too, and runs of mixtures without [mixture]: their checkpoints cost more
than anything else.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import polars as pl

from tamis.base.numbers import counted, named
from tamis.corpus.shards import Shard, is_group_key
from tamis.corpus.stage import EXAMPLES_STAGE
from tamis.corpus.targets import target_of_place
from tamis.graph.plan import label
from tamis.graph.snapshot import ProjectSnapshot
from tamis.graph.stages import names_where
from tamis.mixture.stage import SWARM_SETS
from tamis.passages.places import document_places
from tamis.project import Project
from tamis.records.attempts import delete_listed, read_attempts
from tamis.records.current_values import CurrentValue, CurrentValues, write_current_values
from tamis.records.losses import is_unreadable, lost_tables, what_it_said
from tamis.records.manifest import ManifestError, ManifestFolder
from tamis.retention.losses import (
    ABSENT,
    ALL,
    CORPUS,
    FILE,
    MODEL,
    SELECTION,
    SHRUNKEN,
    TABLE,
    TARGET,
    TRIALS,
    Losses,
    allows,
    allows_trial,
    in_effect,
    left_out,
    names_of,
    note_absent,
    to_print,
    unread_files,
    with_kind,
)
from tamis.retention.moved import FILES
from tamis.retention.removals import begun_removals
from tamis.selection.stage import SELECTION_STAGE
from tamis.store.digests import read_records
from tamis.store.home import Home
from tamis.store.rows_files import TableRows
from tamis.store.tables import Store, quoted
from tamis.training.planned import TWIN, model_names, planned_trials
from tamis.training.stage import BASE_MODELS_STAGE, TRIALS_STAGE

SHOWN = 3
_NAMED_BY = {
    "targets": (EXAMPLES_STAGE.name, TARGET),
    "selections": (SELECTION_STAGE.name, SELECTION),
    "models": (BASE_MODELS_STAGE.name, MODEL),
}
"""The stage whose values show that a name was in tamis.toml, and the word for such a name in messages."""


@dataclass(frozen=True, kw_only=True)
class HeldBack:
    """A loss that is held back: the finding, what a removal would delete, and the name that allows it.

    `allow`: the name, with its kind where the name alone fits other losses, too. `unread`: number of new and
    changed files that may have the documents; until these are read, nobody knows whether it is a loss.
    `way_back`: what would undo the loss.
    """

    kind: str
    name: str
    found: str
    goes: str
    allow: str = ""
    unread: int = 0
    way_back: str = "Restore what is missing"

    @property
    def line(self) -> str:
        """A line for a person: the loss, what it would remove, and the ways out."""
        command = f"`tamis materialize --allow-removal {self.allow or self.name}`"
        if self.unread:
            return (
                f"held back: {self.found}; nothing was removed. `tamis materialize` first looks for the "
                f"documents in {counted(self.unread, 'new or changed file')}. To remove {self.goes} without "
                f"that: {command}"
            )
        return (
            f"held back: {self.found}; nothing was removed. {self.way_back}, or allow the removal of "
            f"{self.goes}: {command}"
        )

    def to_json(self) -> dict[str, str | int]:
        """Return the loss as JSON values."""
        return dict(self.__dict__)


def kept_names(
    project: Project, current: CurrentValues, allowed: Collection[str] = ()
) -> dict[str, frozenset[str]]:
    """Return, by partition set, the names that have values but are no longer in tamis.toml.

    A name whose values hold nothing is not among them: its removal loses nothing.
    """
    if ALL in allowed:
        return {}
    settings = project.settings
    now = {
        "targets": {target.name for target in settings.target},
        "selections": {selection.name for selection in settings.selection},
        "models": set(model_names(project)),
        TRIALS: {trial.name for trial in planned_trials(project)},
    }
    assets = {asset: name for name, (asset, _word) in _NAMED_BY.items()} | {TRIALS_STAGE.name: TRIALS}
    if project.settings.mixture is None:  # its runs wait for the section to come back
        assets |= {name: name for name in SWARM_SETS}
        now |= {name: set() for name in SWARM_SETS}
    gone = [entry for entry in current if entry[0] in assets and entry[1] not in now[assets[entry[0]]]]
    begun = begun_removals(project.home.store) if gone else set()
    found: dict[str, set[str]] = {}
    for asset, partition in gone:
        name = assets[asset]
        if (
            label(asset, partition) not in begun
            and not _allows(allowed, name, partition)
            and (name not in _NAMED_BY or _holds_something(project.home, current[asset, partition]))
        ):
            found.setdefault(name, set()).add(partition)
    return {name: frozenset(partitions) for name, partitions in found.items()}


def _holds_something(home: Home, value: CurrentValue) -> bool:
    """Return whether a value of a target, model or selection has rows or files, or ever chose a document."""
    chose = f"selection = {quoted(value.partition)} AND documents > 0"
    if value.asset == SELECTION_STAGE.name and home.store.count("selection_versions", chose):
        return True
    if value.published is None:
        return False
    try:
        manifest = ManifestFolder.of(home).read(value.published)
    except ManifestError:
        return True  # nobody knows what it held
    return bool(manifest.row_count or manifest.files)


def _allows(allowed: Collection[str], partition_set: str, partition: str) -> bool:
    """Return whether one of the names allows the removal of a partition.

    That is its own name, of a model also without the suffix of its twin, of a trial also the name of its
    model, target or selection.
    """
    if partition_set in SWARM_SETS:
        return partition_set in allowed
    if partition_set == TRIALS:
        return allows_trial(allowed, partition)
    _asset, kind = _NAMED_BY[partition_set]
    return allows(allowed, kind, partition, *_without_twin(kind, partition))


def _without_twin(kind: str, name: str) -> list[str]:
    return [name.removesuffix(TWIN)] if kind == MODEL else []


def held_back(snapshot: ProjectSnapshot, current: CurrentValues) -> list[HeldBack]:
    """Return all losses that are held back now, corpora first."""
    found = [
        *_corpora(snapshot, current),
        *_shrunken(snapshot, current),
        *_names(snapshot),
        *_tables(snapshot),
    ]
    losses = losses_by_name(snapshot, current) if found else {}
    return [replace(one, allow=to_print(one.kind, one.name, losses)) for one in found]


def losses_by_name(snapshot: ProjectSnapshot, current: CurrentValues) -> Losses:
    """Return kind and name of the losses that are held back, by each name that a person may give for one."""
    found: list[tuple[str, str, str]] = []
    for key, corpus in snapshot.lost.items():
        found += [(corpus, CORPUS, corpus), (key, FILE, key)]
    for one in in_effect(snapshot, current):
        for kind, names in names_of(one, snapshot):
            found += [(name, kind, one.shard if kind == FILE else names[0]) for name in {*names}]
    for partition_set, (_asset, kind) in _NAMED_BY.items():
        for name in snapshot.kept.get(partition_set, ()):
            found += [(given, kind, name) for given in (name, *_without_twin(kind, name))]
    found += [(with_kind(TABLE, table), TABLE, table) for table in lost_tables(snapshot.project.home)]
    losses: dict[str, set[tuple[str, str]]] = {}
    for given, kind, name in found:
        losses.setdefault(given, set()).add((kind, name))
    return losses


def kept_trials(snapshot: ProjectSnapshot) -> list[str]:
    """Return at most one line on the trials that are kept though tamis.toml no longer plans them.

    They are no problem, so `tamis status` stays green.
    """
    if not (count := len(snapshot.kept.get(TRIALS, ()))):
        return []
    what = f"trial{'' if count == 1 else 's'} that tamis.toml no longer plans {'is' if count == 1 else 'are'}"
    return [f"{count} {what} kept; `tamis materialize --allow-removal {TRIALS}` removes unplanned trials"]


def kept_runs(snapshot: ProjectSnapshot) -> list[str]:
    """Return at most one line on the runs of mixtures that are kept though tamis.toml has no [mixture]."""
    sets = [name for name in SWARM_SETS if snapshot.kept.get(name)]
    if not (count := sum(len(snapshot.kept[name]) for name in sets)):
        return []
    what = f"kept although tamis.toml has no [mixture]: {counted(count, 'mixture run')}"
    return [f"{what}; `tamis materialize --allow-removal {' '.join(sets)}` removes the runs"]


def _corpora(snapshot: ProjectSnapshot, current: CurrentValues) -> Iterator[HeldBack]:
    if not (lost := snapshot.lost):
        return
    project = snapshot.project
    configured = {corpus.name for corpus in project.settings.corpus}
    places = document_places(project.home.store, ["shard"])
    documents = dict(places.group_by("shard").agg(pl.col("doc_id").n_unique()).iter_rows())
    unread = unread_files(snapshot, current)
    still_there = left_out(project, lost)
    for corpus in sorted(set(lost.values())):
        keys = sorted(key for key, found in lost.items() if found == corpus)
        found, waits_for = _how_lost(corpus, keys, still_there), unread.get(corpus, 0)
        if corpus not in configured:
            found = f"corpus {corpus!r} is no longer in tamis.toml; it had {_some(keys)}"
            waits_for = sum(unread.values())
        goes = f"all documents of these files ({sum(documents.get(key, 0) for key in keys):,})"
        back = [] if still_there.issuperset(keys) else ["Restore what is missing"]
        if not still_there.isdisjoint(keys):
            take = "take the others back in" if back else "Take them back in"
            back.append(f"{take} (exclude or include in [[corpus]] {corpus})")
        yield HeldBack(
            kind=CORPUS, name=corpus, found=found, goes=goes, unread=waits_for, way_back=", ".join(back)
        )


def _how_lost(corpus: str, keys: Sequence[str], still_there: Collection[str]) -> str:
    """Return how many files a corpus lost, and how many are there but left out by its section."""
    gone = [key for key in keys if key not in still_there]
    kept = [key for key in keys if key in still_there]
    parts = [f"corpus {corpus!r} lost {_some(gone)}"] if gone or not kept else []
    if kept:
        parts.append(f"of corpus {corpus!r} tamis.toml leaves out {_some(kept)} still in the folder")
    return "; ".join(parts)


def _some(keys: Sequence[str]) -> str:
    """Return how many files there are, and the first."""
    return f"{counted(len(keys), 'file')} ({named(keys, SHOWN)})"


def _shrunken(snapshot: ProjectSnapshot, current: CurrentValues) -> Iterator[HeldBack]:
    for one in in_effect(snapshot, current):
        lost = one.before - one.now
        if target := target_of_place(one.shard):
            yield HeldBack(kind=TARGET, name=target, found=one.found, goes=counted(lost, "example"))
            continue
        of_group = is_group_key(one.shard)
        goes = f"the documents of {counted(lost, 'file')}" if of_group else counted(lost, "document")
        yield HeldBack(kind=FILE, name=one.shard, found=one.found, goes=goes)


def _names(snapshot: ProjectSnapshot) -> Iterator[HeldBack]:
    for partition_set, (_asset, word) in _NAMED_BY.items():
        for name in sorted(snapshot.kept.get(partition_set, ())):
            if not name.endswith(TWIN) or name.removesuffix(TWIN) not in snapshot.kept[partition_set]:
                yield HeldBack(
                    kind=word,
                    name=name,
                    found=f"{word} {name!r} is no longer in tamis.toml",
                    goes=f"everything that was made for this {word}",
                )


def _tables(snapshot: ProjectSnapshot) -> Iterator[HeldBack]:
    store = snapshot.project.home.store
    for table in lost_tables(snapshot.project.home):
        state = "is gone from the home"
        if store.exists(table):
            state = "cannot be read" if is_unreadable(store, table) else "was lost, and begun from nothing"
        found = f"table {table!r} {state} (lance/{table}.lance), and with it {what_it_said(table)}"
        yield HeldBack(kind=TABLE, name=table, found=found, goes="all that it said")


def forget_shards(store: Store, shards: Sequence[str]) -> None:
    """Forget all notes on shards that are removed."""
    for table in (FILES, ABSENT, SHRUNKEN):
        delete_listed(store, table, "shard", shards)


def note_files(store: Store, shards: Sequence[Shard]) -> None:
    """Note the corpus of each shard: once file and corpus are gone, no other record has it.

    The files of groups are noted when they are read.
    """
    rows = [
        {"shard": one.key, "corpus": one.corpus, "name": one.name} for one in shards if one.kind != "group"
    ]
    store.merge_values(FILES, rows)


def keep_values(home: Home, current: CurrentValues, entries: Iterable[tuple[str, str]], attempt: str) -> None:
    """Mark values as finished under the token of an attempt that began but did not write them.

    A value that an earlier attempt may have half overwritten is marked only where its stored rows are those
    of its manifest.
    """
    folder = ManifestFolder.of(home)
    kept = [
        value
        for entry in entries
        if (value := current.get(entry)) and (value.finished or _as_recorded(home.store, folder, value))
    ]
    write_current_values(home.store, [replace(value, attempt=attempt, finished=True) for value in kept])


def _as_recorded(store: Store, folder: ManifestFolder, value: CurrentValue) -> bool:
    """Return whether the stored rows of a value are those of its manifest, or some of them.

    Rows may be missing: a withdrawal deletes rows of a file that can no longer be read again.
    """
    try:
        manifest = folder.read(value.manifest)
        listed = {table: folder.rows_path(digest).read_bytes() for table, digest in manifest.rows.items()}
    except (ManifestError, OSError):
        return False
    return all(
        set(read_records(TableRows(store, table).of(manifest.scopes[table], stated)[1]))
        <= set(read_records(stated))
        for table, stated in listed.items()
    )


def hold(home: Home, snapshot: ProjectSnapshot, current: CurrentValues) -> None:
    """Note which shards are held back, and mark as finished those of their values that are whole.

    Their files cannot be read again, so the stages that read them would wait forever. The caller holds the
    writer's lock.
    """
    note_absent(home.store, snapshot)
    latest = read_attempts(home.store) if snapshot.absent else {}
    for asset in names_where(lambda stage: stage.from_files):
        for key in snapshot.absent:
            value = current.get((asset, key))
            if value is not None and not value.finished:
                keep_values(home, current, [(asset, key)], latest[asset, key])
