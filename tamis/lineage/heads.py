"""Heads: the latest manifest of each (asset, partition), one Lance table read in a few milliseconds.

The manifest files are the record; this table is the index that plans, sensors and reports read.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa

from tamis.store.schemas import schema_of
from tamis.store.tables import Store, quoted

TABLE = "heads"


@dataclass(frozen=True, kw_only=True)
class Head:
    """The latest materialization of one (asset, partition); partition is "" when the asset has none.

    `settled` is False where something fitted on an earlier pool was kept (design section 5): right within its
    certificate, and fitted again by the next `tamis materialize`.
    """

    asset: str
    partition: str
    manifest: str
    input_key: str
    data_version: str
    passed: bool = True
    settled: bool = True


Heads = dict[tuple[str, str], Head]


def read_heads(store: Store) -> Heads:
    """All heads by (asset, partition)."""
    columns = ["asset", "partition", "manifest", "input_key", "data_version", "passed", "settled"]
    rows = store.read(TABLE, columns).iter_rows(named=True)
    return {(row["asset"], row["partition"]): Head(**row) for row in rows}


def write_heads(store: Store, heads: Iterable[Head]) -> None:
    """Move heads forward, in one commit."""
    now = datetime.now(UTC).replace(tzinfo=None)
    rows = [{**head.__dict__, "made_at": now} for head in heads]
    if rows:
        store.merge(TABLE, pa.Table.from_pylist(rows, schema=schema_of(TABLE)))


def forget_heads(store: Store, asset: str, partition: str) -> None:
    """Drop the head of a partition that is gone."""
    store.delete(TABLE, f"asset = {quoted(asset)} AND partition = {quoted(partition)}")
