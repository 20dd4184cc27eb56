"""Held-back losses: removals that nobody asked for, suspended until a person allows them.

Absence is not deletion. Held back are a corpus that lost every file it had, or more than a fifth of its files
and at least five, or any behind a link that leads nowhere; a corpus, target, model or selection that left
tamis.toml; a file that yields none of the documents it had, or under half of them and at least 20 fewer; a
group of small files of which so many yield none as a corpus may not lose. A file that was moved unchanged is
no loss. Trials that tamis.toml no longer plans are kept, too, and runs of mixtures without [mixture]: their
checkpoints cost more than anything else.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType

import polars as pl

from tamis.base.numbers import counted
from tamis.corpus.listing import leads_nowhere
from tamis.corpus.shards import Shard, is_group_key
from tamis.corpus.small_files import read_small_files
from tamis.corpus.sources import NOTES, corpora_of
from tamis.corpus.stage import DOCUMENTS_STAGE, EXAMPLES_STAGE, OCCURRENCES, RAW_STAGE
from tamis.graph.moved_files import FILES, Arriving, arriving, moved, to_be_read_elsewhere
from tamis.graph.plan import input_key, label
from tamis.graph.removal_names import (
    ALL,
    CORPUS,
    FILE,
    MODEL,
    SELECTION,
    TARGET,
    TRIALS,
    Losses,
    allows,
    allows_trial,
    to_print,
)
from tamis.graph.snapshot import ProjectSnapshot, Shrunken
from tamis.graph.stages import names_where, stages
from tamis.mixture.stage import SWARM_SETS
from tamis.project import Project
from tamis.records.attempts import delete_listed, read_attempts
from tamis.records.current_values import CurrentValue, CurrentValues, write_current_values
from tamis.records.manifest import ManifestError, ManifestFolder
from tamis.records.removals import begun_removals, take_off_returned
from tamis.selection.stage import SELECTION_STAGE
from tamis.store.digests import read_records
from tamis.store.home import Home
from tamis.store.records import TableRows
from tamis.store.schemas import schema_of
from tamis.store.tables import Store
from tamis.training.planned import TWIN, model_names, planned_trials
from tamis.training.stage import BASE_MODELS_STAGE, TRIALS_STAGE

ABSENT, SHRUNKEN = "absent_files", "shrunken_files"
FEWEST_FILES, FILES_SHARE = 5, 5
"""Held back are at least `FEWEST_FILES` lost files that are more than one in `FILES_SHARE`."""
FEWEST_DOCUMENTS, DOCUMENTS_SHARE = 20, 2
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

    `allow`: the name, with its kind where the name alone fits other losses, too.
    """

    kind: str
    name: str
    found: str
    goes: str
    allow: str = ""

    @property
    def line(self) -> str:
        """A line for a person: the loss, what it would remove, and both ways out."""
        return (
            f"held back: {self.found}; nothing was removed. Restore what is missing, or allow the "
            f"removal of {self.goes}: `tamis materialize --allow-removal {self.allow or self.name}`"
        )

    def to_json(self) -> dict[str, str]:
        """Return the loss as JSON values."""
        return dict(self.__dict__)


def lost_too_many(lost: int, had: int) -> bool:
    """Return whether the loss of `lost` of `had` files of a corpus is held back."""
    return lost == had or (lost >= FEWEST_FILES and FILES_SHARE * lost > had)


def shrank_too_much(before: int, now: int) -> bool:
    """Return whether a file that had `before` documents and now yields `now` is held back."""
    emptied = before > 0 and not now
    return emptied or (before - now >= FEWEST_DOCUMENTS and DOCUMENTS_SHARE * now < before)


def too_few_left(shard: str, before: int, now: int) -> bool:
    """Return whether what a shard lost is held back: documents of a file, emptied files of a group."""
    if is_group_key(shard):
        return before > 0 and lost_too_many(before - now, before)
    return shrank_too_much(before, now)


