"""Attempts: what a step begins to write, noted before it writes, so that a killed one is not taken for done.

A head speaks for what is stored only while it carries the token of the latest attempt. Input keys alone do
not tell: a file that changes, is half taken in when the process dies, and changes back has its old key again
over new rows.
"""

import uuid
from collections.abc import Iterable, Sequence

import pyarrow as pa

from tamis.store.schemas import schema_of
from tamis.store.tables import Store, one_of, quoted

TABLE = "attempts"
CHUNK = 500

Attempts = dict[tuple[str, str], str]


def begin(store: Store, entries: Iterable[tuple[str, str]]) -> str:
    """Note, in one commit, that these (asset, partition) are about to be written; returns the token."""
    token = uuid.uuid4().hex
    rows = [{"asset": asset, "partition": partition, "attempt": token} for asset, partition in entries]
    if rows:
        store.merge(TABLE, pa.Table.from_pylist(rows, schema=schema_of(TABLE)))
    return token


def read_attempts(store: Store) -> Attempts:
    """Token of the latest attempt by (asset, partition)."""
    rows = store.read(TABLE, ["asset", "partition", "attempt"])
    return {(asset, partition): token for asset, partition, token in rows.iter_rows()}


def forget_entries(store: Store, table: str, entries: Iterable[tuple[str, str]]) -> None:
    """Drop the rows of these (asset, partition) from a table keyed by both, in few commits."""
    by_asset: dict[str, list[str]] = {}
    for asset, partition in entries:
        by_asset.setdefault(asset, []).append(partition)
    for asset, partitions in by_asset.items():
        for chunk in chunks(partitions):
            store.delete(table, f"asset = {quoted(asset)} AND {one_of('partition', chunk)}")


def chunks(values: Sequence[str]) -> list[Sequence[str]]:
    """The values in parts that a filter can list."""
    return [values[start : start + CHUNK] for start in range(0, len(values), CHUNK)]
