"""Texts of what people hold them in, and the chosen rows back in the same type.

pandas and `datasets` are recognised where somebody has imported them; they are never imported here.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl
import pyarrow as pa

from tamis.base.arguments import as_frame
from tamis.base.errors import PermanentError
from tamis.base.numbers import named
from tamis.readers.text_columns import (
    SAMPLE_ROWS,
    columns_of_path,
    find,
    fitting,
    names_of,
    place_in,
    sample_of,
)

SELECTED = "selected"
REPEATED = "exact_duplicate"
"""Reason of a row whose text stands in an earlier row, which has the verdict on the text."""
_ONE_TEXT = "a single str was passed; pass a list of texts"
_NO_SERIES = (
    "{} is not an ordered series of texts; pass a list, an array, a column, or a table of polars, pandas, "
    "Arrow or datasets"
)
_SHOWN = 10


class UnusableTextsError(PermanentError, ValueError):
    """An argument that holds no texts, or no rows; says which, why, and what would be right."""

    def __init__(self, argument: str, problem: str) -> None:
        self.argument = argument
        super().__init__(f"{argument}: {problem}")


def listed(data: Any, argument: str, text_column: str | Sequence[str]) -> list[Any]:
    """Return the texts of a series or a table, in order, as they are: elements may be no texts.

    text_column: of tables, as of a corpus. Raises `UnusableTextsError`.
    """
    if isinstance(data, str | bytes):
        raise UnusableTextsError(argument, _ONE_TEXT)
    if (table := _table(data, argument)) is not None:
        return _texts_of(table, argument, text_column)
    sequence = not isinstance(data, Mapping | set | frozenset) and isinstance(data, Iterable)
    if not sequence or getattr(data, "ndim", 1) != 1 or hasattr(data, "columns"):
        raise UnusableTextsError(argument, _NO_SERIES.format(type(data).__name__))
    for convert in ("to_pylist", "to_list", "tolist"):  # pyarrow; polars and pandas; numpy
        if hasattr(data, convert):
            return list(getattr(data, convert)())
    return list(data)


def take(data: Any, decisions: Any) -> Any:
    """Return the rows of `data` that `decisions` select, best first, in the type of `data`.

    Raises `UnusableTextsError`.
    """
    frame = as_frame("decisions", decisions)
    if missing := [name for name in ("row", "verdict", "rank") if name not in frame.columns]:
        raise UnusableTextsError(
            "decisions", f"there is no column {missing[0]!r}; pass what `tamis.select` returned"
        )
    rows = frame.filter(pl.col("verdict") == SELECTED).sort("rank", "row")["row"].cast(pl.Int64)
    table = _table(data, "data")
    count = getattr(data, "__len__", None)
    if count is None or isinstance(data, str | bytes | Mapping | set | frozenset):
        raise UnusableTextsError(
            "data",
            f"of a {type(data).__name__} no rows can be taken; pass the list, array or table that was "
            "chosen from",
        )
    size, last = count(), max(rows, default=-1)
    if last >= size:
        raise UnusableTextsError(
            "data", f"it has {size:,} rows, and the decisions select row {last:,}; pass what was chosen from"
        )
    return _rows_of(data if table is None else table, rows)


def _rows_of(data: Any, rows: pl.Series) -> Any:
    if isinstance(data, pl.DataFrame):
        return data[rows]
    if isinstance(data, pl.Series):
        return data.gather(rows)
    if isinstance(data, pa.Table | pa.RecordBatch | pa.Array | pa.ChunkedArray):
        return data.take(rows.to_arrow())
    if _is(data, "pandas", "DataFrame", "Series"):
        return data.iloc[rows.to_numpy()]
    if _is(data, "datasets", "Dataset"):
        return data.select(rows.to_list())
    if _is(data, "numpy", "ndarray"):
        return data[rows.to_numpy()]
    chosen = [data[row] for row in rows]
    return tuple(chosen) if isinstance(data, tuple) else chosen


def _table(data: Any, argument: str) -> Any:
    """Return data that are a table, None for others; raises for tables that have to be read first."""
    if isinstance(data, pl.LazyFrame):
        raise UnusableTextsError(argument, "a LazyFrame has no rows yet; pass its .collect()")
    if _is(data, "datasets", "DatasetDict", "IterableDatasetDict"):
        splits = named([repr(str(name)) for name in data], _SHOWN)
        raise UnusableTextsError(argument, f"it holds several data sets ({splits}); pass one of them")
    if _is(data, "datasets", "IterableDataset"):
        raise UnusableTextsError(
            argument,
            "an IterableDataset can only be read in order; pass a Dataset, such as of streaming=False",
        )
    is_table = isinstance(data, pl.DataFrame | pa.Table | pa.RecordBatch)
    return data if is_table or _is(data, "pandas", "DataFrame") or _is(data, "datasets", "Dataset") else None


def _is(data: Any, package: str, *names: str) -> bool:
    """Return whether data are of one of these classes of a package, without importing it."""
    module = sys.modules.get(package)
    kinds = [getattr(module, name, None) for name in names]
    return isinstance(data, tuple(kind for kind in kinds if isinstance(kind, type)))


def _texts_of(table: Any, argument: str, text_column: str | Sequence[str]) -> list[Any]:
    columns = _columns_of(table)
    texts = [column for column in columns if isinstance(column, str)]
    once = [column for column in texts if texts.count(column) == 1]
    stated = names_of(text_column if isinstance(text_column, str) else tuple(text_column))
    sample = sample_of(_records(table, once, SAMPLE_ROWS)) if not stated else {}
    names = stated or tuple(fitting(sample)[:1])
    if not names:
        raise UnusableTextsError(
            argument, f"no column holds texts; {_said(columns)}; name it with text_column"
        )
    tops = [column for name in names for column in columns_of_path(name) if column in texts]
    if not tops:
        which = (
            f"no column {names[0]!r}" if len(names) == 1 else f"none of the columns {named([*names], _SHOWN)}"
        )
        raise UnusableTextsError(argument, f"there is {which}; {_said(columns)}; name it with text_column")
    if repeated := [column for column in tops if columns.count(column) > 1]:
        raise UnusableTextsError(argument, f"several columns are called {repeated[0]!r}; rename all but one")
    if len(names) == 1 and names[0] in texts:
        return _column(table, names[0])
    return [_text_in(row, names) for row in _records(table, list(dict.fromkeys(tops)))]


def _text_in(row: Mapping[str, Any], names: Sequence[str]) -> Any:
    place = place_in(row, names, "text")
    found = None if place is None else find(row, place.name)
    return None if found is None else found[1]


def _said(columns: Sequence[Any]) -> str:
    return f"its columns are {named([*map(str, columns)], _SHOWN)}" if columns else "it has no columns"


def _columns_of(table: Any) -> list[Any]:
    return list(table.schema.names if isinstance(table, pa.RecordBatch | pa.Table) else _names(table))


def _names(table: Any) -> Iterable[Any]:
    return table.column_names if _is(table, "datasets", "Dataset") else table.columns


def _column(table: Any, name: str) -> list[Any]:
    """Return a column of a table as a list."""
    if isinstance(table, pa.Table | pa.RecordBatch):
        return table.column(name).to_pylist()
    if _is(table, "datasets", "Dataset"):
        return list(table.with_format(None)[name])
    return table[name].to_list() if isinstance(table, pl.DataFrame) else table[name].tolist()


def _records(table: Any, columns: Sequence[str], most: int | None = None) -> list[dict[str, Any]]:
    """Return the first rows of a table, or all, as dicts of some columns."""
    if _is(table, "datasets", "Dataset"):
        plain = table.with_format(None).select_columns([*columns])
        return (plain if most is None else plain.select(range(min(most, len(plain))))).to_list()
    if isinstance(table, pa.Table | pa.RecordBatch):
        return table.slice(0, most).select([*columns]).to_pylist()
    some = table[[*columns]] if most is None else table[[*columns]].head(most)
    return some.to_dicts() if isinstance(some, pl.DataFrame) else some.to_dict("records")