def absent_shards(
    store: Store,
    current: CurrentValues,
    listed: Mapping[str, Shard],
    project: Project,
    allowed: Collection[str] = (),
    expected: Arriving = MappingProxyType({}),
) -> dict[str, str]:
    """Return the files and packages whose removal is held back, by key, with the corpus of each.

    `listed` are the files that exist now, `allowed` the names of corpora and files whose removal a person
    allows; `expected`: listed files that may be counted as read, though no run has read them yet.
    A file that was noted as held back stays so, since later arrivals do not make the loss smaller.
    """
    small = read_small_files(store)
    made = {key for asset, key in current if asset == DOCUMENTS_STAGE.name}
    taken_in = dict.fromkeys([*sorted(key for key in made if not is_group_key(key)), *small["shard"]])
    if ALL in allowed or all(key in listed for key in taken_in):
        return {}
    begun = begun_removals(store)
    files = [key for key in taken_in if label(DOCUMENTS_STAGE.name, key) not in begun]
    lost = [key for key in files if key not in listed]
    corpora = corpora_of(store, files)
    had, elsewhere = Counter(corpora.values()), moved(project.home, current, lost, listed, small)
    if expected:
        left = set(lost) - elsewhere
        elsewhere |= to_be_read_elsewhere(project.home, current, left, listed, small, expected)
    missing: dict[str, list[str]] = {}
    for key in sorted(lost):
        if key not in elsewhere:
            missing.setdefault(corpora[key], []).append(key)
    configured = {corpus.name for corpus in project.settings.corpus}
    noted = set(store.read(ABSENT, ["shard"])["shard"])
    noted |= set(store.read(SHRUNKEN, ["shard"], "NOT allowed")["shard"])
    noted |= _behind_broken_links(store, project, missing)
    # Without its corpus a group cannot be made again, so all of it goes.
    small_keys = frozenset(small["shard"])
    return {
        key: corpus
        for corpus, keys in missing.items()
        for key in keys
        if key in noted or corpus not in configured or lost_too_many(len(keys), had[corpus])
        if not allows(allowed, CORPUS, corpus)
        and (not allows(allowed, FILE, key) or (corpus not in configured and key in small_keys))
    }


def _behind_broken_links(store: Store, project: Project, missing: Mapping[str, list[str]]) -> set[str]:
    """Return the missing files of each corpus whose place is behind a link that leads nowhere now."""
    if not missing:
        return set()
    noted = pl.concat([store.read(table, ["shard", "name"]) for table in NOTES])
    names: dict[str, str] = dict(noted.iter_rows())
    return {
        key
        for corpus in project.settings.corpus
        for key in missing.get(corpus.name, ())
        if key in names and leads_nowhere(corpus, project.root, names[key])
    }


def as_once_read(snapshot: ProjectSnapshot, current: CurrentValues) -> ProjectSnapshot:
    """Return the snapshot in which files that were renamed are not held back, for plans and the status.

    A run holds them back until it has read them under their new names, so that no document is ever missing.
    """
    if not snapshot.lost:
        return snapshot
    store, expected = snapshot.project.home.store, arriving(snapshot)
    lost = absent_shards(store, current, snapshot.files, snapshot.project, snapshot.allowed, expected)
    corpora = set(lost.values())
    return replace(
        snapshot,
        absent={
            key: one
            for key, one in snapshot.absent.items()
            if (one in corpora if is_group_key(key) else key in lost)
        },
        absent_files={key: one for key, one in snapshot.absent_files.items() if key in lost},
        left=snapshot.left | (snapshot.absent_files.keys() - lost.keys()),
    )


def note_absent(store: Store, snapshot: ProjectSnapshot) -> None:
    """Note the files that are held back, and forget those that are back, of interrupted removals, too.

    To be called before new files are read, which would change the share that was lost.
    """
    noted = set(store.read(ABSENT, ["shard"])["shard"])
    now = datetime.now(UTC).replace(tzinfo=None)
    new = sorted(snapshot.lost.keys() - noted)
    store.merge_values(ABSENT, [{"shard": key, "found_at": now} for key in new])
    delete_listed(store, ABSENT, "shard", sorted(noted & snapshot.files.keys()))
    take_off_returned(store, partial(_is_back, snapshot))


def _is_back(snapshot: ProjectSnapshot, entry: str) -> bool:
    """Return whether the file or name of an entry of a removal, `asset[partition]`, is there."""
    asset, _, rest = entry.partition("[")
    partition, stage = rest.removesuffix("]"), stages().get(asset)
    if stage is None:
        return False
    if stage.partitions != "shards":
        return stage.active(snapshot) and partition in snapshot.keys(stage.partitions)
    if partition in snapshot.files or partition in snapshot.held:
        return True
    shard = snapshot.shards.get(partition)
    return shard is not None and any(file.key in snapshot.files for file in shard.members)


def kept_names(
    project: Project, current: CurrentValues, allowed: Collection[str] = ()
) -> dict[str, frozenset[str]]:
    """Return, by partition set, the names that have values but are no longer in tamis.toml."""
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
        if label(asset, partition) not in begun and not _allows(allowed, name, partition):
            found.setdefault(name, set()).add(partition)
    return {name: frozenset(partitions) for name, partitions in found.items()}


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


