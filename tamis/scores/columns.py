"""Numbers in a column of rows that are kept as JSON, by expressions of polars."""

import polars as pl

_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_COMMA = r"^\s*[+-]?[0-9]*,[0-9]+\s*$"


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
