"""Losses of files and documents: which of them are held back, and the names by which a person allows them."""

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType

import polars as pl

from tamis.base.errors import PermanentError
from tamis.corpus.intake import Shrinkage
from tamis.corpus.listing import is_left_out, leads_nowhere
from tamis.corpus.shards import SEPARATOR, Shard, is_group_key
from tamis.corpus.small_files import files_of, read_small_files, rows_of_files
from tamis.corpus.sources import NOTES, corpora_of
from tamis.corpus.stage import DOCUMENTS_STAGE, EXAMPLES_STAGE, OCCURRENCES, RAW_STAGE
from tamis.corpus.targets import target_of_place
from tamis.graph.plan import input_key, label
from tamis.graph.snapshot import (
    FEWEST_DOCUMENTS,
    ProjectSnapshot,
    Shrunken,
    lost_too_many,
    lost_too_many_documents,
    mostly_found,
    too_few_left,
)
from tamis.graph.stages import stages
from tamis.mixture.stage import SWARM_SETS
from tamis.passages.places import document_places
from tamis.project import Project
from tamis.records.attempts import delete_listed
from tamis.records.current_values import CurrentValues
from tamis.retention.moved import FILES, Arriving, arriving, moved, read_as_now, to_be_read_elsewhere
from tamis.retention.removals import begun_removals, take_off_returned
from tamis.settings.config import CorpusSection
from tamis.store.schemas import schema_of
from tamis.store.tables import Store

CORPUS, FILE, TARGET, MODEL, SELECTION = "corpus", "file", "target", "model", "selection"
TABLE = "table"
"""A table of the home that is gone: its name always needs the kind, since it is no name of tamis.toml."""
KINDS = (CORPUS, FILE, TARGET, MODEL, SELECTION, TABLE)
ALL, TRIALS, RECORDS = "all", "trials", "records"
"""`records`: manifests of earlier results that are gone."""
RESERVED = frozenset({ALL, TRIALS, RECORDS, *SWARM_SETS})
KIND_SEPARATOR = ":"
_NAMED_LAST = {"law": TARGET, "direct": TARGET, "warm-up": SELECTION, "two-stage": SELECTION}
"""By the first part of a trial's name: the kind of the name at its end."""
Losses = Mapping[str, Set[tuple[str, str]]]
"""By each bare name that a person may give: kind and name of the losses that it fits."""
SHRUNKEN = "shrunken_files"
ABSENT = "absent_files"


class AmbiguousRemovalError(PermanentError):
    """A name that fits losses of several kinds; says the names that tell them apart."""

    def __init__(self, name: str, names: Collection[str]) -> None:
        self.name, self.names = name, sorted(names)
        super().__init__(
            f"nothing was removed: {name!r} fits several losses that are held back; say which of them may be "
            f"removed: {' or '.join(f'`--allow-removal {one}`' for one in self.names)}"
        )


def with_kind(kind: str, name: str) -> str:
    """Return `KIND:NAME`."""
    return f"{kind}{KIND_SEPARATOR}{name}"


def is_bare(name: str) -> bool:
    """Return whether a name can stand alone: it is no reserved word and does not begin with a kind.

    Keys of groups hold colons, too, and begin with the name of their corpus.
    """
    first, separator, _rest = name.partition(KIND_SEPARATOR)
    return name not in RESERVED and not (separator and first in KINDS)


def allows(allowed: Collection[str], kind: str, *names: str) -> bool:
    """Return whether one of the names of a loss is allowed, with its kind or alone."""
    return any(with_kind(kind, name) in allowed or (is_bare(name) and name in allowed) for name in names)


def allows_trial(allowed: Collection[str], trial: str) -> bool:
    """Return whether the removal of a trial is allowed: by `trials`, or its model, target or selection."""
    first, _, rest = trial.partition(SEPARATOR)
    last = _NAMED_LAST.get(first)
    return TRIALS in allowed or any(
        (is_bare(name) and f"{SEPARATOR}{name}{SEPARATOR}" in f"{trial}{SEPARATOR}")
        or (name.startswith(with_kind(MODEL, "")) and rest.startswith(f"{_named(name)}{SEPARATOR}"))
        or (last and name.startswith(with_kind(last, "")) and rest.endswith(f"{SEPARATOR}{_named(name)}"))
        for name in allowed
    )


def _named(name: str) -> str:
    return name.partition(KIND_SEPARATOR)[2]


