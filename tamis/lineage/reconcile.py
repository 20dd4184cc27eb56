"""Reconciling the store with the corpora: what is gone is removed, what is half-written is set aside."""

import pyarrow as pa

from tamis.corpus.intake import remove_shards
from tamis.lineage import attempts
from tamis.lineage.heads import Heads, forget_heads
from tamis.lineage.plan import gone_partitions
from tamis.lineage.world import World
from tamis.store.schemas import kind_of, schema_of
from tamis.store.tables import Store, one_of, quoted

_PARTITION_COLUMNS = {
    "target_examples": ("target_examples", "target"),
    "target_embeddings": ("target_embeddings", "target"),
    "contamination": ("contamination", "target"),
    "transport_scores": ("transport", "target"),
    "selected_subset": ("selected_subset", "selection"),
    "decisions": ("decisions", "selection"),
    "trials": ("trials", "trial"),
}
"""Of the assets that write rows a partition: the kind of their tables, and the column that names it."""


def find_gone(store: Store, world: World, heads: Heads) -> list[tuple[str, str]]:
    """(asset, partition) of what belonged to partitions that no longer exist, begun values included."""
    entries = {*heads, *attempts.read_attempts(store)}
    return [entry for entry in gone_partitions(world, entries) if entry[1] not in world.held]


def forget_gone(store: Store, world: World, heads: Heads) -> list[tuple[str, str]]:
    """Remove what belonged to partitions that no longer exist; returns them as (asset, partition).

    Heads go last: a removal that is cut short is found and done again.
    """
    gone = find_gone(store, world, heads)
    if not gone:
        return []
    shards = {key for asset, key in gone if asset in ("raw_shards", "documents") and key not in world.shards}
    if shards:
        remove_shards(store, sorted(shards))
    for asset, (kind, column) in _PARTITION_COLUMNS.items():
        keys = [key for name, key in gone if name == asset]
        for table in [name for name in store.names() if kind_of(name) == kind] if keys else ():
            for chunk in attempts.chunks(keys):
                store.delete(table, one_of(column, chunk))
    forget_heads(store, gone)
    attempts.forget_entries(store, attempts.TABLE, gone)
    return gone


def set_aside(store: Store, world: World) -> None:
    """Note in quarantine the new files that are still being written."""
    rows = [
        {"shard": key, "row": -1, "reason": "still_being_written", "detail": detail, "excerpt": ""}
        for key, detail in world.held.items()
    ]
    if rows:
        store.merge("quarantine", pa.Table.from_pylist(rows, schema=schema_of("quarantine")))
    noted = store.read("quarantine", ["shard"], "reason = 'still_being_written'")["shard"].unique()
    for key in noted:
        if key not in world.held and key not in world.shards:
            store.delete("quarantine", f"shard = {quoted(key)} AND reason = 'still_being_written'")
