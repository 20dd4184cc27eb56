"""Reconciliation of the store with the corpora: deletes rows of removed partitions, notes unfinished files.

A removal is noted before it begins and repeated after a crash: current values and attempts, by which it is
found, are deleted last.
"""

import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import polars as pl

from tamis.corpus.intake import delete_orphans, documents_of_shards, find_orphans, remove_shards
from tamis.corpus.quarantine import STILL_BEING_WRITTEN, forget_all_refused, forget_shown
from tamis.corpus.shards import is_group_key
from tamis.corpus.small_files import forget_small_files, read_small_files
from tamis.corpus.stage import DOCUMENTS_STAGE, EXAMPLES_STAGE, QUARANTINE, RAW_STAGE
from tamis.corpus.targets import rows_of_target
from tamis.embedding.stage import EMBEDDINGS, EMBEDDINGS_STAGE
from tamis.embedding.storing import current_table
from tamis.graph.plan import full_plan, gone_partitions, label
from tamis.graph.snapshot import ProjectSnapshot, Shrunken
from tamis.graph.stages import names_where, stages
from tamis.project import Project
from tamis.records import attempts
from tamis.records.current_values import CurrentValues, forget_current_values, read_current_values
from tamis.records.manifest import ManifestError, ManifestFolder
from tamis.records.published import unpin
from tamis.retention.held_back import forget_shards
from tamis.retention.losses import note_shrunken, shrunken_to_allow, stage_and_partition
from tamis.retention.moved import FILES
from tamis.retention.removals import TABLE as REMOVALS
from tamis.retention.removals import end_removals
from tamis.selection.stage import SELECTION_STAGE
from tamis.stage import Stage
from tamis.store.home import Home
from tamis.store.schemas import kind_of
from tamis.store.tables import Store, quoted
from tamis.training.stage import TRAINED_ON


def find_gone(store: Store, snapshot: ProjectSnapshot, current: CurrentValues) -> list[tuple[str, str]]:
    """Return (asset, partition) of values, finished or begun, whose partitions no longer exist.

    A file of a group is named as if it had documents of its own; a group is gone with the last of its files.
    One whose files are in other shards now is not gone: `find_regrouped`.
    """
    entries = {*current, *attempts.read_attempts(store)}
    files = [(DOCUMENTS_STAGE.name, key) for key in sorted(snapshot.left - snapshot.held.keys())]
    emptied = {
        key
        for key, shard in snapshot.shards.items()
        if shard.members and snapshot.left.issuperset(file.key for file in shard.members)
    }
    groups = sorted(entry for entry in entries if entry[1] in emptied and _of_shards(entry[0]))
    gone = gone_partitions(snapshot, entries.difference(find_regrouped(store, snapshot, entries)))
    return [*(entry for entry in gone if entry[1] not in snapshot.held), *groups, *files]


def find_regrouped(
    store: Store, snapshot: ProjectSnapshot, entries: Iterable[tuple[str, str]]
) -> list[tuple[str, str]]:
    """Return those of the (asset, partition) whose partitions are gone, since others have their files.

    So it is with a file that has joined a group, and a group that was divided or joined to others.
    """
    others = [(asset, key) for asset, key in entries if key not in snapshot.shards and _of_shards(asset)]
    divided = sorted({key for _asset, key in others if is_group_key(key)})
    parts = read_small_files(store, divided).select("shard", "part_of")
    there = pl.col("shard").is_in([*(snapshot.files.keys() | snapshot.group_of.keys() - snapshot.left)]).any()
    gone = set(parts.group_by("part_of").agg(there=there).filter(~pl.col("there"))["part_of"])
    return sorted(
        (asset, key)
        for asset, key in others
        if key in snapshot.group_of or (is_group_key(key) and key not in gone)
    )


def _of_shards(asset: str) -> bool:
    stage = stages().get(asset)
    return stage is not None and stage.partitions == "shards"


def forget_regrouped(store: Store, snapshot: ProjectSnapshot) -> None:
    """Forget the values of shards whose files all belong to others by now; no row of a file is touched."""
    current = read_current_values(store)
    regrouped = find_regrouped(store, snapshot, {*current, *attempts.read_attempts(store)})
    if not regrouped:
        return
    part_of: dict[str, str] = dict(read_small_files(store).select("shard", "part_of").iter_rows())
    owners = set(part_of.values())

    def is_taken_over(key: str) -> bool:
        if is_group_key(key):
            return key not in owners
        made = current.get((DOCUMENTS_STAGE.name, part_of.get(key, "")))
        return made is not None and made.finished and part_of[key] == snapshot.group_of.get(key)

    done = [entry for entry in regrouped if is_taken_over(entry[1])]
    if done:
        shards = sorted({key for _asset, key in done})
        forget_shown(store, shards)
        attempts.delete_listed(store, FILES, "shard", shards)
        forget_current_values(store, done)
        attempts.forget_entries(store, attempts.TABLE, done)


