"""Attempts: a token for each write of a step, noted before the write, so that a killed step is made again.

A current value describes the stored rows only while it carries the token of the latest attempt. Comparing
input keys is not enough: a file changes, the process dies while half of it is read in, and the file changes
back. Its input key is the old one again, but its rows are the new ones.
"""

import uuid
from collections.abc import Iterable, Sequence

from tamis.store.tables import Store, one_of, quoted

TABLE = "attempts"
CHUNK = 500

Attempts = dict[tuple[str, str], str]


def begin(store: Store, entries: Iterable[tuple[str, str]]) -> str:
    """Note, in one commit, that these (asset, partition) are about to be written, and return the token."""
    token = uuid.uuid4().hex
    rows = [{"asset": asset, "partition": partition, "attempt": token} for asset, partition in entries]
    store.merge_values(TABLE, rows)
    return token


def read_attempts(store: Store) -> Attempts:
    """Return the token of the latest attempt of each (asset, partition)."""
    rows = store.read(TABLE, ["asset", "partition", "attempt"])
    return {(asset, partition): token for asset, partition, token in rows.iter_rows()}


def forget_entries(store: Store, table: str, entries: Iterable[tuple[str, str]]) -> None:
    """Delete the rows of these (asset, partition) from a table keyed by both, in few commits."""
    by_asset: dict[str, list[str]] = {}
    for asset, partition in entries:
        by_asset.setdefault(asset, []).append(partition)
    for asset, partitions in by_asset.items():
        delete_listed(store, table, "partition", partitions, f"asset = {quoted(asset)}")


def delete_listed(store: Store, table: str, column: str, values: Sequence[str], within: str = "true") -> None:
    """Delete the rows within a filter whose column has one of these values, `CHUNK` values a commit."""
    for start in range(0, len(values), CHUNK):
        store.delete(table, f"{within} AND {one_of(column, values[start : start + CHUNK])}")
