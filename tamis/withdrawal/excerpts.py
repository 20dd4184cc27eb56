"""Quarantined rows that show a piece of a withdrawn text: they are withdrawn with it, under their own id."""

from collections.abc import Sequence

import polars as pl

from tamis.corpus.refusing import WITHHELD, content_ids, withheld
from tamis.corpus.stage import QUARANTINE
from tamis.store.schemas import schema_of
from tamis.store.tables import Store
from tamis.withdrawal.pieces import showing

TABLE = QUARANTINE.name


def excerpts_showing(store: Store, texts: Sequence[str], shards: Sequence[str] = ()) -> pl.DataFrame:
    """Rows of the quarantine, with their content ids, that show a piece of the texts or lie in the shards."""
    found = store.read(TABLE).filter(pl.col("detail") != WITHHELD)
    if not len(found):
        return found.with_columns(doc_id=pl.Series([], dtype=pl.String))
    shown = [f"{detail}\n{excerpt}" for detail, excerpt in found.select("detail", "excerpt").iter_rows()]
    held = pl.Series(showing(shown, texts)) | found["shard"].is_in(list(shards))
    return found.with_columns(content_ids(found)).filter(held)


def excerpts_with_ids(store: Store, content: Sequence[str]) -> pl.DataFrame:
    """Rows of the quarantine, with their content ids, that have one of these."""
    found = store.read(TABLE)
    return found.with_columns(content_ids(found)).filter(pl.col("doc_id").is_in(list(content)))


def withhold(store: Store, rows: pl.DataFrame) -> None:
    """Let these rows of the quarantine show nothing of the raw input any more."""
    if len(rows):
        schema = schema_of(TABLE)
        blank = withheld(rows, pl.lit(True)).select(schema.names)
        store.merge(TABLE, blank.to_arrow().cast(schema))
