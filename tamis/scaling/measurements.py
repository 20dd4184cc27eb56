"""One loss curve, cleaned: what the methods may use of what was measured, and what was left out and why.

Everything downstream works on natural-log losses at distinct, increasing sizes, so a curve in any order,
with holes, failed runs or several seeds a size is treated alike. Sizes less than 2 % apart are one size: two
seeds seldom read the same number of tokens, and between two such sizes a slope is all noise. Nothing is
dropped silently: each thing left out is a remark.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tamis.base.arguments import NO_NUMBERS, as_number
from tamis.scaling.errors import BadCurveError, BadSettingError

SAME_SIZE = 0.02  # sizes nearer than this share to the smallest of them are one size
ROUNDING = 1e-9  # a factor of 1 + SAME_SIZE, up to rounding, makes two sizes
Floats = NDArray[np.float64]
Numbers = Sequence[float] | NDArray[np.floating]
Curve = tuple[Numbers, Numbers]
Curves = Mapping[str, Curve]


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """The usable part of a curve: `sizes` [n] increasing and positive, `losses` [n] positive and finite.

    `zero_shot` is the loss at a size <= 0 (NaN without one); `remarks` say what was left out.
    """

    sizes: Floats
    losses: Floats
    zero_shot: float
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def log_sizes(self) -> Floats:
        """[n] natural logarithms."""
        return np.log(self.sizes)

    @property
    def log_losses(self) -> Floats:
        """[n] natural logarithms."""
        return np.log(self.losses)

    def up_to(self, size: float) -> "Measurements":
        """The part at sizes not above `size`."""
        kept = self.sizes <= size * (1 + 1e-9)
        return Measurements(
            sizes=self.sizes[kept], losses=self.losses[kept], zero_shot=self.zero_shot, remarks=self.remarks
        )


def measured(sizes: ArrayLike, losses: ArrayLike) -> Measurements:
    """Clean one curve. NaN = not measured; several losses at one size become their geometric mean.

    Sizes less than 2 % above the smallest of them are one too, at the geometric mean of what was measured,
    which counts like a size that was measured once. Sizes that differ by a factor of 1.02 or more stay as
    they are, to the last bit.
    Left out, with a remark: infinite or non-positive losses, sizes that are not finite.
    Raises `BadCurveError` when the two differ in length or hold anything but numbers.
    """
    sizes_n, losses_n = _numbers("sizes", sizes), _numbers("losses", losses)
    if sizes_n.shape != losses_n.shape:
        raise BadCurveError(f"found {len(sizes_n)} sizes and {len(losses_n)} losses")
    known = ~np.isnan(losses_n) & ~np.isnan(sizes_n)
    usable = known & np.isfinite(sizes_n) & np.isfinite(losses_n) & (losses_n > 0)
    remarks = []
    if unusable := int((known & ~usable).sum()):
        remarks.append(f"measurements left out: {unusable} (infinite, or with a loss of zero or less)")
    zero_shot = losses_n[usable & (sizes_n <= 0)]
    positive = usable & (sizes_n > 0)
    used_sizes, used_losses = sizes_n[positive], losses_n[positive]
    place = _same_size(used_sizes)
    count = np.bincount(place)
    if repeated := int((count > 1).sum()):
        remarks.append(
            f"sizes measured more than once: {repeated} (the geometric mean of their losses is used)"
        )
    return Measurements(
        sizes=_means(used_sizes, place, count),
        losses=_means(used_losses, place, count),
        zero_shot=float(np.exp(np.log(zero_shot).mean())) if len(zero_shot) else float("nan"),
        remarks=tuple(remarks),
    )


def measured_curves(curves: Curves) -> dict[str, Measurements]:
    """Clean a table of curves {model: (sizes, losses)}; raises `BadCurveError` for what is no such table."""
    if not isinstance(curves, Mapping):
        raise BadCurveError(f"expected {{model: (sizes, losses)}}, found {type(curves).__name__}")
    cleaned = {}
    for model, curve in curves.items():
        if not isinstance(curve, Sequence | np.ndarray) or len(curve) != 2:
            raise BadCurveError(f"for {model!r}, expected (sizes, losses), found {curve!r}"[:200])
        cleaned[model] = measured(*curve)
    return cleaned


def _same_size(sizes: Floats) -> NDArray[np.intp]:
    """Return the place [n] of each size among those that differ, ascending.

    A size belongs to the smallest within reach, so that many sizes close together do not become one.
    """
    order = np.argsort(sizes, kind="stable")
    apart, places = np.log1p(SAME_SIZE) - ROUNDING, np.zeros(len(sizes), dtype=np.intp)
    least, place = -np.inf, -1
    for row, log_size in zip(order, np.log(sizes[order]), strict=True):
        if log_size - least >= apart:
            least, place = log_size, place + 1
        places[row] = place
    return places


def _means(values: Floats, place: NDArray[np.intp], count: NDArray[np.intp]) -> Floats:
    """Return the geometric mean at each place; values that are all the same stay the same to the last bit."""
    means = np.exp(np.bincount(place, np.log(values), len(count)) / np.maximum(count, 1))
    lowest, highest = np.full(len(count), np.inf), np.zeros(len(count))
    np.minimum.at(lowest, place, values)
    np.maximum.at(highest, place, values)
    return np.where(lowest == highest, lowest, means)


def target_of(size: float) -> float:
    """The size to predict at, as a float; raises `BadSettingError` unless positive and finite."""
    return positive_number("target_size", size, "a positive number of examples")


def positive_number(setting: str, value: object, expected: str = "a positive number") -> float:
    """The value as a float; raises `BadSettingError` unless it is a number, positive and finite."""
    number = as_number(value)
    if not (np.isfinite(number) and number > 0):
        raise BadSettingError(setting, value, expected)
    return number


def _numbers(name: str, values: Any) -> Floats:
    if hasattr(values, "detach"):  # a tensor, whose elements numpy refuses while they have a gradient
        values = values.tolist()
    try:
        known = [np.nan if value is None or value is np.ma.masked else value for value in values]
        array = np.array(known, dtype=np.float64)
    except NO_NUMBERS as error:
        raise BadCurveError(f"{name}: {error}") from error
    if array.ndim != 1:
        raise BadCurveError(f"{name} has {array.ndim} dimensions")
    return array
