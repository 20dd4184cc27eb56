"""Reconciling the store with the corpora: what is gone is removed, what is half-written is set aside."""

import pyarrow as pa

from tamis.corpus.intake import remove_shard
from tamis.lineage.heads import Heads, forget_heads
from tamis.lineage.pins import unpin
from tamis.lineage.plan import gone_partitions
from tamis.lineage.world import World
from tamis.store.schemas import schema_of
from tamis.store.tables import Store, quoted

_PARTITION_TABLES = {
    "target_examples": (("target_examples",), "target"),
    "contamination": (("contamination", "contamination_runs"), "target"),
    "selected_subset": (("selected_subset",), "selection"),
    "decisions": (("decisions",), "selection"),
    "trials": (("trials",), "trial"),
}


def forget_gone(store: Store, world: World, heads: Heads) -> list[tuple[str, str]]:
    """Remove what belonged to partitions that no longer exist; returns them as (asset, partition)."""
    gone = [entry for entry in gone_partitions(world, heads) if entry[1] not in world.held]
    for asset, partition in gone:
        if asset == "raw_shards":
            remove_shard(store, partition)
        elif asset in _PARTITION_TABLES:
            tables, column = _PARTITION_TABLES[asset]
            for table in tables:
                store.delete(table, f"{column} = {quoted(partition)}")
        if asset == "selected_subset":
            unpin(store, partition)
        forget_heads(store, asset, partition)
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
