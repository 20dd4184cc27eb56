"""The rows of targets in the quarantine: they lie beside those of corpora, under `target/NAME/FILE`.

The key of a corpus' shard holds no slash, so no shard can pass for the file of a target.
"""

import polars as pl

from tamis.store.schemas import schema_of
from tamis.store.tables import Store, quoted

TABLE = "quarantine"
PREFIX = "target/"


def place_in_target(target: str, file: str) -> str:
    """What stands for a shard where rows of a target's file are named."""
    return f"{PREFIX}{target}/{file}"


def target_of_place(shard: str) -> str | None:
    """The target that a place is in; None for a shard of a corpus."""
    return shard.removeprefix(PREFIX).split("/", 1)[0] if shard.startswith(PREFIX) else None


def rows_of_target(target: str) -> str:
    """A filter: what a target has in quarantine."""
    return f"starts_with(shard, {quoted(place_in_target(target, ''))})"


def quarantine_of_target(store: Store, target: str, found: pl.DataFrame) -> dict[str, int]:
    """Make what a target has in quarantine exactly this, and count it by reason."""
    schema, scope = schema_of(TABLE), rows_of_target(target)
    if len(found) or store.count(TABLE, scope):
        store.replace(TABLE, found.select(schema.names).to_arrow().cast(schema), scope)
    return dict(found.group_by("reason").len().sort("reason").iter_rows())
