"""Rows files of what the store holds: the same function when a value is recorded and when it is audited."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

import numpy as np
import pyarrow as pa

from tamis.base.threads import in_threads
from tamis.store.digests import KEY_BYTES, RECORD_BYTES, hashed_columns, row_records, rows_digest
from tamis.store.schemas import declaration, declared
from tamis.store.tables import Store

BY_DOC_IDS = "doc_ids"
ID_ALONE = ("doc_id",)
"""Key of rows that are listed by document, also where a document has several, such as one a score."""
LISTED_BY = "listed by {}"
"""Scope of rows that the rows file alone lists, of a table that this column divides."""
HASHED_AT_ONCE = 4
"""Blocks of whole rows: each takes memory, and more threads only wait for the interpreter."""
_KEY = f"S{KEY_BYTES}"  # all of one length, so that padding cannot make two equal
_DIVIDED = re.compile(r"(\w+) = '((?:[^']|'')*)'")
_LISTED = re.compile(LISTED_BY.format(r"(\w+)"))
_BEGINNING = re.compile(r"starts_with\((\w+), '((?:[^']|'')*)'\)")
_VOID = f"V{KEY_BYTES}"


def stored_rows(store: Store, table: str, scope: str, doc_ids: Sequence[str] = ()) -> tuple[str, bytes]:
    """Digest and rows file of the rows in a scope: a filter, "" for all, or the listed documents.

    Tables of the SQL models have no declared key: all their columns are.
    """
    key = _key_of(store, table) if declared(table) else hashed_columns(store.schema(table).names)
    key = ID_ALONE if scope == BY_DOC_IDS else key
    return rows_digest(_records_of(_blocks(store, table, scope, doc_ids), key))


def _key_of(store: Store, table: str) -> Sequence[str]:
    """Return the key of a table without columns that a table of an earlier release lacks."""
    names = store.schema(table).names
    return [name for name in declaration(table).key if name in names]


def records_of_ids(
    store: Store, table: str, groups: Mapping[str, Sequence[str]]
) -> dict[str, tuple[str, bytes]]:
    """`stored_rows` of several lists of documents, by one reading of the table."""
    wanted = sorted({doc_id for ids in groups.values() for doc_id in ids})
    return records_of_groups([*_records_of(store.by_ids(table, wanted), ID_ALONE)], groups)


def records_of_groups(
    records: Sequence[np.ndarray], groups: Mapping[str, Sequence[str]]
) -> dict[str, tuple[str, bytes]]:
    """Digest and rows file of the documents of each group, of records whose keys are doc_ids."""
    ordered_keys, ordered = _by_key(records)
    return {name: rows_digest([_chosen(ordered, ordered_keys, ids)]) for name, ids in groups.items()}


def _by_key(blocks: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Keys [n] and records [n] of these blocks of records, by key."""
    records = np.concatenate([np.empty(0, dtype=f"V{RECORD_BYTES}"), *blocks])
    keys = keys_of(records.tobytes())
    order = np.argsort(keys, kind="stable")
    return keys[order], records[order]


def _chosen(ordered: np.ndarray, ordered_keys: np.ndarray, doc_ids: Sequence[str]) -> np.ndarray:
    """The records of these documents, all of each; one without a record is left out."""
    wanted = np.unique(np.frombuffer(bytes.fromhex("".join(doc_ids)), dtype=_KEY))
    return ordered[_places(ordered_keys, wanted)]


