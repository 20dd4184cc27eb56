"""Values of one column in rows that are kept as JSON, by expressions of polars."""

import json

import polars as pl

from tamis.readers.text_columns import columns_of_path

_NO_JSON = r"([:\[,])\s*(NaN|-?Infinity)"
_NO_NUMBER = r"NaN|Infinity"


def values_in(content: pl.Series, path: str) -> pl.Series:
    """Return the value of a column or nested field in rows of JSON, as text; null where a row has none.

    NaN and infinities, which are no JSON though Python writes them, are none. A dotted path leads into nested
    objects; a column whose name has the dots comes first, as for text columns.
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
