"""Checks of what callers hand in besides rows: settings that are one number, and columns of numbers."""

from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt

from tamis.transport.blocks import BadShapeError

Floats = npt.NDArray[np.float64]


def check_positive(name: str, value: Any) -> None:
    """Raise `BadShapeError` unless the value is a finite number above 0."""
    try:
        fits = bool(np.isfinite(value) and value > 0)
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise BadShapeError(name, repr(value), "a positive finite number")


def check_whole(name: str, value: Any) -> None:
    """Raise `BadShapeError` unless the value is a whole number of 1 or more."""
    if not (isinstance(value, Integral) and int(value) >= 1):
        raise BadShapeError(name, repr(value), "a whole number, 1 or more")


def as_floats(values: Any, name: str, expected: str) -> Floats:
    """Values as float64, from numpy, torch (any device and type, with or without gradient) or a list.

    Raises `BadShapeError` on what are no numbers, and on sparse tensors.
    """
    import torch

    try:
        plain = values.detach().cpu().double() if isinstance(values, torch.Tensor) else values
        return np.asarray(plain, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError):
        raise BadShapeError(
            name, f"a {type(values).__name__} that is no array of numbers", expected
        ) from None
