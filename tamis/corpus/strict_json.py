"""JSON of which nothing is lost in silence: a key twice and a number beyond all floats are noticed.

Of an object that names a key twice Python keeps the last value, and a number such as 1e400 it reads as
infinity. A value of 350 characters takes 2 microseconds longer than without.
"""

import json
from collections import Counter
from functools import partial
from typing import Any

from tamis.base.nesting import with_leaves

INFINITY = float("inf")
TOO_LARGE = "too large for any float, so null"


class _Stated(float):
    """Infinity, or no number, that a file states by name."""


class Reader:
    """Reads JSON values one after the other; what was noticed of the last one is in its attributes.

    Attributes: `twice` (a key that an object names twice, or None), `too_large` (keys of the outermost object
    whose numbers are beyond all floats, and null: each as often as it has such numbers).
    """

    def __init__(self) -> None:
        self._decoder = json.JSONDecoder(object_pairs_hook=self._object, parse_constant=_Stated)
        self._reset()

    def read(self, text: str) -> Any:
        """Return the value of a text; raises `ValueError` and `RecursionError` as `json.loads`."""
        self._reset()
        return self._finite(self._decoder.decode(text))

    def read_from(self, text: str, place: int) -> tuple[Any, int]:
        """Return the value that begins at a place, and where it ends; raises as `read`."""
        self._reset()
        value, end = self._decoder.raw_decode(text, place)
        return self._finite(value), end

    def problem(self) -> str:
        """Return what makes a row of the last value unusable, "" if nothing does."""
        return "" if self.twice is None else f"an object has the key {self.twice!r} twice; remove all but one"

    def _reset(self) -> None:
        self.twice: str | None = None
        self.too_large: list[str] = []
        self._is_infinite = False

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            counts = Counter(name for name, _value in pairs)
            self.twice = counts.most_common(1)[0][0]
        for _name, value in pairs:
            kind = type(value)
            if (kind is float and (value == INFINITY or value == -INFINITY)) or (
                kind is list and _holds_infinity(value)
            ):
                self._is_infinite = True
        return found

    def _finite(self, value: Any) -> Any:
        """Return a value, with null for numbers that only their digits make infinite."""
        if not self._is_infinite:
            return value
        if not isinstance(value, dict):
            return with_leaves(value, partial(self._held, ""))
        return {name: with_leaves(inner, partial(self._held, name)) for name, inner in value.items()}

    def _held(self, name: str, value: Any) -> Any:
        if type(value) is not float or abs(value) != INFINITY:
            return value
        self.too_large.append(name)
        return None


def _holds_infinity(values: list[Any]) -> bool:
    """Return whether a list, or a list of lists, has an infinite number."""
    if values and type(values[0]) is list:
        return any(type(inner) is list and _holds_infinity(inner) for inner in values)
    return INFINITY in values or -INFINITY in values
