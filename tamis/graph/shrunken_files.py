"""Files that have fewer documents than they had, and which of these losses are held back.

Neither a file nor its corpus may lose too much. That is judged once all other files of a step are stored:
what was split off, or moved to another file of the corpus, is no loss. Nor may a target lose too many
examples.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cached_property

import polars as pl

from tamis.corpus.intake import Shrinkage
from tamis.corpus.small_files import files_of, read_small_files, rows_of_files
from tamis.corpus.sources import corpora_of
from tamis.corpus.stage import DOCUMENTS_STAGE, EXAMPLES_STAGE, OCCURRENCES, RAW_STAGE
from tamis.corpus.targets import target_of_place
from tamis.graph.loss_limits import (
    FEWEST_DOCUMENTS,
    lost_too_many_documents,
    mostly_found,
    too_few_left,
)
from tamis.graph.moved_files import read_as_now
from tamis.graph.plan import input_key
from tamis.graph.removal_names import ALL, CORPUS, FILE, TARGET, allows
from tamis.graph.snapshot import ProjectSnapshot, Shrunken
from tamis.graph.stages import stages
from tamis.records.attempts import delete_listed
from tamis.records.current_values import CurrentValues
from tamis.store.schemas import schema_of
from tamis.store.tables import Store

SHRUNKEN = "shrunken_files"


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
    if target_of_place(one.shard):
        return True
    raw = current.get((RAW_STAGE.name, one.shard))
    return raw is not None and raw.data_version == snapshot.fingerprints.get(one.shard)


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
        places = self.store.read(OCCURRENCES.name, ["shard", "doc_id"])
        places = places.filter(pl.col("shard").is_in([*corpora]))
        named = pl.col("shard").replace_strict(corpora, return_dtype=pl.String)
        self._found = places.select(named.alias("corpus"), "doc_id").unique()

    def _lost(self, corpus: str, one: Shrinkage) -> int:
        """Return how many documents a shard lost: as many others that replaced some of them do not count."""
        gone = one.doc_ids
        if self._found is not None:
            found = self._found.filter(pl.col("corpus") == corpus)["doc_id"]
            gone = gone.filter(~gone.is_in(found.implode()))
        return min(one.before - one.now, len(gone))

    @cached_property
    def _sizes(self) -> dict[str, int]:
        """Number of documents of each corpus before this step."""
        places = self.store.read(OCCURRENCES.name, ["shard", "doc_id"], version=self._before or None)
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
