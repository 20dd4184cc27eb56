"""Rows as JSON lines that other tools read without being told the types of the columns.

Polars looks at the first 100 rows for types, `datasets` at the first megabytes, and both fail at a value of
another kind behind them: a column of which these rows are null is null to them. So a row of each kind of
value stands among the first 100.
"""

import base64
import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

from tamis.base.nesting import on_own_stack, with_leaves

LOOKED_AT = 100
"""Rows of which polars infers the types of columns."""
MOST_KINDS = 400
"""Places within a column, times kinds: where there are more, its objects have keys of their own."""
TEXT, INTEGER, FLOAT, BOOLEAN, OBJECT, LIST = "text", "integer", "float", "boolean", "object", "list"
NUMBER = "number"
_KINDS = {str: TEXT, int: INTEGER, float: FLOAT, bool: BOOLEAN, dict: OBJECT, list: LIST}


def kinds_of(value: Any) -> Iterator[tuple[str, str, Any]]:
    """Yield each place within a JSON value (`a.b[]`, "" the value), its kind and what is there; not of nulls.

    A key that is empty is `""` in a place. Numbers that are infinite or none are written as nulls. Of a list
    of plain values each kind comes once.
    """
    left = [("", value)]
    while left:
        path, one = left.pop()
        kind = _KINDS.get(type(one))
        if kind is None or (kind == FLOAT and not isfinite(one)):
            continue
        yield path, kind, one
        if kind == OBJECT:
            named = [(name or '""', inner) for name, inner in reversed(one.items())]
            left += [(f"{path}.{name}" if path else name, inner) for name, inner in named]
        elif kind == LIST:
            nested = {dict, list}.intersection(map(type, one))
            left += [(f"{path}[]", inner) for inner in reversed(one if nested else _one_of_each(one))]


def _one_of_each(values: Sequence[Any]) -> list[Any]:
    found = {type(value): value for value in reversed(values)}
    if isinstance(number := found.get(float), float) and not isfinite(number):
        found[float] = next((one for one in values if type(one) is float and isfinite(one)), number)
    return [*found.values()]


def as_json_text(value: Any) -> str:
    """Return a value of JSON as text, with null for infinities and NaN."""
    try:
        return on_own_stack(json.dumps, value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return on_own_stack(json.dumps, with_leaves(value, _finite), ensure_ascii=False)


def json_texts(values: Sequence[Any]) -> list[str | None]:
    """Return values of JSON as texts, nulls as they are."""
    return [None if value is None else as_json_text(value) for value in values]


def clash(values: Sequence[Any]) -> bool:
    """Return whether a column has values that polars finds no common type for, such as lists and numbers.

    Numbers go together, and texts with any one other kind, though not with lists where both are in a list.
    """
    found: dict[str, set[str]] = {}
    for value in values:
        for path, kind, _leaf in kinds_of(value):
            found.setdefault(path, set()).add(NUMBER if kind in (INTEGER, FLOAT) else kind)
    return any(
        len(kinds) > 1 + (TEXT in kinds) or (path.endswith("[]") and kinds == {TEXT, LIST})
        for path, kinds in found.items()
    )


def arranged(columns: Mapping[str, Sequence[Any]]) -> tuple[list[int], int]:
    """Return the order of the rows of columns as JSON, and how many of them were moved up.

    The order is that of the rows, but for those with a kind of value that no row of the first 100 has: these
    are the last of the first 100.
    """
    size = len(next(iter(columns.values()), ()))
    if size <= LOOKED_AT:
        return list(range(size)), 0
    needed = sorted(set().union(*(_first_rows(values) for values in columns.values())))[:LOOKED_AT]
    first = LOOKED_AT
    while first + len(needed) - bisect_left(needed, first) > LOOKED_AT:
        first -= 1
    moved = needed[bisect_left(needed, first) :]
    behind = sorted({*range(first, size)} - {*moved})
    return [*range(first), *moved, *behind], sum(row >= LOOKED_AT for row in moved)


def _first_rows(values: Sequence[Any]) -> set[int]:
    """Return the first row of each kind of value in a column, of objects and lists for each place in them."""
    types = set(map(type, values)) & _KINDS.keys()
    found = {("", _KINDS[one]): _index(values, one) for one in types}
    first = {kind: row for kind, row in found.items() if row is not None}
    if types & {dict, list}:
        for row, value in enumerate(values):
            for path, kind, _leaf in kinds_of(value):
                first.setdefault((path, kind), row)
            if len(first) > MOST_KINDS:
                return {row for (path, _kind), row in first.items() if not path}
    return {*first.values()}


def _index(values: Sequence[Any], wanted: type) -> int | None:
    rows = (row for row, value in enumerate(values) if type(value) is wanted)
    return next((row for row in rows if wanted is not float or isfinite(values[row])), None)


def json_lines(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield rows as JSON: bytes in base 64, infinities and no numbers as null."""
    for row in rows:
        try:
            yield on_own_stack(json.dumps, row, ensure_ascii=False, allow_nan=False, default=_shown)
        except ValueError:
            plain = on_own_stack(json.loads, on_own_stack(json.dumps, row, default=_shown))
            yield on_own_stack(json.dumps, with_leaves(plain, _finite), ensure_ascii=False)


def _shown(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not abs(value) < float("inf") else value
