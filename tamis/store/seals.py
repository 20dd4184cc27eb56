"""Seals: a checksum beside each row of the tables that no manifest lists in full.

Indexes, what a person decided, and answers that were paid for and are kept beyond what uses them now. A seal
tells an altered row from one that was written; whoever computes a new seal, too, is not seen (design 9.6).
The column is added when a row is written and hidden when it is read. About 400,000 rows/s.
"""

import hashlib

import polars as pl
import pyarrow as pa

from tamis.store.digests import json_lines

SEAL = "seal"
SEALED = frozenset(
    {
        "approvals",
        "attempts",
        "heads",
        "pins",
        "sampler_trials",
        "sampler_trials_left",
        "scores_by_model",
        "scores_judge",
        "scores_judge_again",
        "scores_noise",
        "selection_versions",
        "step_failures",
        "trial_failures",
        "trials",
        "withdrawals",
        "withdrawn_places",
    }
)
DECIDED = frozenset({"approvals", "pins", "selection_versions", "withdrawals"})
"""What people decided, and the history of choices: nothing can make them again."""
_FIELD = pa.field(SEAL, pa.string(), metadata={"description": "SHA-256 of the other columns, hex"})


def sealed(table: str, rows: pa.Table) -> pa.Table:
    """The rows with their seals, where the table is one that has them."""
    if table not in SEALED:
        return rows
    return rows.append_column(_FIELD, pa.array(_seals(rows), pa.string()))


def unsealed_schema(schema: pa.Schema) -> pa.Schema:
    """A schema without the column of seals."""
    return schema.remove(schema.get_field_index(SEAL)) if SEAL in schema.names else schema


def broken_seals(rows: pa.Table) -> pl.DataFrame:
    """The rows whose seal is not that of their content; those without one are not among them."""
    expected = pl.Series(SEAL, _seals(unsealed(rows)), pl.String)
    frame = pl.DataFrame(pl.from_arrow(rows))
    return frame.filter(pl.col(SEAL).is_not_null() & (pl.col(SEAL) != expected))


def unsealed(rows: pa.Table) -> pa.Table:
    """The rows without the column of seals."""
    return rows.drop_columns([SEAL]) if SEAL in rows.schema.names else rows


def _seals(rows: pa.Table) -> list[str]:
    return [hashlib.sha256(line).hexdigest() for line in json_lines(rows, sorted(rows.schema.names))]
