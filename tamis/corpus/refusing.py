"""Refusing what is withdrawn when it is read: documents are left out, quarantined rows show nothing.

A text that differs from a withdrawn one in case or white space alone is another document: it is taken, and
named.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from tamis.corpus.text import document_id, loose_id
from tamis.store.tables import Store
from tamis.store.withdrawn import read_withdrawals

NEAR_REPEATS = "near_repeats_of_withdrawn"
"""Name of what the event and the manifest of a shard say of such documents."""
WITHHELD = "withheld: the row repeats something that was withdrawn"


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """The withdrawn ids, as a filter on what a reader hands on.

    `loose_ids`: the withdrawn document of each loose id.
    """

    doc_ids: pl.Series
    loose_ids: Mapping[str, str] = field(default_factory=dict)

    def documents(self, found: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Documents that may be taken, and the places (row, doc_id, shard if they have it) of the others."""
        refused = pl.col("doc_id").is_in(self.doc_ids.implode())
        return found.filter(~refused), _places(found.filter(refused))

    def near_repeats(self, documents: pl.DataFrame) -> dict[str, str]:
        """Those (doc_id, text) that differ from a withdrawn one in case or white space alone, with that."""
        if not self.loose_ids:
            return {}
        named = ((doc_id, loose_id(text)) for doc_id, text in documents.select("doc_id", "text").iter_rows())
        return {doc_id: self.loose_ids[loose] for doc_id, loose in named if loose in self.loose_ids}

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
    rows = read_withdrawals(store)
    loose = rows.drop_nulls("loose_id").select("loose_id", "doc_id")
    return Refusal(doc_ids=rows["doc_id"], loose_ids=dict(loose.iter_rows()))


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


def near_repeat_lines(found: Mapping[str, str]) -> list[str]:
    """Near repeats of what is withdrawn, by id, for a person."""
    return [
        f"document {doc_id} differs from {withdrawn}, which is withdrawn, in case or white space alone; "
        f"`tamis withdraw {doc_id}` withdraws it too"
        for doc_id, withdrawn in sorted(found.items())
    ]
