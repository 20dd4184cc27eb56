"""What is withdrawn, as desired state: ids that intake refuses, and where raw files hold them still.

The ids are hashes, so no text is kept. A shard or target depends on which of its own rows are withdrawn, so
a withdrawal makes these again and no others, and a text that arrives again leaves everything as it was.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal

import polars as pl
import pyarrow as pa

from tamis.base.numbers import counted
from tamis.store.digests import canonical_digest
from tamis.store.schemas import as_declared, schema_of
from tamis.store.tables import Store, one_of

TABLE, PLACES = "withdrawals", "withdrawn_places"
CHUNK = 1_000
DOCUMENT, EXCERPT = "document", "excerpt"
"""Scopes of a document that is named by its id, and of a quarantined row that is withdrawn with one."""
CUT_OUT = "cut_out"
"""Asset of places that name, as their partition, a document that stays without a withdrawn passage of it."""
NO_REASON = "not_stated"
"""The reason of a withdrawal for which none was given."""

Entry = tuple[str, str]
"""(asset, partition)."""


@dataclass(frozen=True, kw_only=True)
class Withdrawal:
    """One row of the table; `receipt` is None until everything that held it was purged."""

    doc_id: str
    withdrawn_at: datetime
    reason: str
    scope: str
    receipt: str | None = None
    loose_id: str | None = None
    """Recognises the text where it comes back with other case or spaces; no text is kept."""


def read_withdrawals(store: Store, where: str | None = None) -> pl.DataFrame:
    """All withdrawals, oldest first."""
    return store.read(TABLE, where=where).sort("withdrawn_at", "doc_id")


def withdrawn_ids(store: Store) -> pl.Series:
    """Content ids of everything that is withdrawn."""
    return store.read(TABLE, ["doc_id"])["doc_id"]


def write_withdrawals(store: Store, rows: Iterable[Withdrawal]) -> None:
    """Write or replace rows, in one commit."""
    store.merge_values(TABLE, [asdict(row) for row in rows])


def unfinished(store: Store) -> pl.DataFrame:
    """Withdrawals whose purge was cut short."""
    return read_withdrawals(store, "receipt IS NULL")


def unfinished_line(store: Store) -> str:
    """Return that withdrawals have not been completed, and what completes them; "" where all have."""
    if not (waiting := len(unfinished(store))):
        return ""
    some = counted(waiting, "document or excerpt", "documents or excerpts")
    return (
        f"the withdrawal of {some} is at work or was interrupted; run `tamis materialize`, which completes it"
    )


def note_places(
    store: Store,
    asset: str,
    names: Sequence[str],
    found: pl.DataFrame,
    of: Literal["partition", "shard"] = "partition",
) -> None:
    """Make the places of these partitions, or of these files, exactly what was found.

    `found`: partition, shard, row, doc_id; `of`: the column that holds the names.
    """
    rows = found.with_columns(pl.lit(asset).alias("asset"), pl.col("row").cast(pl.Int64))
    table = as_declared(PLACES, rows.select(schema_of(PLACES).names).unique())
    for start in range(0, len(names), CHUNK):
        chunk = list(names[start : start + CHUNK])
        scope = f"asset = '{asset}' AND {one_of(of, chunk)}"
        own = table.filter(pa.compute.is_in(table[of], pa.array(chunk, pa.string())))
        if own.num_rows or store.count(PLACES, scope):
            store.replace(PLACES, own, scope)


def add_places(store: Store, asset: str, found: pl.DataFrame) -> None:
    """Add places to those that are known."""
    if len(found):
        rows = found.with_columns(pl.lit(asset).alias("asset"), pl.col("row").cast(pl.Int64))
        store.put(PLACES, rows.select(schema_of(PLACES).names).unique())


def read_places(store: Store) -> pl.DataFrame:
    """Where raw files hold what is withdrawn, as far as they have been read since."""
    places = store.read(PLACES, where=f"asset != '{CUT_OUT}'")
    return places.filter(pl.col("doc_id").is_in(withdrawn_ids(store).implode())).sort("shard", "row")


def note_cut_out(store: Store, found: pl.DataFrame) -> None:
    """Note withdrawn passages (doc_id) of documents (passage_of), which may not be cut elsewhere any more."""
    add_places(store, CUT_OUT, found.select("doc_id", partition="passage_of", shard=pl.lit(""), row=-1))


def read_cut_out(store: Store) -> pl.DataFrame:
    """Return withdrawn passages (doc_id) and the documents (passage_of) that stay without them."""
    noted = store.read(PLACES, ["doc_id", "partition"], f"asset = '{CUT_OUT}'")
    return noted.rename({"partition": "passage_of"})


def withdrawn_versions(store: Store, group_of: Mapping[str, str] | None = None) -> dict[Entry, str]:
    """Of each (asset, partition) that holds anything withdrawn: a digest of what that is.

    `group_of`: the group of each file that is in one now, whatever it was in when the place was noted.
    """
    if not (store.exists(TABLE) and store.exists(PLACES)):
        return {}
    now = pl.col("shard").replace_strict(group_of or {}, default=None, return_dtype=pl.String)
    places = (
        read_places(store)
        .select("asset", pl.coalesce(now, "partition").alias("partition"), "doc_id")
        .unique()
        .sort("doc_id")
    )
    grouped = places.group_by("asset", "partition", maintain_order=True).agg("doc_id")
    return {
        (asset, partition): version
        for asset, partition, ids in grouped.iter_rows()
        if (version := version_of(ids))
    }


def version_of(doc_ids: Iterable[str]) -> str | None:
    """Digest of a set of ids, as input keys know it; None for nothing."""
    ids = sorted(set(doc_ids))
    return canonical_digest(",".join(ids)) if ids else None