def forget_gone(store: Store, snapshot: ProjectSnapshot, current: CurrentValues) -> list[tuple[str, str]]:
    """Remove the values of partitions that no longer exist, and return them as (asset, partition).

    Current values, and the notes on files of groups, go last, so that an interrupted removal is found and
    repeated. While other shards wait to be read, documents stay: these shards may hold them under another
    name, and no text is embedded twice.
    """
    gone = find_gone(store, snapshot, current)
    if not gone:
        return []
    reading = names_where(lambda stage: stage.from_files)
    shards = {key for asset, key in gone if asset in reading and key not in snapshot.files}
    if shards:
        remove_shards(store, sorted(shards))
        if not _intake_follows(snapshot, current):
            collect_orphans(store, snapshot)
    for stage in stages().values():
        _remove_rows(snapshot, stage, [key for name, key in gone if name == stage.name])
    for asset, partition in gone:
        if asset == EXAMPLES_STAGE.name:
            store.delete(QUARANTINE.name, rows_of_target(partition))
        if asset == SELECTION_STAGE.name:
            unpin(store, partition)
    _remove_pages(snapshot.project.home, current, gone)
    forget_abandoned_trainings(snapshot.project.home, current, gone)
    forget_current_values(store, gone)
    attempts.forget_entries(store, attempts.TABLE, gone)
    forget_small_files(store, sorted(shards & snapshot.left))
    return gone


def _remove_pages(home: Home, current: CurrentValues, gone: Iterable[tuple[str, str]]) -> None:
    """Remove the pages of these values; what else was written, such as checkpoints, stays."""
    names = [value.manifest for entry in gone if (value := current.get(entry))]
    for manifest in ManifestFolder.of(home).readable(names).values():
        for name in manifest.files:
            if name.startswith(f"{home.relative(home.reports)}/"):
                (home.root / name).unlink(missing_ok=True)


def _remove_rows(snapshot: ProjectSnapshot, stage: Stage, partitions: Sequence[str]) -> None:
    """Delete the rows of these partitions from all tables that a stage writes."""
    store = snapshot.project.home.store
    for declaration in stage.tables if partitions else ():
        for table in [name for name in store.names() if kind_of(name) == declaration.name]:
            if declaration.emptied and not stage.active(snapshot):
                store.delete(table, "true")
                forget_all_refused(store, stage.name)
            if column := declaration.partition:
                attempts.delete_listed(store, table, column, partitions)


def removals(
    snapshot: ProjectSnapshot, current: CurrentValues
) -> tuple[list[tuple[str, str]], list[Shrunken]]:
    """Return the work of a removal: (asset, partition) that are gone, and shrunken files that are allowed."""
    return find_gone(snapshot.project.home.store, snapshot, current), shrunken_to_allow(
        snapshot, current, snapshot.allowed
    )


def remove(snapshot: ProjectSnapshot, current: CurrentValues) -> list[tuple[str, str]]:
    """Remove all values that are gone and not held back, and return them as (asset, partition).

    The removal is noted before anything is deleted. Of a file that lost most of its documents and is allowed
    to, nothing is deleted here: the next run reads the documents that are left.
    """
    store = snapshot.project.home.store
    gone, shrunken = removals(snapshot, current)
    if not gone and not shrunken:
        return []
    shards = [key for asset, key in gone if asset == DOCUMENTS_STAGE.name]
    groups = {snapshot.group_of[key] for key in shards if key in snapshot.group_of}
    note = {
        "removal": uuid.uuid4().hex,
        "entries": json.dumps(
            [label(*entry) for entry in gone] + [label(*stage_and_partition(one.shard)) for one in shrunken]
        ),
        "documents": sum(
            len(found) for key, found in documents_of_shards(store, shards).items() if not is_group_key(key)
        ),
        "allowed": json.dumps(sorted(snapshot.allowed)),
        "begun_at": datetime.now(UTC).replace(tzinfo=None),
        "ended_at": None,
    }
    store.merge_values(REMOVALS, [note])
    note_shrunken(store, [replace(one, allowed=True) for one in shrunken])
    # After a crash a file may be back: with an attempt open, its half deleted values are made again.
    begun = [(asset, key) for asset in (RAW_STAGE.name, DOCUMENTS_STAGE.name) for key in sorted(groups)]
    attempts.begin(store, sorted({*begun, *(entry for entry in gone if entry[1] not in snapshot.left)}))
    forget_gone(store, snapshot, current)
    forget_shards(store, sorted(shards))
    end_removals(store)
    return gone