def read_shrunken(store: Store, shards: Collection[str]) -> dict[str, Shrunken]:
    """Return, by shard, the files noted as having lost most of their documents."""
    columns = [name for name in schema_of(SHRUNKEN).names if name != "found_at"]
    rows = store.read(SHRUNKEN, columns).filter(pl.col("shard").is_in(list(shards))).iter_rows(named=True)
    return {row["shard"]: Shrunken(**row | {"bad_rows": json.loads(row["bad_rows"])}) for row in rows}


def note_shrunken(store: Store, found: Sequence[Shrunken]) -> None:
    """Note files that lost most of their documents, or that a person allows this."""
    now = datetime.now(UTC).replace(tzinfo=None)
    rows = [one.__dict__ | {"bad_rows": json.dumps(one.bad_rows), "found_at": now} for one in found]
    store.merge_values(SHRUNKEN, rows)


def forget_shrunken(store: Store, shards: Iterable[str]) -> None:
    """Forget the notes on files that were read in since: a permission is for one state and one time."""
    delete_listed(store, SHRUNKEN, "shard", sorted(shards))


def shrunken_to_allow(
    snapshot: ProjectSnapshot, current: CurrentValues, allowed: Collection[str]
) -> list[Shrunken]:
    """Return the files whose loss of documents is allowed by the name of the file or its corpus, or `all`.

    A loss that was undone since is none to allow: the permission would wait for the next typo of its kind.
    """
    found = []
    for one in _in_effect(snapshot, current):
        shard = snapshot.shards[one.shard]
        is_as_read = current[RAW_STAGE.name, one.shard].data_version == snapshot.fingerprints.get(one.shard)
        named = allows(allowed, FILE, one.shard, shard.name) or allows(allowed, CORPUS, shard.corpus)
        if is_as_read and (ALL in allowed or named):
            found.append(one)
    return found


def _in_effect(snapshot: ProjectSnapshot, current: CurrentValues) -> Iterator[Shrunken]:
    """Yield the losses of documents that are held back as the files are now."""
    for key, one in sorted(snapshot.shrunken.items()):
        made_of = input_key(stages()[DOCUMENTS_STAGE.name], key, snapshot, current)
        if made_of is not None and snapshot.is_shrunken(DOCUMENTS_STAGE.name, key, made_of):
            yield one


def held_back(snapshot: ProjectSnapshot, current: CurrentValues) -> list[HeldBack]:
    """Return all losses that are held back now, corpora first."""
    found = [*_corpora(snapshot), *_shrunken(snapshot, current), *_names(snapshot)]
    losses = losses_by_name(snapshot, current) if found else {}
    return [replace(one, allow=to_print(one.kind, one.name, losses)) for one in found]


def losses_by_name(snapshot: ProjectSnapshot, current: CurrentValues) -> Losses:
    """Return kind and name of the losses that are held back, by each name that a person may give for one."""
    found: list[tuple[str, str, str]] = []
    for key, corpus in snapshot.lost.items():
        found += [(corpus, CORPUS, corpus), (key, FILE, key)]
    for one in _in_effect(snapshot, current):
        shard = snapshot.shards[one.shard]
        found += [(shard.corpus, CORPUS, shard.corpus)]
        found += [(name, FILE, one.shard) for name in {one.shard, shard.name}]
    for partition_set, (_asset, kind) in _NAMED_BY.items():
        for name in snapshot.kept.get(partition_set, ()):
            found += [(given, kind, name) for given in (name, *_without_twin(kind, name))]
    losses: dict[str, set[tuple[str, str]]] = {}
    for given, kind, name in found:
        losses.setdefault(given, set()).add((kind, name))
    return losses


def kept_trials(snapshot: ProjectSnapshot) -> list[str]:
    """Return at most one line on the trials that are kept though tamis.toml no longer plans them.

    They are no problem, so `tamis status` stays green.
    """
    count = len(snapshot.kept.get(TRIALS, ()))
    if not count:
        return []
    what = (
        "trial that tamis.toml no longer plans is"
        if count == 1
        else "trials that tamis.toml no longer plans are"
    )
    return [f"{count} {what} kept; `tamis materialize --allow-removal {TRIALS}` removes unplanned trials"]


