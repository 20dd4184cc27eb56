"""Intake: documents and quarantine of shards into the store, and the removal of what is left over.

The text goes in before the occurrence that names it, so a crash leaves at worst a text that nothing names;
the collection of orphans takes it away. Many shards share a commit, of 50,000 rows or 64 MB of text, so
1,000,000 documents cost 20 commits whether they come in 10 files or in 10,000.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from tamis.base.errors import PermanentError
from tamis.corpus.documents import ShardBatch
from tamis.corpus.known_ids import KnownIds
from tamis.corpus.records import WHOLE_SHARD
from tamis.corpus.refusing import NEAR_REPEATS, Refusal, refusal
from tamis.corpus.setting_aside import forget_shown
from tamis.store.digests import row_records, rows_digest
from tamis.store.records import records_of_groups
from tamis.store.retained import retain
from tamis.store.schemas import declaration, declared, schema_of
from tamis.store.tables import Store, one_of
from tamis.store.withdrawn import PLACES, note_places

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
    records: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    near_repeats: dict[str, str] = field(default_factory=dict)
    """Documents that differ from a withdrawn one in case or white space alone, with that."""
    error: Exception | None = None

    def metadata(self) -> dict[str, Any]:
        """Counts for the event log."""
        refused: dict[str, Any] = {"withdrawn": len(self.refused)} if self.refused else {}
        if self.near_repeats:
            refused[NEAR_REPEATS] = dict(sorted(self.near_repeats.items())[:MOST_NAMED])
        return refused | {
            "documents": len(self.doc_ids),
            "new_documents": self.new_documents,
            "skipped_short": self.skipped,
            "quarantined": sum(self.quarantined.values()),
        }


class ShardShrunkError(PermanentError):
    """A file lost most of the documents that it had; `bad_rows` counts unreadable rows by reason."""

    def __init__(self, shard: str, before: int, now: int, bad_rows: dict[str, int]) -> None:
        self.shard, self.before, self.now, self.bad_rows = shard, before, now, bad_rows
        super().__init__(
            f"shard {shard}: it now yields {now:,} documents and had {before:,}, which are kept; restore the "
            f"file, or allow the removal of the others: `tamis materialize --allow-removal {shard}`"
        )


def store_shards(
    store: Store,
    shards: Iterable[tuple[str, Iterable[ShardBatch]]],
    leave: tuple[type[Exception], ...] = (),
    too_few: Callable[[str, int, int], bool] = lambda shard, before, now: False,
) -> Iterator[list[Intake]]:
    """Store what was read of shards (texts, places, columns, quarantine), many in a commit; yields that.

    Texts that a shard no longer holds stay until orphans are collected: another one may bring them.
    A shard that raises one of `leave` is left as it was, with its error. When reading raises another one,
    what was read before is stored and handed on first. A shard is `too_few` where so few of the distinct
    documents that it had are left that it raises `ShardShrunkError`.
    """
    texts, barred = _Texts(store), refusal(store)
    places = store.read("occurrences", ["shard", "doc_id"])
    had = dict(places.group_by("shard").agg(pl.col("doc_id").n_unique()).iter_rows())
    group = _Group(barred)
    for shard, batches in shards:
        try:
            group.read(shard, batches, texts)
            if too_few(shard, had.get(shard, 0), now := group.documents_of(shard)):
                raise ShardShrunkError(shard, had[shard], now, group.bad_rows_of(shard))
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
            group = _Group(barred)
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
        first = documents.drop("content").unique("doc_id", keep="first", maintain_order=True)
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
        rows = _as_table(pl.concat(self.waiting).with_columns(now), "documents")
        self.store.append("documents", rows)
        self.records.append(row_records(rows, declaration("documents").key))
        self.new = pl.concat([self.new, pl.Series("doc_id", rows["doc_id"])])
        self.waiting, self.n_bytes = [], 0

    def records_of(self, groups: dict[str, list[str]]) -> dict[str, tuple[str, bytes]]:
        """Digest and rows file of the documents of each shard; those stored before are read back."""
        self.flush()
        ids = pl.Series([doc_id for some in groups.values() for doc_id in some], dtype=pl.String).unique()
        before = ids.filter(~ids.is_in(self.new.implode())).sort().to_list()
        stored = [
            row_records(block, declaration("documents").key)
            for block in self.store.by_ids("documents", before)
        ]
        found = records_of_groups([*self.records, *stored], groups)
        self.records, self.new = [], self.new.clear()
        return found


_OF_PLACES = ("occurrences", "kept_rows", "quarantine")


def kept_rows(documents: pl.DataFrame, heading: str | None) -> pl.DataFrame:
    """Return the rows (doc_id, row, content) that keep the columns of documents, and their heading."""
    rows = documents.select("doc_id", pl.col("row").cast(pl.Int64), "content").drop_nulls("content")
    if heading is None:
        return rows
    return pl.concat([rows, pl.DataFrame([("", WHOLE_SHARD, heading)], schema=rows.schema, orient="row")])


class _Group:
    """Shards whose occurrences, kept columns and quarantine share commits."""

    def __init__(self, barred: Refusal) -> None:
        self.barred = barred
        self.intakes: dict[str, Intake] = {}
        self.left: dict[str, Exception] = {}
        self.places: list[pl.DataFrame] = []
        self.frames: dict[str, dict[str, list[pl.DataFrame]]] = {table: {} for table in _OF_PLACES}
        self.rows, self.kept_bytes = 0, 0

    @property
    def full(self) -> bool:
        """Whether it is time to store what was read."""
        return self.rows >= GROUP_ROWS or self.kept_bytes >= KEPT_GROUP_BYTES

    def read(self, shard: str, batches: Iterable[ShardBatch], texts: _Texts) -> None:
        """Read all of a shard."""
        intake = self.intakes[shard] = Intake(shard=shard)
        of_shard = pl.lit(shard).alias("shard")
        for batch in batches:
            intake.skipped += batch.skipped
            documents, refused = self.barred.documents(batch.documents)
            documents, shown = self.barred.columns(documents)
            if len(kept := kept_rows(documents, batch.heading)):
                self.frames["kept_rows"].setdefault(shard, []).append(kept.with_columns(of_shard))
                self.kept_bytes += int(kept["content"].str.len_bytes().sum())
            quarantine, held = self.barred.quarantine(batch.quarantine)
            if len(documents):
                intake.new_documents += texts.add(documents)
                intake.near_repeats |= self.barred.near_repeats(documents)
                rows = documents.with_columns(of_shard).select(schema_of("occurrences").names)
                self.frames["occurrences"].setdefault(shard, []).append(rows)
                intake.occurrences += len(rows)
            if len(quarantine):
                bad = quarantine.with_columns(of_shard)
                self.frames["quarantine"].setdefault(shard, []).append(bad)
            places = pl.concat([refused, shown, held]).with_columns(of_shard, of_shard.alias("partition"))
            intake.refused.update(places["doc_id"])
            self.places.append(places)
            self.rows += len(batch.documents) + len(batch.quarantine)

    def documents_of(self, shard: str) -> int:
        """Return how many distinct documents a shard has that was read."""
        frames = self.frames["occurrences"].get(shard, [])
        return pl.concat(frames)["doc_id"].n_unique() if frames else 0

    def bad_rows_of(self, shard: str) -> dict[str, int]:
        """Return how many rows of a shard that was read go to quarantine, by reason."""
        bad = self.frames["quarantine"].get(shard, [])
        return dict(pl.concat(bad).group_by("reason").len().sort("reason").iter_rows()) if bad else {}

    def drop(self, shard: str) -> None:
        """Forget a shard that could not be read to its end."""
        self.intakes.pop(shard, None)
        for frames in self.frames.values():
            frames.pop(shard, None)

    def store(self, store: Store, texts: _Texts) -> list[Intake]:
        """Store all that was read, texts first; returns it, then what was left."""
        texts.flush()
        for table in self.frames:
            self._replace(store, table, list(self.intakes))
        self._note_refused(store)
        for shard, intake in self.intakes.items():
            frames = self.frames["occurrences"].get(shard, [])
            intake.doc_ids = sorted(pl.concat(frames)["doc_id"].unique()) if frames else []
            intake.quarantined = self.bad_rows_of(shard)
        found = texts.records_of({shard: intake.doc_ids for shard, intake in self.intakes.items()})
        for shard, intake in self.intakes.items():
            intake.records["documents"] = found[shard]
        left = [Intake(shard=shard, error=error) for shard, error in self.left.items()]
        return [*self.intakes.values(), *left]

    def _note_refused(self, store: Store) -> None:
        if self.places:
            found = pl.concat(self.places).filter(pl.col("shard").is_in(list(self.intakes)))
            note_places(store, "documents", list(self.intakes), found)

    def _replace(self, store: Store, table: str, shards: list[str]) -> None:
        """Make the rows of the shards exactly what was read, in one commit."""
        parts = {shard: _as_table(pl.concat(frames), table) for shard, frames in self.frames[table].items()}
        nothing = schema_of(table).empty_table()
        for shard, intake in self.intakes.items():
            intake.records[table] = rows_digest(
                [row_records(parts.get(shard, nothing), declaration(table).key)]
            )
        rows = pa.concat_tables([nothing, *parts.values()])
        scope = one_of("shard", shards)
        if not shards:
            return
        if store.count(table, scope):
            store.replace(table, rows, scope)
        elif rows.num_rows or not store.exists(table):
            store.append(table, rows)


def groups_of_shards(store: Store, shards: Sequence[str]) -> Iterator[dict[str, list[str]]]:
    """The shards in order with the documents of each, as many at a time as hold 50,000 places."""
    held = store.read("occurrences", ["shard"]).group_by("shard").len()
    places = dict(held.filter(pl.col("shard").is_in(list(shards))).iter_rows())
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
    found: dict[str, list[str]] = {shard: [] for shard in shards}
    for start in range(0, len(shards), SHARDS_A_FILTER):
        some = one_of("shard", shards[start : start + SHARDS_A_FILTER])
        rows = store.read("occurrences", ["shard", "doc_id"], some).unique().sort("doc_id")
        found |= dict(rows.group_by("shard", maintain_order=True).all().iter_rows())
    return found


def count_documents(
    store: Store, shards: Sequence[str], without: str | None = None, scope: str | None = None
) -> int:
    """Count the distinct documents in these shards; those with a row in a table are left out.

    `without`: that table; `scope`: a filter on its rows.
    """
    places = store.read("occurrences", ["doc_id", "shard"])
    ids = places.filter(pl.col("shard").is_in(list(shards))).select("doc_id").unique()
    if without is None or not store.exists(without):
        return len(ids)
    return len(ids.join(store.read(without, ["doc_id"], scope), on="doc_id", how="anti"))


def remove_shards(store: Store, shards: Sequence[str]) -> None:
    """Forget the places in shards that are gone; documents without another place are orphans then."""
    for start in range(0, len(shards), SHARDS_A_FILTER):
        scope = one_of("shard", shards[start : start + SHARDS_A_FILTER])
        for table in _OF_PLACES:
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
    for table in _document_tables(store):
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
    texts: dict[str, str] = {}
    for block in store.by_ids("documents", doc_ids, ["doc_id", "text"]):
        texts.update(zip(block["doc_id"].to_pylist(), block["text"].to_pylist(), strict=True))
    return texts


def _document_tables(store: Store) -> list[str]:
    """Tables with a row a document, those that exist; the texts themselves last."""
    names = [name for name in store.names() if (known := declared(name)) and known.per_document]
    return sorted(names, key=lambda name: (name == "documents", name))


def _as_table(frame: pl.DataFrame, table: str) -> pa.Table:
    schema = schema_of(table)
    return frame.select(schema.names).to_arrow().cast(schema)
