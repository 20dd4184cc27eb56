"""Intake: documents and quarantine of shards into the store, and the removal of what is left over.

The text goes in before the occurrence that names it, so a crash leaves at worst a text that nothing names;
the collection of orphans takes it away. Many shards share a commit, of 50,000 rows or 64 MB of text, so
1,000,000 documents cost 20 commits whether they come in 10 files or in 10,000.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from tamis.base.errors import PermanentError
from tamis.base.threads import Behind
from tamis.corpus.documents import ShardBatch
from tamis.corpus.quarantine import forget_shown, lost_rows, rows_before, with_lost_rows
from tamis.corpus.refusing import NEAR_REPEATS, KnownIds, Refusal, heading_without, refusal
from tamis.corpus.shards import is_group_key, number_of_documents
from tamis.corpus.small_files import (
    OF_PLACES,
    GroupIntake,
    files_of,
    forget_small_files,
    rows_of_files,
)
from tamis.corpus.small_files import TABLE as GROUPED_FILES
from tamis.passages.places import DOCUMENT, PARENT, document_places
from tamis.readers.rows import LEFT_OUT, WHOLE_SHARD
from tamis.store.digests import row_records, rows_digest
from tamis.store.retained import retain
from tamis.store.rows_files import records_of_groups
from tamis.store.schemas import as_declared, declaration, declared, schema_of
from tamis.store.tables import Store, one_of
from tamis.store.withdrawn import PLACES, note_cut_out, note_places

GROUP_ROWS, GROUP_BYTES, KEPT_GROUP_BYTES = 50_000, 64_000_000, 64_000_000
SHARDS_A_FILTER = 500
MOST_NAMED = 100
"""Near repeats of withdrawn texts that an event names: it is no table."""


@dataclass(kw_only=True)
class Intake:
    """The intake of one shard: `refused` are ids of withdrawn documents in it, `records` the digest and the
    rows file of its rows in each table.
    """

    shard: str
    doc_ids: list[str] = field(default_factory=list)
    occurrences: int = 0
    new_documents: int = 0
    skipped: int = 0
    quarantined: dict[str, int] = field(default_factory=dict)
    odd_values: int = 0
    left_out: int = 0
    """Records of a web archive that are no page."""
    records: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    near_repeats: dict[str, str] = field(default_factory=dict)
    """Documents that differ from a withdrawn one in case or white space alone, with that."""
    error: Exception | None = None
    files: int | None = None
    """Of a group: how many files were read, the others being as they were."""

    def metadata(self) -> dict[str, Any]:
        """Counts for the event log."""
        refused: dict[str, Any] = {"withdrawn": len(self.refused)} if self.refused else {}
        if self.near_repeats:
            refused[NEAR_REPEATS] = dict(sorted(self.near_repeats.items())[:MOST_NAMED])
        return (
            refused
            | ({} if self.files is None else {"files_read": self.files})
            | ({"odd_values": self.odd_values} if self.odd_values else {})
            | ({"records_left_out": self.left_out} if self.left_out else {})
            | {
                "documents": len(self.doc_ids),
                "new_documents": self.new_documents,
                "skipped_short": self.skipped,
                "quarantined": sum(self.quarantined.values()),
            }
        )


@dataclass(frozen=True, kw_only=True)
class Shrinkage:
    """A shard that has fewer documents than it had; of a group, fewer files with a document.

    `before` and `now` count these; `doc_ids`: documents that the shard no longer has, of a group those of the
    files that have none.
    """

    shard: str
    before: int
    now: int
    doc_ids: pl.Series


class ShardShrunkError(PermanentError):
    """A file lost too many of the documents that it had, or a group of its files with a document.

    `before` and `now` count these, `bad_rows` unreadable rows by reason.
    """

    def __init__(self, shard: str, before: int, now: int, bad_rows: dict[str, int]) -> None:
        self.shard, self.before, self.now, self.bad_rows = shard, before, now, bad_rows
        # With the kind, since what else is held back under a name is not known here.
        super().__init__(
            f"{number_of_documents(shard)} fell from {before:,} to {now:,}, so the documents stored earlier "
            f"are kept. Restore the {'files' if is_group_key(shard) else 'file'}, or, to remove the missing "
            f"documents, run `tamis materialize --allow-removal file:{shard}`"
        )


def store_shards(
    store: Store,
    shards: Iterable[tuple[str, Iterable[ShardBatch]]],
    leave: tuple[type[Exception], ...] = (),
    too_few: Callable[[Shrinkage], bool] = lambda shrinkage: False,
    group_of: Callable[[str], GroupIntake | None] = lambda shard: None,
) -> Iterator[list[Intake]]:
    """Store what was read of shards (texts, places, columns, quarantine), many in a commit; yields that.

    Texts that a shard no longer holds stay until orphans are collected: another one may bring them.
    A shard that raises one of `leave` is left as it was, with its error. When reading raises another one,
    what was read before is stored and handed on first. `too_few`: whether a shard that has fewer documents
    than it had raises `ShardShrunkError`.
    `group_of`: how a group is taken in, whose batches hold the files that are read.
    """
    texts, barred = _Texts(store), refusal(store)
    rows = rows_before(store)
    # What was lost is counted in documents: another limit for passages loses nothing.
    places = document_places(store, ["shard"]).unique()
    had = dict(places.group_by("shard").len().iter_rows())
    group = _Group(barred, rows)
    for shard, batches in shards:
        try:
            group.read(shard, batches, texts, group_of(shard))
            before, now = group.left_of(shard, had)
            if now < before and too_few(group.shrinkage(shard, before, now, places)):
                raise ShardShrunkError(shard, before, now, group.bad_rows_of(shard))
        except leave as error:
            group.drop(shard)
            group.left[shard] = error
        except Exception:
            group.drop(shard)
            if group.intakes or group.left:
                yield group.store(store, texts)
            raise
        if group.full:
            yield group.store(store, texts)
            group = _Group(barred, rows)
    if group.intakes or group.left:
        yield group.store(store, texts)


class _Texts:
    """Documents on their way into the store: each text once, in large commits."""

    def __init__(self, store: Store) -> None:
        self.store, self.known = store, KnownIds(store.read("documents", ["doc_id"])["doc_id"])
        self.waiting: list[pl.DataFrame] = []
        self.n_bytes = 0
        self.records: list[np.ndarray] = []
        self.new = pl.Series("doc_id", [], pl.String)

    def add(self, documents: pl.DataFrame) -> int:
        """Take the documents that are not there yet; returns how many that were."""
        first = documents.drop("content", "shard", strict=False).unique(
            "doc_id", keep="first", maintain_order=True
        )
        fresh = first.filter(~self.known.among(first["doc_id"]))
        self.known.add(fresh["doc_id"])
        self.waiting.append(fresh)
        self.n_bytes += int(fresh["n_bytes"].sum())
        if self.n_bytes >= GROUP_BYTES:
            self.flush()
        return len(fresh)

    def flush(self) -> None:
        """Store what waits."""
        if not (self.waiting and sum(map(len, self.waiting))):
            return
        now = pl.lit(datetime.now(UTC).replace(tzinfo=None)).alias("first_seen")
        rows = as_declared("documents", pl.concat(self.waiting).with_columns(now))
        with Behind() as behind:
            behind.do(self.store.append, "documents", rows)
            records = row_records(rows, declaration("documents").key)
        self.records.append(records)
        self.new = pl.concat([self.new, pl.Series("doc_id", rows["doc_id"])])
        self.waiting, self.n_bytes = [], 0

    def records_of(self, groups: dict[str, list[str]]) -> dict[str, tuple[str, bytes]]:
        """Digest and rows file of the documents of each shard; those stored before are read back."""
        self.flush()
        ids = pl.Series([doc_id for some in groups.values() for doc_id in some], dtype=pl.String).unique()
        before = ids.filter(~ids.is_in(self.new.implode())).sort().to_list()
        self.records += [
            row_records(block, declaration("documents").key)
            for block in self.store.by_ids("documents", before)
        ]
        found = records_of_groups(self.records, groups)
        self.records, self.new = [], self.new.clear()
        return found


def kept_rows(documents: pl.DataFrame, heading: str | None) -> pl.DataFrame:
    """Return the rows (doc_id, row, content) that keep the columns of documents, and their heading."""
    rows = documents.select(DOCUMENT, pl.col("row").cast(pl.Int64), "content").drop_nulls("content")
    if heading is None:
        return rows
    return pl.concat([rows, pl.DataFrame([("", WHOLE_SHARD, heading)], schema=rows.schema, orient="row")])


def _with_contents(documents: pl.DataFrame, read: pl.DataFrame) -> pl.DataFrame:
    """Return documents, of which the first of each row has the content that the row had as it was read."""
    contents = read.select("row", "content").drop_nulls("content")
    joined = documents.drop("content").join(contents, on="row", how="left", maintain_order="left")
    first = pl.when(pl.col("row").is_first_distinct()).then("content").alias("content")
    return joined.with_columns(first).select(documents.columns)


class _Group:
    """Shards whose occurrences, kept columns and quarantine share commits."""

    def __init__(self, barred: Refusal, rows_before: Mapping[str, int]) -> None:
        self.barred, self.rows_before = barred, rows_before
        self.intakes: dict[str, Intake] = {}
        self.groups: dict[str, GroupIntake] = {}
        self.left: dict[str, Exception] = {}
        self.places: list[pl.DataFrame] = []
        self.cut_out: list[pl.DataFrame] = []
        self.frames: dict[str, dict[str, list[pl.DataFrame]]] = {table: {} for table in OF_PLACES}
        self.rows, self.kept_bytes = 0, 0

    @property
    def full(self) -> bool:
        """Return whether it is time to store what was read."""
        return self.rows >= GROUP_ROWS or self.kept_bytes >= KEPT_GROUP_BYTES

    def read(
        self, shard: str, batches: Iterable[ShardBatch], texts: _Texts, group: GroupIntake | None = None
    ) -> None:
        """Read all of a shard, of a group the files that are to be read."""
        intake = self.intakes[shard] = Intake(shard=shard)
        if group is not None:
            self.groups[shard], intake.files = group, len(group.read)
            intake.refused.update(group.kept.refused)
        of_shard = pl.lit(shard).alias("shard")
        rows_read = 0
        for batch in batches:
            intake.skipped += batch.skipped
            intake.odd_values += sum(count for key, count in batch.odd.items() if key[0] != LEFT_OUT)
            intake.left_out += sum(count for key, count in batch.odd.items() if key[0] == LEFT_OUT)
            documents, refused = self.barred.documents(batch.documents)
            if len(refused):
                self.cut_out.append(self.barred.cut_out(batch.documents))
            if len(refused) and len(documents[PARENT].drop_nulls()):
                documents = _with_contents(documents, batch.documents)
            if group is None:
                documents, shown = self.barred.columns(documents)
            else:  # a file of one text has no other columns
                shown = refused.clear()
            heading, named = self._heading(batch.heading)
            if len(kept := kept_rows(documents, heading)):
                self.frames["kept_rows"].setdefault(shard, []).append(kept.with_columns(of_shard))
                self.kept_bytes += int(kept["content"].str.len_bytes().sum())
            quarantine, held = self.barred.quarantine(batch.quarantine)
            if len(documents):
                intake.new_documents += texts.add(documents)
                intake.near_repeats |= self.barred.near_repeats(documents)
                rows = _named(documents, of_shard).select(schema_of("occurrences").names)
                self.frames["occurrences"].setdefault(shard, []).append(rows)
                intake.occurrences += len(rows)
                rows_read += rows.select("shard", "row").n_unique()
            if len(quarantine):
                self.frames["quarantine"].setdefault(shard, []).append(_named(quarantine, of_shard))
            found = [_named(places, of_shard) for places in (refused, shown, held, named)]
            places = pl.concat(found, how="diagonal").with_columns(of_shard.alias("partition"))
            intake.refused.update(places["doc_id"])
            self.places.append(places)
            self.rows += len(batch.documents) + len(batch.quarantine)
        lost = self.frames["quarantine"].get(shard)
        if lost is not None and shard in self.rows_before:
            lost[:] = [with_lost_rows(pl.concat(lost), self.rows_before[shard], rows_read + intake.skipped)]

    def _heading(self, heading: str | None) -> tuple[str | None, pl.DataFrame]:
        """Return a heading without withdrawn names of columns, and the places (row, doc_id) of these."""
        known = frozenset(self.barred.doc_ids) if heading else frozenset[str]()
        cleared, doc_ids = heading_without(heading, known) if heading and known else (heading, [])
        return cleared, pl.DataFrame(
            {"row": [WHOLE_SHARD] * len(doc_ids), "doc_id": doc_ids},
            schema={"row": pl.Int64, "doc_id": pl.String},
        )

    def left_of(self, shard: str, had: Mapping[str, int]) -> tuple[int, int]:
        """Return how many documents a shard had and has, of a group how many of its files had and have any.

        `had`: distinct documents that are stored, by the key of the file.
        """
        rows = self._places_of(shard)
        if (group := self.groups.get(shard)) is None:
            return had.get(shard, 0), rows["doc_id"].n_unique()
        with_documents = set(rows["shard"])
        emptied = sum(file.key in had and file.key not in with_documents for file in group.read)
        before = sum(file.key in had for file in group.group.members)
        return before, before - emptied

    def shrinkage(self, shard: str, before: int, now: int, places: pl.DataFrame) -> Shrinkage:
        """Return what a shard lost; `places`: shard and doc_id of all that was stored."""
        rows, group = self._places_of(shard), self.groups.get(shard)
        if group is None:
            own = places.filter(pl.col("shard") == shard).join(rows, on="doc_id", how="anti")
        else:
            emptied = {file.key for file in group.read}.difference(rows["shard"])
            own = places.filter(pl.col("shard").is_in([*emptied]))
        return Shrinkage(shard=shard, before=before, now=now, doc_ids=own["doc_id"].unique())

    def _places_of(self, shard: str) -> pl.DataFrame:
        """Return shard and doc_id of the documents of a shard that was read; of passages, of the whole."""
        frames = [frame.select("shard", DOCUMENT) for frame in self.frames["occurrences"].get(shard, ())]
        return pl.concat([pl.DataFrame(schema={"shard": pl.String, "doc_id": pl.String}), *frames])

    def bad_rows_of(self, shard: str) -> dict[str, int]:
        """Return how many rows of a shard that was read go to quarantine, by reason."""
        bad = self.frames["quarantine"].get(shard, [])
        return (
            dict(pl.concat(bad).group_by("reason").agg(lost_rows()).sort("reason").iter_rows()) if bad else {}
        )

    def drop(self, shard: str) -> None:
        """Forget a shard that could not be read to its end."""
        self.intakes.pop(shard, None)
        self.groups.pop(shard, None)
        for frames in self.frames.values():
            frames.pop(shard, None)

    def store(self, store: Store, texts: _Texts) -> list[Intake]:
        """Store all that was read, texts first; returns it, then what was left."""
        texts.flush()
        if self.cut_out:
            note_cut_out(store, pl.concat(self.cut_out))
        for table in self.frames:
            self._replace(store, table)
        if self.places:
            refused = pl.concat(self.places).filter(pl.col("partition").is_in(list(self.intakes)))
            note_places(store, "documents", self._files, refused, of="shard")
        for shard, intake in self.intakes.items():
            frames = self.frames["occurrences"].get(shard, [])
            intake.doc_ids = sorted(pl.concat(frames)["doc_id"].unique()) if frames else []
            intake.quarantined = self.bad_rows_of(shard)
        for shard, group in self.groups.items():
            self._add_kept(store, self.intakes[shard], group)
        self._note_files(store)
        doc_ids = {shard: intake.doc_ids for shard, intake in self.intakes.items()}
        for shard, records in texts.records_of(doc_ids).items():
            self.intakes[shard].records["documents"] = records
        return [
            *self.intakes.values(),
            *(Intake(shard=shard, error=error) for shard, error in self.left.items()),
        ]

    @property
    def _files(self) -> list[str]:
        """Keys of the files that were read: a shard itself, or those that were read of a group."""
        grouped = (file.key for group in self.groups.values() for file in group.read)
        return [*(shard for shard in self.intakes if shard not in self.groups), *grouped]

    def _add_kept(self, store: Store, intake: Intake, group: GroupIntake) -> None:
        """Add what is kept of a group to what was read of it."""
        kept = group.kept
        intake.doc_ids = sorted({*intake.doc_ids, *kept.doc_ids})
        intake.occurrences += kept.occurrences
        intake.quarantined |= {
            reason: intake.quarantined.get(reason, 0) + count for reason, count in kept.quarantined.items()
        }
        if self.barred.loose_ids:
            for block in store.by_ids("documents", list(kept.doc_ids), ["doc_id", "text"]):
                intake.near_repeats |= self.barred.near_repeats(pl.DataFrame(pl.from_arrow(block)))

    def _note_files(self, store: Store) -> None:
        """Note the files of groups as they are stored now; forget files that are shards of their own."""
        counted = [
            frame.select("shard")
            for table in ("occurrences", "quarantine")
            for shard in self.groups
            for frame in self.frames[table].get(shard, [])
        ]
        if self.places:
            counted.append(pl.concat(self.places).unique(["shard", "row"]).select("shard"))
        counts = pl.concat([pl.DataFrame(schema={"shard": pl.String}), *counted]).group_by("shard").len()
        rows: dict[str, int] = dict(counts.iter_rows())
        notes = [group.notes(rows) for group in self.groups.values()]
        if sum(map(len, notes)):
            store.put(GROUPED_FILES, pl.concat(notes))
        former = (key for group in self.groups.values() for key in group.former)
        forget_small_files(store, [*former, *(shard for shard in self.intakes if shard not in self.groups)])

    def _replace(self, store: Store, table: str) -> None:
        """Make the rows of the files that were read exactly these, in one commit."""
        parts = {shard: as_declared(table, pl.concat(frames)) for shard, frames in self.frames[table].items()}
        nothing = schema_of(table).empty_table()
        for shard, intake in self.intakes.items():
            records = [row_records(parts.get(shard, nothing), declaration(table).key)]
            if shard in self.groups:
                records.append(self.groups[shard].kept.records[table])
            intake.records[table] = rows_digest(records)
        rows = pa.concat_tables([nothing, *parts.values()])
        if not (files := self._files):
            return
        scope = one_of("shard", files)
        if store.count(table, scope):
            store.replace(table, rows, scope)
        elif rows.num_rows or not store.exists(table):
            store.append(table, rows)


def _named(rows: pl.DataFrame, of_shard: pl.Expr) -> pl.DataFrame:
    """The rows with the key of their file: the shard itself, unless a batch of many files says it."""
    return rows if "shard" in rows.columns else rows.with_columns(of_shard)


def groups_of_shards(store: Store, shards: Sequence[str]) -> Iterator[dict[str, list[str]]]:
    """The shards in order with the documents of each, as many at a time as hold 50,000 places."""
    held = store.read("occurrences", ["shard"]).join(files_of(store, shards), on="shard")
    places = dict(held.group_by("partition").len().iter_rows())
    group: list[str] = []
    rows = 0
    for shard in shards:
        if group and rows + places.get(shard, 0) > GROUP_ROWS:
            yield documents_of_shards(store, group)
            group, rows = [], 0
        group.append(shard)
        rows += places.get(shard, 0)
    if group:
        yield documents_of_shards(store, group)


def documents_of_shards(store: Store, shards: Sequence[str]) -> dict[str, list[str]]:
    """Distinct documents of each of these shards, sorted."""
    files = files_of(store, shards)
    rows = (
        rows_of_files(store, "occurrences", ["shard", "doc_id"], files["shard"].to_list())
        .join(files, on="shard")
        .select("partition", "doc_id")
        .unique()
        .sort("doc_id")
    )
    found: dict[str, list[str]] = {shard: [] for shard in shards}
    return found | dict(rows.group_by("partition", maintain_order=True).all().iter_rows())


def count_documents(
    store: Store, shards: Sequence[str], without: str | None = None, scope: str | None = None
) -> int:
    """Count the distinct documents in these shards; those with a row in a table are left out.

    `without`: that table; `scope`: a filter on its rows.
    """
    ids = (
        store.read("occurrences", ["doc_id", "shard"])
        .join(files_of(store, shards), on="shard", how="semi")
        .select("doc_id")
        .unique()
    )
    if without is None or not store.exists(without):
        return len(ids)
    return len(ids.join(store.read(without, ["doc_id"], scope), on="doc_id", how="anti"))


def remove_shards(store: Store, shards: Sequence[str]) -> None:
    """Forget the places in shards, or files of groups, that are gone.

    Documents without another place are orphans then.
    """
    for start in range(0, len(shards), SHARDS_A_FILTER):
        scope = one_of("shard", shards[start : start + SHARDS_A_FILTER])
        for table in OF_PLACES:
            store.delete(table, scope)
        forget_shown(store, shards[start : start + SHARDS_A_FILTER])
        store.delete(PLACES, f"asset = 'documents' AND {scope}")


def find_orphans(store: Store) -> dict[str, list[str]]:
    """Documents that no shard holds, by each table that has rows of them; `documents` comes last.

    A collection that was cut short is seen there.
    """
    held = store.read("occurrences", ["doc_id"]).unique()
    if not len(store.read("documents", ["doc_id"]).join(held, on="doc_id", how="anti")):
        return {}
    found = {}
    names = [name for name in store.names() if (known := declared(name)) and known.per_document]
    for table in sorted(names, key=lambda name: (name == "documents", name)):
        ids = store.read(table, ["doc_id"]).unique()
        if len(orphans := ids.join(held, on="doc_id", how="anti")["doc_id"]):
            found[table] = orphans.to_list()
    return found


def delete_orphans(store: Store, orphans: dict[str, list[str]], retained_days: int) -> None:
    """Delete what `find_orphans` found, in its order; rows that are expensive to compute are retained.

    With `retained_days` 0 only the answers of a judge's server are.
    """
    for table, doc_ids in orphans.items():
        retain(store, table, doc_ids, local=retained_days > 0)
        for start in range(0, len(doc_ids), 1_000):
            store.delete(table, one_of("doc_id", doc_ids[start : start + 1_000]))


def texts_of(store: Store, doc_ids: Sequence[str]) -> dict[str, str]:
    """Texts of documents by id, those that are stored."""
    return {
        doc_id: text
        for block in store.by_ids("documents", doc_ids, ["doc_id", "text"])
        for doc_id, text in zip(block["doc_id"].to_pylist(), block["text"].to_pylist(), strict=True)
    }