def kept_runs(snapshot: ProjectSnapshot) -> list[str]:
    """Return at most one line on the runs of mixtures that are kept though tamis.toml has no [mixture]."""
    sets = [name for name in SWARM_SETS if snapshot.kept.get(name)]
    count = sum(len(snapshot.kept[name]) for name in sets)
    if not count:
        return []
    what = f"kept although tamis.toml has no [mixture]: {counted(count, 'mixture run')}"
    return [f"{what}; `tamis materialize --allow-removal {' '.join(sets)}` removes the runs"]


def _corpora(snapshot: ProjectSnapshot) -> Iterator[HeldBack]:
    configured = {corpus.name for corpus in snapshot.project.settings.corpus}
    lost = snapshot.lost
    documents = _documents_of(snapshot.project.home.store) if lost else {}
    for corpus in sorted(set(lost.values())):
        keys = sorted(key for key, found in lost.items() if found == corpus)
        some = ", ".join(keys[:SHOWN]) + (f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else "")
        files = f"{len(keys):,} {'file' if len(keys) == 1 else 'files'}"
        found = f"corpus {corpus!r} lost {files} ({some})"
        if corpus not in configured:
            found = f"corpus {corpus!r} is no longer in tamis.toml; it had {files} ({some})"
        count = sum(documents.get(key, 0) for key in keys)
        yield HeldBack(
            kind=CORPUS, name=corpus, found=found, goes=f"all documents of these files ({count:,})"
        )


def _documents_of(store: Store) -> dict[str, int]:
    """Return how many distinct documents each shard has."""
    places = store.read(OCCURRENCES.name, ["shard", "doc_id"])
    return dict(places.group_by("shard").agg(pl.col("doc_id").n_unique()).iter_rows())


def _shrunken(snapshot: ProjectSnapshot, current: CurrentValues) -> Iterator[HeldBack]:
    for one in _in_effect(snapshot, current):
        lost = one.before - one.now
        goes = (
            f"the documents of {counted(lost, 'file')}"
            if is_group_key(one.shard)
            else counted(lost, "document")
        )
        yield HeldBack(kind=FILE, name=one.shard, found=one.found, goes=goes)


def _names(snapshot: ProjectSnapshot) -> Iterator[HeldBack]:
    for partition_set, (_asset, word) in _NAMED_BY.items():
        for name in sorted(snapshot.kept.get(partition_set, ())):
            if name.endswith(TWIN) and name.removesuffix(TWIN) in snapshot.kept[partition_set]:
                continue
            found = f"{word} {name!r} is no longer in tamis.toml"
            yield HeldBack(
                kind=word, name=name, found=found, goes=f"everything that was made for this {word}"
            )


def forget_shards(store: Store, shards: Sequence[str]) -> None:
    """Forget all notes on shards that are removed."""
    for table in (FILES, ABSENT, SHRUNKEN):
        delete_listed(store, table, "shard", shards)


def note_files(store: Store, shards: Sequence[Shard]) -> None:
    """Note the corpus of each shard: once file and corpus are gone, no other record has it.

    The files of groups are noted when they are read.
    """
    alone = [one for one in shards if one.kind != "group"]
    rows = [{"shard": one.key, "corpus": one.corpus, "name": one.name} for one in alone]
    store.merge_values(FILES, rows)


def keep_values(home: Home, current: CurrentValues, entries: Iterable[tuple[str, str]], attempt: str) -> None:
    """Mark values as finished under the token of an attempt that began but did not write them.

    A value that an earlier attempt may have half overwritten is marked only where its stored rows are those
    of its manifest.
    """
    folder = ManifestFolder.of(home)
    before = [current[entry] for entry in entries if entry in current]
    kept = [value for value in before if value.finished or _as_recorded(home.store, folder, value)]
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
    stored = (
        TableRows(store, table).of(manifest.scopes[table], stated)[1] for table, stated in listed.items()
    )
    return all(
        set(read_records(found)) <= set(read_records(stated))
        for found, stated in zip(stored, listed.values(), strict=True)
    )


def hold(home: Home, snapshot: ProjectSnapshot, current: CurrentValues) -> None:
    """Note which shards are held back, and mark as finished those of their values that are whole.

    Their files cannot be read again, so the stages that read them would wait forever. The caller holds the
    writer's lock.
    """
    note_absent(home.store, snapshot)
    if not snapshot.absent:
        return
    latest = read_attempts(home.store)
    for asset in names_where(lambda stage: stage.from_files):
        for key in snapshot.absent:
            value = current.get((asset, key))
            if value is not None and not value.finished:
                keep_values(home, current, [(asset, key)], latest[asset, key])