def _places(ordered_keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the positions of all rows with these keys."""
    first, end = (np.searchsorted(ordered_keys, wanted, side=side) for side in ("left", "right"))
    counts = end - first
    before = np.cumsum(counts) - counts
    return np.repeat(first - before, counts) + np.arange(counts.sum())


def _blocks(store: Store, table: str, scope: str, doc_ids: Sequence[str]) -> Iterator[pa.Table]:
    if not store.exists(table):
        return
    if scope == BY_DOC_IDS:
        yield from store.by_ids(table, doc_ids)
    else:
        yield from (pa.Table.from_batches([batch]) for batch in store.batches(table, where=scope or None))


def _records_of(blocks: Iterable[pa.Table], key: Sequence[str]) -> Iterator[np.ndarray]:
    """Yield the records of each block of rows; a block is read while others are hashed."""
    return in_threads(
        lambda block: row_records(block, key), (block for block in blocks if block.num_rows), HASHED_AT_ONCE
    )


class TableRows:
    """Rows of one table as the manifests of many partitions claim them, hashed in one pass over the table.

    Tables keyed by document and tables that a column divides are passed over once; 48 bytes a row are held.
    """

    def __init__(self, store: Store, table: str) -> None:
        self.store, self.table = store, table
        known = declared(table)
        self._has_several = known is not None and known.key != ID_ALONE
        self._claimed: list[np.ndarray] = []
        self._by_id: tuple[np.ndarray, np.ndarray] | None = None
        self._by_column: dict[str, dict[str, list[np.ndarray]]] = {}
        self._records: tuple[np.ndarray, np.ndarray] | None = None

    def of(self, scope: str, stated: bytes) -> tuple[str, bytes]:
        """Digest and rows file of what a scope holds now; `stated` is the rows file that claims it."""
        if scope == BY_DOC_IDS:
            keys, records = self._sorted()
            wanted = keys_of(stated)
            self._claimed.append(wanted)
            places = _places(keys, np.unique(wanted))
            if not self._has_several:  # a row that is stored twice is named by `doubled`
                places = places[np.unique(keys[places], return_index=True)[1]]
            return rows_digest([records[places]])
        if listed := _LISTED.fullmatch(scope):
            return self._listed(listed[1], stated)
        if divided := _DIVIDED.fullmatch(scope):
            column, value = divided[1], divided[2].replace("''", "'")
            return rows_digest(self._divided(column).pop(value, []))
        if begun := _BEGINNING.fullmatch(scope):
            groups, start = self._divided(begun[1]), begun[2].replace("''", "'")
            own = [name for name in groups if name.startswith(start)]
            return rows_digest([block for name in own for block in groups.pop(name)])
        return stored_rows(self.store, self.table, scope)

    def doubled(self, stated: bytes) -> list[str]:
        """Return the keys (hex) of claimed documents that are in the table more often than its key allows."""
        if self._has_several:
            return []
        keys, _records = self._sorted()
        again = np.intersect1d(keys[1:][keys[1:] == keys[:-1]], keys_of(stated))
        return sorted({key.hex() for key in again.view(_VOID).tolist()})

    def strays(self) -> list[str]:
        """Keys of the rows that nobody claimed: doc_ids, or values of the dividing column."""
        listed = np.sort(np.concatenate([np.empty(0, dtype=_KEY), *self._claimed]))
        if self._by_id is not None:
            return [key.hex() for key in np.setdiff1d(self._by_id[0], listed).view(_VOID).tolist()]
        return sorted(
            value
            for groups in self._by_column.values()
            for value, blocks in groups.items()
            if not all(_among(keys_of(block.tobytes()), listed) for block in blocks)
        )

    def _listed(self, column: str, stated: bytes) -> tuple[str, bytes]:
        """Digest and rows file of the rows that a rows file lists by their keys, as they are stored now."""
        if self._records is None:
            self._records = _by_key(chain.from_iterable(self._divided(column).values()))
        keys, records = self._records
        wanted = keys_of(stated)
        self._claimed.append(wanted)
        return rows_digest([records[_places(keys, wanted)]])  # a row that is stored twice counts twice

    def _sorted(self) -> tuple[np.ndarray, np.ndarray]:
        """Keys [n] and records [n] of the whole table, by key."""
        if self._by_id is None:
            self._by_id = _by_key(_records_of(_blocks(self.store, self.table, "", ()), ID_ALONE))
        return self._by_id

    def _divided(self, column: str) -> dict[str, list[np.ndarray]]:
        """Records by the value of a column."""
        if column not in self._by_column:
            groups: dict[str, list[np.ndarray]] = {}
            key = _key_of(self.store, self.table)

            def read(block: pa.Table) -> tuple[pa.DictionaryArray, np.ndarray]:
                return block[column].combine_chunks().dictionary_encode(), row_records(block, key)

            blocks = (block for block in _blocks(self.store, self.table, "", ()) if block.num_rows)
            for values, records in in_threads(read, blocks, HASHED_AT_ONCE):
                codes = values.indices.to_numpy()
                for code, value in enumerate(values.dictionary.to_pylist()):
                    groups.setdefault(value, []).append(records[codes == code])
            self._by_column[column] = groups
        return self._by_column[column]


def _among(keys: np.ndarray, listed: np.ndarray) -> bool:
    """Whether all keys are in a sorted list."""
    places = np.searchsorted(listed, keys)
    return bool((places < len(listed)).all() and (listed[places] == keys).all())


def keys_of(content: bytes) -> np.ndarray:
    """The keys [n] of 16 bytes of a rows file."""
    rows = np.frombuffer(content, dtype=np.uint8).reshape(-1, RECORD_BYTES)
    return np.ascontiguousarray(rows[:, :KEY_BYTES]).view(_KEY).ravel()
