"""Cells of loss curves that were not measured: copied, repeated, interpolated, or rising with more data.

A cell is reported when chance would hardly explain it: a coincidence counts by how often it is expected
among all cells of the table, given the digits that losses are printed with and how much they vary, and
must stay under `CHANCE`. So four-digit losses that happen to agree are not called copies, and a smooth
noise-free law is not called interpolated. Outliers are advice, not defects: a law through them still is
a fit. The public tables of Lin et al. hold cells of each kind but `repeated`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import combinations, groupby
from math import comb
from typing import Literal

import numpy as np

from tamis.scaling.measurements import Curves, Floats, Measurements, measured_curves

Kind = Literal["copied", "repeated", "interpolated", "non_monotone", "outlier"]
CHANCE = 0.01  # expected number of coincidences in the whole table
EDITED = 0.01  # copies are also found under an added multiple of this, where losses have digits to spare
SCALES = ("loss over log size", "log loss over log size", "loss over size", "log loss over size")
COMPUTED = 1e-12  # relative rounding error of what was computed from other cells
FAR = 6.0  # robust deviations from the neighbours that make an outlier
LEAST_OUTLIER = 0.01  # and a departure of 1 %


@dataclass(frozen=True, kw_only=True)
class Defect:
    """What is wrong with which curve; `kind` "outlier" is advice only."""

    model: str
    kind: Kind
    detail: str


def audit_curves(curves: Curves) -> list[Defect]:
    """Defects of a table of curves {model: (sizes, losses)}, by model in the order given, then by kind.

    Sizes <= 0 (zero-shot) are not looked at. Raises `BadCurveError` when sizes and losses differ in length.
    """
    cleaned = measured_curves(curves)
    cells = sum(len(curve) for curve in cleaned.values())
    departures = [_departures(curve.log_sizes, curve.log_losses) for curve in cleaned.values()]
    scatters = [_scatter(one) for one in departures if len(one) >= 3]
    usual = float(np.median(scatters)) if scatters else 0.0
    # Losses over hundreds of orders of magnitude overflow here, and what does is no coincidence.
    with np.errstate(over="ignore", invalid="ignore"):
        found = [*_copied(cleaned)]
        for model, curve in cleaned.items():
            found += _repeated(model, curve, cells)
            found += _rising(model, curve)
            found += _interpolated(model, curve, cells)
            found += _outliers(model, curve, usual)
    return sorted(found, key=lambda defect: list(cleaned).index(defect.model))


def _resolution(losses: Floats) -> Floats:
    """The last digit [n] that each loss is known to: as printed, or that of a 32-bit float."""
    # The exponent is the power of ten of the last digit that a loss is written with.
    written = [Decimal(repr(loss)).normalize().as_tuple() for loss in losses.tolist()]
    decimals = np.array([max(-int(one.exponent), 0) for one in written])
    with np.errstate(over="ignore"):
        single = losses.astype(np.float32)
    rounded = np.where(np.abs(single / losses - 1) < 1e-14, np.spacing(single), 0.0)
    exact = np.maximum(10.0 ** -decimals.astype(np.float64), rounded.astype(np.float64))
    return np.maximum(exact, COMPUTED * losses)


def _copied(curves: dict[str, Measurements]) -> Iterator[Defect]:
    """Cells that two models share at one size, exactly or up to a rounded constant."""
    pairs = list(combinations(curves, 2))
    shared = {pair: _shared(curves[pair[0]], curves[pair[1]]) for pair in pairs}
    # By how much the distance of two curves usually changes from size to size: what a coincidence must beat.
    changes = [np.abs(np.diff(one - other)) for _sizes, one, other in shared.values()]
    usual = float(np.median(np.concatenate(changes))) if changes and any(map(len, changes)) else 0.0
    for (first, second), (sizes, one, other) in shared.items():
        differences, resolution = one - other, np.maximum(_resolution(one), _resolution(other))
        edits = np.round(differences / EDITED) * EDITED
        hits = np.abs(differences - edits) <= resolution / 2 + COMPUTED * one
        typical = np.where(
            edits == 0.0, max(usual, 1e-2 * float(np.median(one))) if len(one) else 1.0, EDITED
        )
        chance = float(np.prod((resolution / np.maximum(typical, resolution))[hits]))
        if hits.any() and len(pairs) * comb(len(sizes), int(hits.sum())) * chance <= CHANCE:
            added = [f"{-amount:+.2f}" for amount in edits[hits] if amount != 0.0]
            edited = f", apart from an added {', '.join(added)}" if added else ""
            detail = f"equals {first} at {_listed(sizes[hits])}{edited}"
            yield Defect(model=second, kind="copied", detail=detail)


def _shared(one: Measurements, other: Measurements) -> tuple[Floats, Floats, Floats]:
    """Sizes that two curves share, and the losses of each there."""
    sizes, mine, theirs = np.intersect1d(one.sizes, other.sizes, return_indices=True)
    return sizes, one.losses[mine], other.losses[theirs]


def _listed(sizes: Floats) -> str:
    return ", ".join(f"{size:,.0f}" if size == round(size) else f"{size:g}" for size in sizes)


def _repeated(model: str, curve: Measurements, cells: int) -> Iterator[Defect]:
    """Equal losses at several sizes, unless losses of so few digits would be equal by chance.

    Any sizes of any curve of the table might have been those with equal losses.
    """
    values, counts = np.unique(curve.losses, return_counts=True)
    changes = np.abs(np.diff(curve.losses))
    for value, count in zip(values[counts > 1], counts[counts > 1], strict=True):
        usual = float(np.median(changes[changes > 0])) if (changes > 0).any() else np.inf
        resolution = float(_resolution(np.array([value]))[0])
        chance = resolution / max(usual, resolution)
        if cells / len(curve) * comb(len(curve), int(count)) * chance ** float(count - 1) <= CHANCE:
            where = _listed(curve.sizes[curve.losses == value])
            yield Defect(model=model, kind="repeated", detail=f"loss {value:g} is the same at sizes {where}")


def _rising(model: str, curve: Measurements) -> Iterator[Defect]:
    for place in np.flatnonzero(np.diff(curve.losses) > 0):
        before, after = curve.losses[place : place + 2]
        where = _listed(curve.sizes[place + 1 : place + 2])
        with np.errstate(over="ignore"):
            rise = 100 * np.expm1(np.log(after) - np.log(before))
        yield Defect(
            model=model,
            kind="non_monotone",
            detail=f"the loss rises {rise:.2g} % at {where}: {before:g} -> {after:g}",
        )


def _interpolated(model: str, curve: Measurements, cells: int) -> Iterator[Defect]:
    """Cells on the straight line between their neighbours, in one of four scales."""
    found: dict[float, tuple[float, str]] = {}
    resolution = _resolution(curve.losses)
    for name, sizes, losses, unit in _scales(curve):
        departures = _departures(sizes, losses)
        if len(departures) < 3:
            continue
        coarsest = np.maximum(np.maximum(resolution[:-2], resolution[2:]), resolution[1:-1]) * unit[1:-1]
        # The usual distance of this curve's cells from such a line says what a hit is worth.
        usual = max(float(np.median(np.abs(departures))), 1e-300)
        reach = 2 * (coarsest + 1e-14)
        chance = reach / np.maximum(usual, reach)
        for run in _runs(np.abs(departures) <= coarsest + 1e-14):
            expected = len(SCALES) * cells * float(np.prod(chance[run]))
            for place in run if expected <= CHANCE else ():
                size = float(curve.sizes[place + 1])
                found[size] = min(found.get(size, (np.inf, "")), (expected, name))
    for size, (_expected, name) in sorted(found.items()):
        where = _listed(np.array([size]))
        yield Defect(
            model=model,
            kind="interpolated",
            detail=f"the loss at {where} is on the line between those of the neighbouring sizes, in {name}",
        )


def _scales(curve: Measurements) -> list[tuple[str, Floats, Floats, Floats]]:
    """(name, sizes, losses, what a unit of loss is worth at each cell) in each scale."""
    unit = np.ones_like(curve.losses)
    sizes = (curve.log_sizes, curve.log_sizes, curve.sizes, curve.sizes)
    losses = ((curve.losses, unit), (curve.log_losses, unit / curve.losses)) * 2
    return [(name, size, *loss) for name, size, loss in zip(SCALES, sizes, losses, strict=True)]


def _departures(sizes: Floats, losses: Floats) -> Floats:
    """Distance [n - 2] of inner cells from the line between their neighbours."""
    if len(sizes) < 3:
        return np.zeros(0)
    weight = (sizes[1:-1] - sizes[:-2]) / (sizes[2:] - sizes[:-2])
    return np.asarray(losses[1:-1] - (1 - weight) * losses[:-2] - weight * losses[2:])


def _runs(hits: np.ndarray) -> Iterator[list[int]]:
    """Stretches of consecutive True."""
    for hit, run in groupby(range(len(hits)), key=lambda place: bool(hits[place])):
        if hit:
            yield list(run)


def _outliers(model: str, curve: Measurements, usual: float) -> Iterator[Defect]:
    """Cells far from the line of their neighbours, by the scatter of the curve or of a usual curve."""
    departures = _departures(curve.log_sizes, curve.log_losses)
    for place in range(len(departures) if len(departures) >= 6 else 0):
        # The neighbours of an outlier depart too, by half as much and the other way: they cannot judge it.
        others = np.delete(departures, range(max(place - 1, 0), min(place + 2, len(departures))))
        deviations = departures - np.median(others)
        limit = max(FAR * max(_scatter(others), usual), LEAST_OUTLIER)
        if abs(deviations[place]) > max(
            limit, np.abs(deviations[max(place - 1, 0) : place + 2]).max() * 0.999
        ):
            where = _listed(curve.sizes[place + 1 : place + 2])
            off = f"{100 * deviations[place]:+.1f} % off the line between those of the neighbouring sizes"
            yield Defect(model=model, kind="outlier", detail=f"the loss at {where} is {off} (advice only)")


def _scatter(values: Floats) -> float:
    """Standard deviation estimated from the median absolute deviation."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))
