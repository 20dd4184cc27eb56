"""Retained rows: vectors, answers and scores of documents that left, kept for when their text comes back.

The row of a table moves to `retained_<table>`, so no reader of the table sees it. It is copied before it is
deleted, and put back before it leaves the retained table, so a killed run loses nothing and repeating either
move changes nothing. Rows that were computed here expire; answers of a judge's server stay until they are
purged.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

import polars as pl
import pyarrow as pa

from tamis.base.numbers import counted
from tamis.store.columns import BY_SERVER, LEFT_AT, vector
from tamis.store.digests import SEAL, broken_seals, unsealed
from tamis.store.erasing import forget_versions, require_tried_version
from tamis.store.places import last_arrival, names_of_files, names_of_folders, remove_named
from tamis.store.schemas import RETAINED, declared
from tamis.store.tables import ASIDE, DamagedTableError, Store, one_of, quoted

IDS_A_FILTER = 1_000


@dataclass(frozen=True, kw_only=True)
class Retained:
    """How many rows are retained: vectors, answers and scores computed here, answers of a judge's server."""

    vectors: int = 0
    scores: int = 0
    server_answers: int = 0

    def to_json(self) -> dict[str, int]:
        """Return the counts as JSON values."""
        return asdict(self)

    def line(self, days: int) -> str:
        """Return the counts for a person, "" when nothing is retained; `days` they are kept."""
        local = [
            counted(count, name)
            for count, name in ((self.vectors, "vector"), (self.scores, "score"))
            if count
        ]
        how_long = f"for {days} day{'' if days == 1 else 's'}" if days else "until the next run"
        parts = [f"{' and '.join(local)} {how_long} ([retention])"] if local else []
        if count := self.server_answers:
            parts.append(f"{counted(count, 'answer')} of a judge's server until `tamis purge --answers`")
        return f"retained from removed documents: {', '.join(parts)}" if parts else ""


def retained_tables(store: Store) -> list[str]:
    """Return the names of the tables of retained rows that exist."""
    return [name for name in store.names() if name.startswith(RETAINED)]


def retain(store: Store, table: str, doc_ids: Sequence[str], *, local: bool = True) -> None:
    """Copy the rows of documents to the retained table, where rows of this kind are worth it.

    `local` False: only the answers of a judge's server. The caller deletes or replaces the rows afterwards.
    """
    known = declared(table)
    if known is None or not known.retained or not store.exists(table):
        return
    answers = BY_SERVER.name in store.schema(table).names
    if not (local or answers):
        return
    now = datetime.now(UTC).replace(tzinfo=None)
    for block in store.by_ids(table, doc_ids):
        rows = block if local else block.filter(block[BY_SERVER.name])
        if rows.num_rows:
            _keep(store, table, rows, now)


def _keep(store: Store, table: str, rows: pa.Table, left_at: datetime) -> None:
    column = pa.array([left_at] * rows.num_rows, LEFT_AT.type)
    store.merge(f"{RETAINED}{table}", rows.append_column(LEFT_AT, column))


def take_back(store: Store, table: str, doc_ids: Sequence[str], fingerprint: str) -> int:
    """Put retained rows of these documents back into the table; return how many it did not have.

    Only rows that `fingerprint` computed: others would be of another model. A row of the table with the same
    fingerprint stays, and one that was altered while it was retained is not used.
    """
    retained, scope = f"{RETAINED}{table}", f"fingerprint = {quoted(fingerprint)}"
    if not doc_ids or not store.count(retained, scope):
        return 0
    wanted = pl.Series(doc_ids, dtype=pl.String).implode()
    there = store.read(table, ["doc_id"], scope)["doc_id"].implode() if store.exists(table) else None
    found: list[str] = []
    put_back = 0
    for batch in store.batches(retained, [*store.schema(retained).names, SEAL], scope):
        rows = pa.Table.from_batches([batch])
        altered = broken_seals(rows)["doc_id"].implode()
        ids = pl.Series("doc_id", rows["doc_id"])
        rows = rows.filter((ids.is_in(wanted) & ~ids.is_in(altered)).to_arrow())
        found += rows["doc_id"].to_pylist()
        if there is not None:
            rows = rows.filter((~pl.Series(rows["doc_id"]).is_in(there)).to_arrow())
        if rows.num_rows:
            retain(store, table, rows["doc_id"].to_pylist(), local=False)
            store.merge(table, rows.drop_columns([LEFT_AT.name, SEAL]))
            put_back += rows.num_rows
    for start in range(0, len(found), IDS_A_FILTER):
        store.delete(retained, f"{scope} AND {one_of('doc_id', found[start : start + IDS_A_FILTER])}")
    return put_back


