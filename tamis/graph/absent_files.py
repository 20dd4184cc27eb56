"""Files that are gone: which of them are held back, since with them a corpus would lose too much.

A file is no loss where its documents are in other files of its corpus: it was renamed, split or merged.
That is known once these have been read, so until then the file stays.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType

import polars as pl

from tamis.corpus.listing import is_left_out, leads_nowhere
from tamis.corpus.shards import Shard, is_group_key
from tamis.corpus.small_files import read_small_files
from tamis.corpus.sources import NOTES, corpora_of
from tamis.corpus.stage import DOCUMENTS_STAGE, OCCURRENCES
from tamis.graph.loss_limits import lost_too_many, lost_too_many_documents, mostly_found
from tamis.graph.moved_files import FILES, Arriving, arriving, moved, read_as_now, to_be_read_elsewhere
from tamis.graph.plan import label
from tamis.graph.removal_names import ALL, CORPUS, FILE, allows
from tamis.graph.shrunken_files import SHRUNKEN, in_effect
from tamis.graph.snapshot import ProjectSnapshot
from tamis.graph.stages import stages
from tamis.project import Project
from tamis.records.attempts import delete_listed
from tamis.records.current_values import CurrentValues
from tamis.records.removals import begun_removals, take_off_returned
from tamis.store.tables import Store

ABSENT = "absent_files"


def absent_shards(
    snapshot: ProjectSnapshot,
    current: CurrentValues,
    listed: Mapping[str, Shard],
    expected: Arriving = MappingProxyType({}),
) -> dict[str, str]:
    """Return the files and packages whose removal is held back, by key, with the corpus of each.

    `listed` are the files that exist now; `expected`: listed files that may be counted as read, though no run
    has read them yet. A file that was noted as held back stays so until its documents are found elsewhere,
    since later arrivals do not make the loss smaller.
    """
    project, allowed = snapshot.project, snapshot.allowed
    store = project.home.store
    small = read_small_files(store)
    made = {key for asset, key in current if asset == DOCUMENTS_STAGE.name}
    made.update(store.read(FILES, ["shard"])["shard"])  # also where the record of what was made of it is lost
    taken_in = dict.fromkeys([*sorted(key for key in made if not is_group_key(key)), *small["shard"]])
    if ALL in allowed or all(key in listed for key in taken_in):
        return {}
    begun = begun_removals(store)
    files = [key for key in taken_in if label(DOCUMENTS_STAGE.name, key) not in begun]
    lost = [key for key in files if key not in listed]
    elsewhere = moved(project.home, current, lost, listed, small)
    if expected:
        left = set(lost) - elsewhere
        elsewhere |= to_be_read_elsewhere(project.home, current, left, listed, small, expected)
    corpora = corpora_of(store, files)
    missing = {key: corpora[key] for key in sorted(lost) if key not in elsewhere}
    if not missing:
        return {}
    configured = {corpus.name for corpus in project.settings.corpus}
    # Where a corpus left tamis.toml, the files of all others may have its documents.
    looked_at = set(missing.values()) if configured.issuperset(missing.values()) else configured
    present = (key for key in files if key in listed and corpora[key] in looked_at)
    there = read_as_now(snapshot, current, small, present)
    losses = _Losses(
        places=_with_corpora(store, corpora, there), missing=missing, files=Counter(corpora.values())
    )
    held: dict[str, str] = {}
    noted, unmounted = _noted(store), _behind_broken_links(store, project, missing)
    for corpus in sorted(set(missing.values())):
        found = losses.held_back(corpus, noted, unmounted) if corpus in configured else losses.of_gone(corpus)
        held |= dict.fromkeys(sorted(found), corpus)
    # Without its corpus a group cannot be made again, so all of it goes.
    small_keys = frozenset(small["shard"])
    return {
        key: corpus
        for key, corpus in held.items()
        if not allows(allowed, CORPUS, corpus)
        and (not allows(allowed, FILE, key) or (corpus not in configured and key in small_keys))
    }


def _noted(store: Store) -> set[str]:
    """Return the files that were noted as held back, or as having lost most of their documents."""
    shrunken = store.read(SHRUNKEN, ["shard"], "NOT allowed")["shard"]
    return {*store.read(ABSENT, ["shard"])["shard"], *shrunken}


def _with_corpora(store: Store, corpora: Mapping[str, str], there: Collection[str]) -> pl.DataFrame:
    """Return the places of documents with the corpus of each, and whether the file holds them now.

    Columns: shard, doc_id, corpus, there.
    """
    files = pl.DataFrame(
        {
            "shard": pl.Series([*corpora], dtype=pl.String),
            "corpus": pl.Series([*corpora.values()], dtype=pl.String),
            "there": pl.Series([key in there for key in corpora], dtype=pl.Boolean),
        }
    )
    return store.read(OCCURRENCES.name, ["shard", "doc_id"]).unique().join(files, on="shard")


@dataclass(frozen=True, kw_only=True)
class _Losses:
    """The documents that corpora lose with their `missing` files (the corpus of each, by key).

    `places`: those of all documents, as `_with_corpora` returns them; `files`: how many each corpus had.
    """

    places: pl.DataFrame
    missing: Mapping[str, str]
    files: Mapping[str, int]

    def held_back(self, corpus: str, noted: Collection[str], unmounted: Collection[str]) -> set[str]:
        """Return the missing files of a corpus that are held back.

        `noted`: files that were held back before; `unmounted`: those behind links that lead nowhere.
        """
        own = self.places.filter(pl.col("corpus") == corpus)
        gone = self._gone(corpus)
        lost = gone.join(own.filter("there"), on="doc_id", how="anti")
        count, with_loss = lost["doc_id"].n_unique(), {*lost["shard"]}
        lost_files = _mostly_lost(gone, lost)
        if lost_too_many_documents(count, own["doc_id"].n_unique()):
            held = with_loss
        elif lost_too_many(len(lost_files), self.files[corpus]):
            held = lost_files
        else:
            held = set() if mostly_found(count, gone["doc_id"].n_unique()) else lost_files.intersection(noted)
        return held | with_loss.intersection(unmounted)

    def of_gone(self, corpus: str) -> set[str]:
        """Return all files of a corpus that left tamis.toml, if no other corpus has one of its documents."""
        lost = self._gone(corpus).join(self.places.filter("there"), on="doc_id", how="anti")
        return self._missing(corpus) if len(lost) else set()

    def _missing(self, corpus: str) -> set[str]:
        return {key for key, found in self.missing.items() if found == corpus}

    def _gone(self, corpus: str) -> pl.DataFrame:
        """Return the places of documents in the missing files of a corpus."""
        return self.places.filter(pl.col("shard").is_in([*self._missing(corpus)]))


def _mostly_lost(gone: pl.DataFrame, lost: pl.DataFrame) -> set[str]:
    """Return the files whose own documents were not mostly found elsewhere."""
    had = gone.group_by("shard").len("had")
    counts = lost.group_by("shard").len("lost").join(had, on="shard").select("lost", "had", "shard")
    return {shard for lost, had, shard in counts.iter_rows() if not mostly_found(lost, had)}


def _behind_broken_links(store: Store, project: Project, missing: Mapping[str, str]) -> set[str]:
    """Return the missing files whose place is behind a link that leads nowhere now."""
    names = _names(store)
    corpora = {corpus.name: corpus for corpus in project.settings.corpus}
    return {
        key
        for key, corpus in missing.items()
        if corpus in corpora and key in names and leads_nowhere(corpora[corpus], project.root, names[key])
    }


def _names(store: Store) -> dict[str, str]:
    """Return the path of each file that was taken in, below the folder of its corpus, by key."""
    noted = pl.concat([store.read(table, ["shard", "name"]) for table in NOTES])
    return dict(noted.drop_nulls("name").iter_rows())


def left_out(project: Project, files: Collection[str]) -> set[str]:
    """Return which of these files, no longer listed, are at their places: their sections leave them out."""
    if not files:
        return set()
    names, found = _names(project.home.store), corpora_of(project.home.store, files)
    corpora = {corpus.name: corpus for corpus in project.settings.corpus}
    return {
        key
        for key, corpus in found.items()
        if corpus in corpora and key in names and is_left_out(corpora[corpus], project.root, names[key])
    }


def as_once_read(snapshot: ProjectSnapshot, current: CurrentValues) -> ProjectSnapshot:
    """Return the snapshot in which files that were renamed are not held back, for plans and the status.

    A run holds them back until it has read them under their new names, so that no document is ever missing.
    """
    if not snapshot.lost:
        return snapshot
    lost = absent_shards(snapshot, current, snapshot.files, arriving(snapshot))
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


def unread_files(snapshot: ProjectSnapshot, current: CurrentValues) -> dict[str, int]:
    """Return, by corpus, how many new or changed files wait to be read; not those that are held back."""
    files = snapshot.files
    small = read_small_files(snapshot.project.home.store)
    known = read_as_now(snapshot, current, small, files)
    shrunken = {one.shard for one in in_effect(snapshot, current)}
    known |= {file.key for key in shrunken & snapshot.shards.keys() for file in snapshot.shards[key].files}
    return Counter(file.corpus for key, file in files.items() if key not in known)


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
