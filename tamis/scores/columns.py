"""Numbers in a column of rows that are kept as JSON, by expressions of polars.

A dotted path leads into nested objects; a column whose name has the dots comes first, as for text columns.
"""

import json

import polars as pl

from tamis.readers.text_columns import columns_of_path

_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_NO_JSON = r"([:\[,])\s*(NaN|-?Infinity)"
_NO_NUMBER = r"NaN|Infinity"
_COMMA = r"^\s*[+-]?[0-9]*,[0-9]+\s*$"


def values_in(content: pl.Series, path: str) -> pl.Series:
    """Return the value of a column or nested field in rows of JSON, as text; null where a row has none.

    NaN and infinities, which are no JSON though Python writes them, are none.
    """
    values = pl.Series([None], dtype=pl.String).new_from_index(0, len(content))
    for keys in _places(path):
        written = [json.dumps(key, ensure_ascii=False) for key in keys]
        # Parsing takes long, so only rows are parsed that have the keys somewhere in their text.
        here = values.is_null()
        for key in written:
            here &= content.str.contains(key, literal=True).fill_null(False)
        rows = here.arg_true()
        found = _valid(content.gather(rows)).str.json_path_match("$" + "".join(f"[{key}]" for key in written))
        values = found if len(rows) == len(content) else values.scatter(rows, found)
    return values


def _valid(content: pl.Series) -> pl.Series:
    rows = content.str.contains(_NO_NUMBER).arg_true()
    if rows.is_empty():
        return content
    return content.scatter(rows, content.gather(rows).str.replace_all(_NO_JSON, "${1}null"))


def _places(path: str) -> list[list[str]]:
    """Return the keys of each place that a dotted path may mean, the plain column first."""
    heads = columns_of_path(path)[:-1]
    return [[path], *([head, *rest] for head in heads for rest in _places(path[len(head) + 1 :]))]


def numbers_of(values: pl.Expr, decimal_comma: pl.Expr | None = None) -> pl.Expr:
    """Return values, given as text, as finite numbers; null for all others.

    decimal_comma: whether the file of a row writes the decimals of this column after a comma.
    """
    if decimal_comma is not None:
        mended = pl.when(decimal_comma & values.str.contains(_COMMA)).then(values.str.replace(",", "."))
        values = mended.otherwise(values)
    stripped = values.str.strip_chars()
    number = pl.when(stripped.str.contains(_NUMBER)).then(stripped).cast(pl.Float64, strict=False)
    return pl.when(number.is_finite()).then(number)
