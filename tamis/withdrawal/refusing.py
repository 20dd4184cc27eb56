"""Refusing what is withdrawn when it is read: documents are left out, quarantined rows show nothing."""

from dataclasses import dataclass

import polars as pl

from tamis.corpus.text import document_id
from tamis.store.tables import Store
from tamis.withdrawal.desired import withdrawn_ids

WITHHELD = "withheld: the row repeats something that was withdrawn"


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """The withdrawn ids, as a filter on what a reader hands on."""

    doc_ids: pl.Series

    def documents(self, found: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Documents that may be taken, and the places (row, doc_id, shard if they have it) of the others."""
        refused = pl.col("doc_id").is_in(self.doc_ids.implode())
        return found.filter(~refused), _places(found.filter(refused))

    def quarantine(self, found: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Quarantined rows with nothing of what is withdrawn, and the places of those that held it."""
        if not len(self.doc_ids) or not len(found):
            return found, _places(found.clear().with_columns(doc_id=pl.lit("")))
        named = found.with_columns(content_ids(found))
        held = pl.col("doc_id").is_in(self.doc_ids.implode())
        return withheld(named, held).select(found.columns), _places(named.filter(held))


def _places(found: pl.DataFrame) -> pl.DataFrame:
    shard = [name for name in ("shard",) if name in found.columns]
    return found.select(pl.col("row").cast(pl.Int64), "doc_id", *shard)


def refusal(store: Store) -> Refusal:
    """What is withdrawn now."""
    return Refusal(doc_ids=withdrawn_ids(store))


def content_ids(quarantined: pl.DataFrame) -> pl.Series:
    """Content ids of quarantined rows: of what they show of the raw input."""
    shown = zip(quarantined["detail"], quarantined["excerpt"], strict=True)
    return pl.Series("doc_id", [document_id(f"{detail}\n{excerpt}") for detail, excerpt in shown], pl.String)


def withheld(quarantined: pl.DataFrame, rows: pl.Expr) -> pl.DataFrame:
    """The quarantined rows, of which some no longer show anything of the raw input."""
    return quarantined.with_columns(
        detail=pl.when(rows).then(pl.lit(WITHHELD)).otherwise("detail"),
        excerpt=pl.when(rows).then(pl.lit("")).otherwise("excerpt"),
    )
