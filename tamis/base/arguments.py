"""Arguments of public functions in the one form that the code works on, or refused by name.

A data frame, a list or a tensor says the same as an array, so each is taken. What has no such reading raises
`BadArgumentError` where it enters, not an error of numpy or polars further down.
"""

from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tamis.base.errors import BadArgumentError

if TYPE_CHECKING:
    import polars as pl

Element = TypeVar("Element")
NO_NUMBERS = (TypeError, ValueError, RuntimeError, OverflowError)
"""What numpy and torch raise for values that are no array of numbers."""


def dense(values: Any) -> NDArray[Any]:
    """Return values as an array: of numpy, torch on any device, pandas, polars, or lists.

    A column of vectors becomes a matrix. Raises one of `NO_NUMBERS` for rows of different lengths and sparse
    tensors; what is no number stays what it is.
    """
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        # numpy has no bfloat16.
        return np.asarray((values.double() if values.is_floating_point() else values).numpy())
    array = np.asarray(values)
    return np.asarray(array.tolist()) if array.dtype == object and array.ndim == 1 else array


def as_floats(
    argument: str,
    values: Any,
    expected: str,
    dtype: type[np.floating[Any]] = np.float64,
    error: Callable[[str, object, str], Exception] = BadArgumentError,
) -> NDArray[Any]:
    """Return values as floats of any shape, None as NaN; raise `BadArgumentError`, or `error`, for others."""
    try:
        return np.asarray(dense(values), dtype=dtype)
    except NO_NUMBERS:
        raise error(
            argument, f"a {type(values).__name__} that is not an array of numbers", expected
        ) from None


def as_number(value: object) -> float:
    """Return a number as a float, NaN for what is none (text is none) or beyond the range of floats."""
    if isinstance(value, str | bytes):
        return float("nan")
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return float("nan")


def is_whole(value: object, least: int) -> bool:
    """Whether a value is of a type of whole numbers, of numpy too, and not below `least`."""
    return isinstance(value, Integral) and int(value) >= least


def as_whole(argument: str, value: object, least: int) -> int:
    """Return a whole number, 5.0 too, as an int; raise `BadArgumentError` for others and below `least`."""
    if not (isinstance(value, Real) and value == value // 1 and value >= least):  # type: ignore[operator]
        raise BadArgumentError(argument, repr(value), f"a whole number, {least} or more")
    return int(value)  # type: ignore[call-overload]


def as_share(argument: str, value: object) -> float:
    """Return a number from 0 to 1; raise `BadArgumentError` for any other."""
    if not 0 <= as_number(value) <= 1:
        raise BadArgumentError(argument, repr(value), "a number from 0 to 1")
    return as_number(value)


def as_list(argument: str, values: Iterable[Element], expected: str) -> list[Element]:
    """Return the elements of a list, a column, an array or an iterator, in order.

    Raises `BadArgumentError` for what has none, and for one text, whose elements are letters.
    """
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise BadArgumentError(argument, f"a {type(values).__name__}", expected)
    return list(values)


def strings(argument: str, values: Iterable[str]) -> list[str]:
    """Return the elements of a list, a column or an iterator of str; raise `BadArgumentError` for others."""
    found = as_list(argument, values, "a list of str")
    for row, value in enumerate(found):
        if not isinstance(value, str):
            raise BadArgumentError(argument, f"row {row} is a {type(value).__name__}", "a list of str")
    return found


def as_frame(argument: str, values: Any) -> "pl.DataFrame":
    """Return a table as a frame of polars: of polars, pandas, arrow, or a dict of columns.

    Raises `BadArgumentError` for anything else.
    """
    import polars as pl

    if isinstance(values, pl.DataFrame):
        return values
    if isinstance(values, pl.LazyFrame):
        return values.collect()
    if isinstance(values, Mapping) or hasattr(values, "columns"):
        return pl.DataFrame(values)
    raise BadArgumentError(
        argument, f"a {type(values).__name__}", "a frame of polars or pandas, or a dict of columns"
    )