def retained_ids(store: Store) -> set[str]:
    """Return the documents of which anything is retained."""
    return {doc_id for table in retained_tables(store) for doc_id in store.read(table, ["doc_id"])["doc_id"]}


def collect_expired(store: Store, days: int) -> int:
    """Delete the rows computed here whose documents left at least `days` days ago; return how many."""
    limit = datetime.now(UTC).replace(tzinfo=None) - timedelta(days=days)
    expired = f"{LEFT_AT.name} <= timestamp '{limit.isoformat(sep=' ')}'"
    return sum(
        store.delete(table, f"{expired} AND {_by_server(store, table)} IS NOT TRUE")
        for table in retained_tables(store)
    )


def purge_answers(store: Store) -> int:
    """Delete all retained answers of a judge's server, earlier versions included; return how many."""
    require_tried_version()
    purged = 0
    for table in retained_tables(store):
        if deleted := store.delete(table, f"{_by_server(store, table)} IS TRUE"):
            forget_versions(store, table)
            purged += deleted
    return purged


def count_retained(store: Store) -> Retained:
    """Count the retained rows; reads no row."""
    vectors = scores = server_answers = 0
    for table in retained_tables(store):
        count = store.count(table)
        paid = store.count(table, f"{_by_server(store, table)} IS TRUE") if count else 0
        server_answers += paid
        if (known := declared(table)) and vector in known.columns:
            vectors += count
        else:
            scores += count - paid
    return Retained(vectors=vectors, scores=scores, server_answers=server_answers)


def _by_server(store: Store, table: str) -> str:
    """Return the filter expression of rows that a judge's server gave."""
    return BY_SERVER.name if BY_SERVER.name in store.schema(table).names else "false"


def salvage(store: Store, table: str) -> str:
    """Retain the readable rows of a damaged table, move its files aside, and return a line for a person.

    The caller holds the writer's lock. Rows are retained before anything is moved: a killed run repeats it.
    """
    count = 0
    for rows in _readable(store, table):
        _keep(store, table, rows, datetime.now(UTC).replace(tzinfo=None))
        count += rows.num_rows
    aside = store.move_aside(table)
    return (
        f"table {table} cannot be read; {count:,} of its answers were saved and will be used again, and the "
        f"damaged files were moved to lance/{aside} in the home: they may contain answers that were paid for"
    )


def sweep_unmade(store: Store, patience_seconds: float) -> list[str]:
    """Remove the data of tables that have no version; return a line for a person where it is not removed.

    Mostly, to make such a table or to remove it was cut short. It may also be a backup that is being copied
    back, so nothing happens where a file came within the last `patience_seconds`. Answers that were paid for
    and decisions of people are moved aside: a new table of this name would not name the files, and so lose
    them. A withdrawal removes all of it at once (`files_of_no_version`). The caller holds the writer's lock.
    """
    lines = []
    for table in store.unmade():
        data, known = f"{table}.lance/data", declared(table)
        names = names_of_files(store.folder, data)
        if not names or time.time() - last_arrival(store.folder, f"{table}.lance") <= patience_seconds:
            continue
        if known and (known.paid or known.decided):
            aside = store.move_aside(table)
            lines.append(
                f"table {table} has files of data but no version, so it cannot be read; its files, which may "
                f"contain answers that were paid for or decisions of people, were moved to lance/{aside} in "
                f"the home: to have the table back, restore all of lance/{table}.lance from a backup"
            )
        else:
            remove_named(store.folder, [f"{data}/{name}" for name in names])
    return lines


def aside_lines(store: Store) -> list[str]:
    """Return what a withdrawal does not reach, for a person: rows of numbers in files that cannot be read."""
    return [
        f"lance/{ASIDE}/{name}, files of a damaged table that were moved aside, may hold scores of withdrawn "
        "documents under their ids, but no text; delete this folder once no answer in it is worth saving"
        for name in names_of_folders(store.folder, ASIDE)
    ]


def _readable(store: Store, table: str) -> Iterator[pa.Table]:
    """Yield the rows that can be read and were not altered: around a damaged file, by halves."""
    try:
        names = store.open(table).schema.names
        spans = [(0, store.count(table))]
    except DamagedTableError:
        return
    while spans:
        first, end = spans.pop()
        try:
            blocks = list(store.batches(table, names, span=(first, end))) if first < end else []
        except DamagedTableError:
            middle = (first + end) // 2
            spans += [(first, middle), (middle, end)] if end - first > 1 else []
            continue
        for block in blocks:
            yield _unaltered(pa.Table.from_batches([block]))


def _unaltered(rows: pa.Table) -> pa.Table:
    if SEAL not in rows.schema.names:
        return rows
    altered = set(broken_seals(rows)["doc_id"])
    return unsealed(rows.filter(pa.array([doc_id not in altered for doc_id in rows["doc_id"].to_pylist()])))