def to_print(kind: str, name: str, losses: Losses) -> str:
    """Return the name by which a message lets a loss go, with its kind where the name alone would not do."""
    kinds = {found for found, _name in losses.get(name, ())}
    return name if is_bare(name) and len(kinds) < 2 and kind != TABLE else with_kind(kind, name)


def with_kinds(names: Collection[str], losses: Losses) -> frozenset[str]:
    """Return the names that a person gave, with their kinds where they fit a loss that is held back.

    Others stay as they are: a loss may be found by reading a file. Raises `AmbiguousRemovalError`.
    """
    if ALL in names:
        return frozenset({ALL})
    found: set[str] = set()
    for name in names:
        fits = set() if name in RESERVED else set(losses.get(name, ()))
        kind, _, rest = name.partition(KIND_SEPARATOR)
        fits |= {one for one in losses.get(rest, ()) if one[0] == kind}
        if len({one[0] for one in fits}) > 1:
            raise AmbiguousRemovalError(name, {with_kind(*one) for one in fits} - {name})
        found |= {with_kind(*one) for one in fits} or {name}
    return frozenset(found)


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


def stage_and_partition(shard: str) -> tuple[str, str]:
    """Return the (asset, partition) that shrank: documents of a file or group, or examples of a target."""
    target = target_of_place(shard)
    return (DOCUMENTS_STAGE.name, shard) if target is None else (EXAMPLES_STAGE.name, target)


def shrunken_to_allow(
    snapshot: ProjectSnapshot, current: CurrentValues, allowed: Collection[str]
) -> list[Shrunken]:
    """Return the losses that a name allows: that of the file, of its corpus, of the target, or `all`.

    A loss that was undone since is none to allow: the permission would wait for the next typo of its kind.
    """
    return [
        one
        for one in in_effect(snapshot, current)
        if _is_as_read(one, snapshot, current)
        and (ALL in allowed or any(allows(allowed, kind, *names) for kind, names in names_of(one, snapshot)))
    ]


def names_of(one: Shrunken, snapshot: ProjectSnapshot) -> list[tuple[str, tuple[str, ...]]]:
    """Return the names by which a loss of documents or examples is allowed, by kind."""
    if target := target_of_place(one.shard):
        return [(TARGET, (target,))]
    shard = snapshot.shards[one.shard]
    return [(FILE, (one.shard, shard.name)), (CORPUS, (shard.corpus,))]


def _is_as_read(one: Shrunken, snapshot: ProjectSnapshot, current: CurrentValues) -> bool:
    """Return whether the bytes of a file are those that were read; of a target its input key says it."""
    raw = current.get((RAW_STAGE.name, one.shard))
    as_read = raw is not None and raw.data_version == snapshot.fingerprints.get(one.shard)
    return as_read or target_of_place(one.shard) is not None


def in_effect(snapshot: ProjectSnapshot, current: CurrentValues) -> Iterator[Shrunken]:
    """Yield the losses of documents and examples that are held back as the files are now."""
    for key, one in sorted(snapshot.shrunken.items()):
        asset, partition = stage_and_partition(key)
        made_of = input_key(stages()[asset], partition, snapshot, current)
        if made_of is not None and snapshot.is_shrunken(asset, partition, made_of):
            yield one


