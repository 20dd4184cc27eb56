"""Rows as a table declares them: its columns, their order and their types, whatever order and width came."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from tamis.base.errors import PermanentError
from tamis.store.columns import Table
from tamis.store.schemas import declaration

Frame: TypeAlias = (
    pl.DataFrame | pa.Table | Mapping[str, Sequence[Any] | pl.Series | pa.Array | pa.ChunkedArray]
)
"""n rows: a frame of polars, a table of Arrow, or the n values of each column by its name."""
Column: TypeAlias = pa.Array | pa.ChunkedArray


class UnfitRowsError(PermanentError):
    """Rows that a table cannot hold; names the table and the column, and quotes no value."""

    def __init__(self, table: str, problem: str) -> None:
        self.table, self.problem = table, problem
        super().__init__(f"these rows do not fit the table {table!r}: {problem}")


def as_declared(table: str, frame: Frame) -> pa.Table:
    """Return the n rows with the columns that the table declares, in its order and of its types.

    Columns that the table does not have are left out. Vectors and band keys [n, d] are lists of one length d.
    A cast neither rounds nor cuts off. Raises `UnfitRowsError` where a column is missing or its values are
    of another type, and `KeyError` for a table of a SQL model, which declares itself.
    """
    known = declaration(table)
    names = known.column_names
    if isinstance(frame, pl.DataFrame):
        given = frame.columns
    else:
        given = frame.column_names if isinstance(frame, pa.Table) else list(frame)
    if missing := [name for name in names if name not in given]:
        raise UnfitRowsError(table, f"no column {', '.join(map(repr, missing))} among {', '.join(given)}")
    if isinstance(frame, pl.DataFrame):
        frame = frame.select(names).to_arrow()
    columns = [_column(table, name, frame[name]) for name in names]
    if len(lengths := {len(one) for one in columns}) > 1:
        raise UnfitRowsError(table, f"its columns have different lengths: {sorted(lengths)}")
    schema = known.schema(_dimension(known, columns))
    cast = [_cast(table, one, field) for one, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(cast, schema=schema)


def _column(table: str, name: str, values: Any) -> Column:
    if isinstance(values, Column):
        return values
    try:
        return values.to_arrow() if isinstance(values, pl.Series) else pa.array(values)
    except pa.ArrowException:
        raise UnfitRowsError(table, f"column {name!r} holds values of several types") from None


def _dimension(known: Table, columns: Sequence[Column]) -> int | None:
    """Length of the lists in the column whose length the declaration leaves open; None without one."""
    for name, one, values in zip(known.column_names, known.columns, columns, strict=True):
        if isinstance(one, pa.Field):
            continue
        if pa.types.is_fixed_size_list(values.type):
            return int(values.type.list_size)
        lists = pa.types.is_list(values.type) or pa.types.is_large_list(values.type)
        if not lists or (longest := pc.max(pc.list_value_length(values)).as_py()) is None:
            raise UnfitRowsError(known.name, f"column {name!r} holds no list, so its length is not known")
        return int(longest)
    return None


def _cast(table: str, values: Column, field: pa.Field) -> Column:
    try:
        return values.cast(field.type)
    except pa.ArrowException:  # its message may quote a document
        problem = f"column {field.name!r} is {values.type}, and the table holds {field.type}"
        raise UnfitRowsError(table, f"{problem}, which cannot hold all of its values") from None
