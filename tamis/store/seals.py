"""Seals: a checksum in each row of the tables that no manifest states in full.

Indexes, what a person decided, when a document was first seen, and answers that were paid for and are kept
beyond what uses them now. A seal tells an altered row from one that was written; whoever computes a new seal,
too, is not seen (design 9.6).
The column is added when a row is written and hidden when it is read. About 400,000 rows/s.
"""

import polars as pl
import pyarrow as pa

from tamis.store.digests import row_digests
from tamis.store.schemas import declared

SEAL = "seal"
_FIELD = pa.field(SEAL, pa.string(), metadata={"description": "SHA-256 of the other columns of the row, hex"})


def has_seals(table: str) -> bool:
    """Return whether the rows of a table have seals, as all retained rows do."""
    known = declared(table)
    return known is not None and known.sealed


def sealed(table: str, rows: pa.Table) -> pa.Table:
    """The rows with their seals, where the table is one that has them."""
    if not has_seals(table):
        return rows
    return rows.append_column(_FIELD, pa.array(_seals(rows), pa.string()))


def unsealed_schema(schema: pa.Schema) -> pa.Schema:
    """A schema without the column of seals."""
    return schema.remove(schema.get_field_index(SEAL)) if SEAL in schema.names else schema


def broken_seals(rows: pa.Table) -> pl.DataFrame:
    """The rows whose seal is not that of their content; those without one are not among them."""
    expected = pl.Series(SEAL, _seals(unsealed(rows)), pl.String)
    scalars = [field.name for field in rows.schema if not pa.types.is_fixed_size_list(field.type)]
    frame = pl.DataFrame(pl.from_arrow(rows.select(scalars)))
    return frame.filter(pl.col(SEAL).is_not_null() & (pl.col(SEAL) != expected))


def unsealed(rows: pa.Table) -> pa.Table:
    """The rows without the column of seals."""
    return rows.drop_columns([SEAL]) if SEAL in rows.schema.names else rows


def _seals(rows: pa.Table) -> list[str]:
    return [digest.hex() for digest in row_digests(rows, rows.schema.names)]