class ShrinkageLimits:
    """The limits of what the files of one step may lose, asked file by file while the step reads them.

    At first every document that a file no longer has counts as lost. What passes a limit by that is read once
    more when all other files of the step are stored: from then on (`count_what_is_found`) a document that
    another file of the corpus has is not lost.
    """

    def __init__(self, store: Store, snapshot: ProjectSnapshot, current: CurrentValues) -> None:
        self.store, self.snapshot, self.current = store, snapshot, current
        self._before = store.version(OCCURRENCES.name)
        self._accepted: dict[str, list[Shrinkage]] = {}
        self._found: pl.DataFrame | None = None

    def are_passed_by(self, one: Shrinkage) -> bool:
        """Return whether a loss passes the limit of its file or, with the losses before it, of its corpus."""
        corpus = self.snapshot.shards[one.shard].corpus
        lost, accepted = self._lost(corpus, one), self._accepted.setdefault(corpus, [])
        emptied = not one.now and not mostly_found(lost, one.before)
        if emptied or too_few_left(one.shard, one.before, one.before - lost):
            return True
        total = lost + sum(self._lost(corpus, other) for other in accepted)
        if lost and total >= FEWEST_DOCUMENTS and lost_too_many_documents(total, self._sizes.get(corpus, 0)):
            return True
        accepted.append(one)
        return False

    def count_what_is_found(self, stored: Iterable[str]) -> None:
        """Count a document as found where another file has it; `stored`: shards that this step has read."""
        files = self.snapshot.files
        there = read_as_now(self.snapshot, self.current, read_small_files(self.store), files)
        there |= {file.key for key in stored for file in self.snapshot.shards[key].files}
        corpora = {key: files[key].corpus for key in there if key in files}
        places = document_places(self.store, ["shard"])
        places = places.filter(pl.col("shard").is_in([*corpora]))
        self._found = places.select(
            "doc_id", corpus=pl.col("shard").replace_strict(corpora, return_dtype=pl.String)
        ).unique()

    def _lost(self, corpus: str, one: Shrinkage) -> int:
        """Return how many documents a shard lost: as many others that replaced some of them do not count."""
        gone = one.doc_ids
        if self._found is not None:
            gone = gone.filter(~gone.is_in(self._found.filter(corpus=corpus)["doc_id"].implode()))
        return min(one.before - one.now, len(gone))

    @cached_property
    def _sizes(self) -> dict[str, int]:
        """Number of documents of each corpus before this step."""
        places = document_places(self.store, ["shard"], version=self._before or None)
        corpora = corpora_of(self.store, {*places["shard"]})
        named = places.with_columns(corpus=pl.col("shard").replace_strict(corpora, return_dtype=pl.String))
        return dict(named.group_by("corpus").agg(pl.col("doc_id").n_unique()).iter_rows())


def forget_found_again(
    store: Store, snapshot: ProjectSnapshot, current: CurrentValues, doc_ids: Collection[str]
) -> None:
    """Forget the notes on files whose lost documents may be among those that other files have brought.

    So these files are read again, and judged with what is known now. A permission stays.
    """
    held = [one.shard for one in in_effect(snapshot, current) if target_of_place(one.shard) is None]
    files = files_of(store, held)
    places = rows_of_files(store, OCCURRENCES.name, ["shard", "doc_id"], files["shard"].to_list())
    back = places.filter(pl.col("doc_id").is_in([*doc_ids])).join(files, on="shard")
    forget_shrunken(store, back["partition"].unique())


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
    elsewhere |= to_be_read_elsewhere(project.home, current, set(lost) - elsewhere, listed, small, expected)
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
    noted = {
        *store.read(ABSENT, ["shard"])["shard"],
        *store.read(SHRUNKEN, ["shard"], "NOT allowed")["shard"],
    }
    unmounted = _in_place(project, missing, leads_nowhere)
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
    return document_places(store, ["shard"]).unique().join(files, on="shard")


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


def _in_place(
    project: Project, corpus_of: Mapping[str, str], holds: Callable[[CorpusSection, Path, str], bool]
) -> set[str]:
    """Return the files for whose path below the folder of their corpus, as it was noted, `holds` is true."""
    noted = pl.concat([project.home.store.read(table, ["shard", "name"]) for table in NOTES])
    names: dict[str, str] = dict(noted.drop_nulls("name").iter_rows())
    corpora = {corpus.name: corpus for corpus in project.settings.corpus}
    return {
        key
        for key, corpus in corpus_of.items()
        if corpus in corpora and key in names and holds(corpora[corpus], project.root, names[key])
    }


def left_out(project: Project, files: Collection[str]) -> set[str]:
    """Return which of these files, no longer listed, are at their places: their sections leave them out."""
    return _in_place(project, corpora_of(project.home.store, files), is_left_out) if files else set()


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
    known = read_as_now(snapshot, current, read_small_files(snapshot.project.home.store), files)
    shrunken = {one.shard for one in in_effect(snapshot, current)}
    known |= {file.key for key in shrunken & snapshot.shards.keys() for file in snapshot.shards[key].files}
    return Counter(file.corpus for key, file in files.items() if key not in known)


def note_absent(store: Store, snapshot: ProjectSnapshot) -> None:
    """Note the files that are held back, and forget those that are back, of interrupted removals, too.

    To be called before new files are read, which would change the share that was lost.
    """
    noted = set(store.read(ABSENT, ["shard"])["shard"])
    now = datetime.now(UTC).replace(tzinfo=None)
    store.merge_values(
        ABSENT, [{"shard": key, "found_at": now} for key in sorted(snapshot.lost.keys() - noted)]
    )
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