def collect_orphans(store: Store, snapshot: ProjectSnapshot) -> None:
    """Delete the documents that no shard holds and all rows computed from them; expensive rows are retained.

    Values that listed them are out of date now. An attempt is noted for each before its rows go: if the files
    change back before the value is made again, its old input key alone would call it current.
    """
    orphans = find_orphans(store)
    if not orphans:
        return
    current = read_current_values(store)
    kinds = {kind_of(table) for table in orphans}
    losing = names_where(
        lambda stage: not stage.from_files and any(one.name in kinds for one in stage.tables)
    )
    due = {(found.asset, found.partition) for found in full_plan(snapshot, current, refit=False)}
    attempts.begin(store, sorted(entry for entry in due if entry in current and entry[0] in losing))
    delete_orphans(store, orphans, snapshot.project.settings.retention.days)


def drop_unnamed_vectors(project: Project) -> list[str]:
    """Drop the tables of vectors of earlier encoders that nothing needs, and return their names.

    No current value names them, and no version of them is tagged. The caller makes sure that no other run is
    queued or running.
    """
    store, folder = project.home.store, ManifestFolder.of(project.home)
    tables = {name for name in store.names() if kind_of(name) == EMBEDDINGS.name}
    if len(tables) < 2:
        return []
    current = [value for value in read_current_values(store).values() if value.asset == EMBEDDINGS_STAGE.name]
    try:
        named = {table for value in current for table in folder.read(value.manifest).rows}
    except ManifestError:
        return []  # the next run makes this value again, and then drops the tables
    named.add(current_table(project))
    unnamed = sorted(name for name in tables - named if not store.open(name).tags.list())
    for name in unnamed:
        store.drop(name)
    return unnamed


def _intake_follows(snapshot: ProjectSnapshot, current: CurrentValues) -> bool:
    """Return whether a shard is new, changed or interrupted: then its intake collects the orphans."""
    for key, digest in snapshot.fingerprints.items():
        raw, made = current.get((RAW_STAGE.name, key)), current.get((DOCUMENTS_STAGE.name, key))
        if raw is None or made is None or raw.data_version != digest or not (raw.finished and made.finished):
            return True
    return False


def set_aside(store: Store, snapshot: ProjectSnapshot) -> None:
    """Note in quarantine the new files that are still being written, and delete the notes of others."""
    rows = [
        {"shard": key, "row": -1, "reason": STILL_BEING_WRITTEN, "detail": detail, "excerpt": ""}
        for key, detail in snapshot.held.items()
    ]
    store.merge_values(QUARANTINE.name, rows)
    for key in store.read(QUARANTINE.name, ["shard"], f"reason = '{STILL_BEING_WRITTEN}'")["shard"].unique():
        if key not in snapshot.held and key not in snapshot.files:
            store.delete(QUARANTINE.name, f"shard = {quoted(key)} AND reason = '{STILL_BEING_WRITTEN}'")


def forget_abandoned_trainings(home: Home, current: CurrentValues, gone: Iterable[tuple[str, str]]) -> None:
    """Delete the training notes of removed trials and base models that never ended.

    These have neither a current value, a checkpoint nor a manifest; notes of others are evidence and stay.
    """
    trained = training_stages()
    begun = [
        (asset, partition)
        for asset, partition in gone
        if asset in trained
        and (asset, partition) not in current
        and not any((home.checkpoints / asset / partition).glob("*"))
    ]
    if not begun or not home.store.exists(TRAINED_ON.name):
        return
    try:
        recorded = _recorded(home)
    except ManifestError:
        return  # the unreadable manifest, which the audit names, may be the record of one of these
    names = [partition for asset, partition in begun if (asset, partition) not in recorded]
    attempts.delete_listed(home.store, TRAINED_ON.name, "checkpoint", names)


def training_stages() -> tuple[str, ...]:
    """Return the names of the stages that note the documents their checkpoints are trained on."""
    return names_where(lambda stage: TRAINED_ON in stage.tables)


def _recorded(home: Home) -> set[tuple[str, str]]:
    """Return (asset, partition) of every checkpoint with a manifest. Raises `ManifestError`."""
    folder, trained = ManifestFolder.of(home), training_stages()
    return {(one.asset, one.partition) for one in map(folder.read, folder.ids()) if one.asset in trained}
