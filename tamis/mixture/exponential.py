"""Least squares for laws y = c + exp(h(w)): many fits to the same runs at once, by Levenberg-Marquardt.

Fits differ in their values, in the runs that they use and in their ridge: starts, folds and losses of one
swarm go together. Values are standardised first, so that the law of rescaled or shifted losses is the
rescaled or shifted law. The exponent h has one of two shapes, over features x = w^p of the shares:

- `Linear`: b + t . x, of one sign a source; p = 1 is the linear exponent (arXiv 2403.16952), p = 1/2 the
  root law.
- `Transfer`: -a log(e^s0 + sum e^sj x_j), a power law in the effective data of a mixture, to which each
  source adds: fewer shapes than the linear exponent can take, so that few runs determine it.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

STARTS = (0.05, 0.3, 1.5, 6.0)
"""Distances of the floor c below the smallest value at the start, in ranges of the values."""
ITERATIONS = 80
LARGEST_EXPONENT = 30.0
STALLED = 1e-7  # relative decrease of the cost under which a fit has ended
BATCH = 4_000_000  # numbers in the Jacobians of fits that are made together


class Shape(Protocol):
    """An exponent as a function of the shares of a mixture."""

    @property
    def power(self) -> float:
        """Return p of the features w^p."""
        ...

    def starts(self, features_nk: Floats, above_sn: Floats, used_sn: Flags, ridge: float) -> Floats:
        """Return parameters [s, q] with which exp(h) is about `above_sn`."""
        ...

    def exponent(self, found_sq: Floats, features_nk: Floats) -> tuple[Floats, Floats]:
        """Return h [s, n] and its derivatives by the parameters, [s, n, q] or [1, n, q]."""
        ...

    def by_feature(self, found_sq: Floats, features_nk: Floats) -> Floats:
        """Return the derivatives of h by the features [s, n, k]."""
        ...

    def penalty(self, sources: int) -> Floats:
        """Return the matrix [q, q] whose quadratic form a ridge penalises."""
        ...


@dataclass(frozen=True, kw_only=True)
class Linear:
    """h = b + t . (x - centre); `centre_k` is the mean of the features."""

    power: float
    centre_k: Floats

    def starts(self, features_nk: Floats, above_sn: Floats, used_sn: Flags, ridge: float) -> Floats:
        """Return the weighted least squares of log(above), weights `above`."""
        design_nq = self._design(features_nk)
        square_sn = used_sn * above_sn**2
        normal_sqq = np.einsum("sn,nq,nr->sqr", square_sn, design_nq, design_nq, optimize=True)
        shrink = ridge * square_sn.sum(1)[:, None, None] * self.penalty(features_nk.shape[1])
        normal_sqq += shrink + 1e-9 * np.eye(design_nq.shape[1])
        right_sq = (square_sn * np.log(above_sn)) @ design_nq
        return np.linalg.solve(normal_sqq, right_sq[:, :, None])[:, :, 0]

    def exponent(self, found_sq: Floats, features_nk: Floats) -> tuple[Floats, Floats]:
        """Return h [s, n] and its derivatives [1, n, q]."""
        design_nq = self._design(features_nk)
        return found_sq @ design_nq.T, design_nq[None]

    def by_feature(self, found_sq: Floats, features_nk: Floats) -> Floats:
        """Return t for every row."""
        return np.broadcast_to(found_sq[:, None, 1:], (len(found_sq), *features_nk.shape))

    def penalty(self, sources: int) -> Floats:
        """Return the identity without the level."""
        found = np.eye(sources + 1)
        found[0, 0] = 0.0
        return found

    def _design(self, features_nk: Floats) -> Floats:
        return np.column_stack([np.ones(len(features_nk)), features_nk - self.centre_k])


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """h = -a log(e^s0 + sum e^sj x_j), with parameters (log a, s0, s1 ... sk)."""

    power: float

    def starts(self, features_nk: Floats, above_sn: Floats, used_sn: Flags, ridge: float) -> Floats:
        """Return a = 1, all sources alike, at the mean level of `above`."""
        level_s = (used_sn * above_sn).sum(1) / used_sn.sum(1)
        found_sq = np.zeros((len(above_sn), features_nk.shape[1] + 2))
        found_sq[:, 1:] = -np.log(level_s * (1.0 + features_nk.sum(1).mean()))[:, None]
        return found_sq

    def exponent(self, found_sq: Floats, features_nk: Floats) -> tuple[Floats, Floats]:
        """Return h [s, n] and its derivatives [s, n, q]."""
        steepness_s = np.exp(np.clip(found_sq[:, 0], -3.0, 2.0))
        parts_sk = np.exp(np.clip(found_sq[:, 1:], -LARGEST_EXPONENT, LARGEST_EXPONENT))
        sum_sn = parts_sk[:, :1] + parts_sk[:, 1:] @ features_nk.T
        exponent_sn = -steepness_s[:, None] * np.log(sum_sn)
        slope = np.empty((*sum_sn.shape, found_sq.shape[1]))
        slope[:, :, 0] = exponent_sn
        slope[:, :, 1] = parts_sk[:, :1]
        slope[:, :, 2:] = parts_sk[:, None, 1:] * features_nk
        slope[:, :, 1:] *= (-steepness_s[:, None] / sum_sn)[:, :, None]
        return exponent_sn, slope

    def by_feature(self, found_sq: Floats, features_nk: Floats) -> Floats:
        """Return the derivatives of h by the features [s, n, k]."""
        steepness_s = np.exp(np.clip(found_sq[:, 0], -3.0, 2.0))
        parts_sk = np.exp(np.clip(found_sq[:, 1:], -LARGEST_EXPONENT, LARGEST_EXPONENT))
        sum_sn = parts_sk[:, :1] + parts_sk[:, 1:] @ features_nk.T
        return -(steepness_s[:, None] / sum_sn)[:, :, None] * parts_sk[:, None, 1:]

    def penalty(self, sources: int) -> Floats:
        """Return what makes sources alike, and holds a and e^s0 weakly."""
        found = np.zeros((sources + 2, sources + 2))
        found[2:, 2:] = np.eye(sources) - 1.0 / sources
        found[0, 0] = 0.01
        found[1, 1], found[1, 2:], found[2:, 1] = 0.01, -0.01 / sources, -0.01 / sources
        found[2:, 2:] += 0.01 / sources**2
        return found


@dataclass(frozen=True, kw_only=True)
class Exponentials:
    """Fitted laws of one shape: floors c [s], scales [s] and parameters [s, q] of the exponents."""

    shape: Shape
    floor_s: Floats
    scale_s: Floats
    found_sq: Floats
    smooth: bool = True

    def predict(self, weights_nk: Floats) -> Floats:
        """Return values [s, n]."""
        exponent_sn, _ = self.shape.exponent(self.found_sq, weights_nk**self.shape.power)
        return self.floor_s[:, None] + self.scale_s[:, None] * _exp(exponent_sn)

    def by_root(self, roots_nk: Floats) -> Floats:
        """Return derivatives [s, n, k] by the square roots of the shares, which are finite at zero."""
        power, features_nk = self.shape.power, roots_nk ** (2 * self.shape.power)
        exponent_sn, _ = self.shape.exponent(self.found_sq, features_nk)
        by_feature_snk = self.shape.by_feature(self.found_sq, features_nk)
        of_feature_nk = 2 * power * roots_nk ** (2 * power - 1)
        return (self.scale_s[:, None] * _exp(exponent_sn))[:, :, None] * by_feature_snk * of_feature_nk

    def take(self, rows: NDArray[np.intp]) -> "Exponentials":
        """Return some of the laws."""
        return Exponentials(
            shape=self.shape,
            floor_s=self.floor_s[rows],
            scale_s=self.scale_s[rows],
            found_sq=self.found_sq[rows],
        )


def _exp(exponent_sn: Floats) -> Floats:
    return np.exp(np.clip(exponent_sn, -LARGEST_EXPONENT, LARGEST_EXPONENT))


def fit_exponentials(
    shape: Shape,
    weights_nk: Floats,
    y_sn: Floats,
    used_sn: Flags,
    ridge: float,
    near: Exponentials | None = None,
) -> Exponentials:
    """Fit s laws to values y_sn, each to the runs that `used_sn` marks (with at least two unlike values).

    `ridge` is in units of the number of runs, the mean variance of the features and the squared mean of
    y - c at the start. The best of several starts wins; with `near`, laws of about the same values, the
    only start.
    """
    features_nk = weights_nk**shape.power
    weight_sn = used_sn.astype(float)
    count_s = weight_sn.sum(1)
    y_sn = np.where(used_sn, y_sn, 0.0)
    mean_s = y_sn.sum(1) / count_s
    scale_s = np.sqrt((weight_sn * (y_sn - mean_s[:, None]) ** 2).sum(1) / count_s)
    scale_s = np.where(scale_s > 0, scale_s, 1.0)  # a fold may hold all runs that differ
    z_sn = np.where(used_sn, (y_sn - mean_s[:, None]) / scale_s[:, None], 0.0)
    variance = float(features_nk.var(0).mean())
    repeat = 1 if near is not None else len(STARTS)
    z_sn, used_sn = np.repeat(z_sn, repeat, 0), np.repeat(used_sn, repeat, 0)
    low_s = np.where(used_sn, z_sn, np.inf).min(1)
    if near is None:
        floor_s = low_s - np.tile(STARTS, len(mean_s)) * (np.where(used_sn, z_sn, -np.inf).max(1) - low_s)
        above_sn = np.where(used_sn, z_sn - floor_s[:, None], 1.0)
        found_sq = shape.starts(features_nk, above_sn, used_sn, ridge * variance)
    else:
        floor_s = (near.floor_s - mean_s) / scale_s
        found_sq = near.found_sq.copy()
        if isinstance(shape, Linear):
            found_sq[:, 0] += np.log(near.scale_s / scale_s)
        else:
            found_sq[:, 1:] -= (np.log(near.scale_s / scale_s) / np.exp(found_sq[:, 0]))[:, None]
    level_s = np.maximum(-floor_s, 0.1)  # the mean of z is 0
    penalty_s = np.repeat(ridge * count_s, repeat) * variance * level_s**2
    now_sq = np.column_stack([floor_s, found_sq])
    cost_s = np.empty(len(now_sq))
    size = max(1, BATCH // (features_nk.size + 2 * len(features_nk)))
    for start in range(0, len(now_sq), size):
        part = slice(start, start + size)
        now_sq[part], cost_s[part] = _descend(
            shape, features_nk, z_sn[part], used_sn[part], penalty_s[part], now_sq[part]
        )
    best_s = np.arange(len(mean_s)) * repeat + cost_s.reshape(-1, repeat).argmin(1)
    return Exponentials(
        shape=shape,
        floor_s=mean_s + scale_s * now_sq[best_s, 0],
        scale_s=scale_s,
        found_sq=now_sq[best_s, 1:],
    )


def _descend(
    shape: Shape, features_nk: Floats, z_sn: Floats, used_sn: Flags, penalty_s: Floats, now_sq: Floats
) -> tuple[Floats, Floats]:
    """Return parameters (c, then those of the exponent) [s, q + 1] at the optimum, and costs [s]."""
    q = now_sq.shape[1]
    weight_sn = used_sn.astype(float)
    penalty_qq = np.zeros((q, q))
    penalty_qq[1:, 1:] = shape.penalty(features_nk.shape[1])
    penalty_sqq = penalty_s[:, None, None] * penalty_qq
    index = np.arange(q)
    products = None

    def evaluate(found_sq: Floats, rows: NDArray[np.intp]) -> tuple[Floats, Floats, Floats]:
        exponent_sn, _ = shape.exponent(found_sq[:, 1:], features_nk)
        excess_sn = weight_sn[rows] * _exp(exponent_sn)
        residual_sn = excess_sn + weight_sn[rows] * (found_sq[:, :1] - z_sn[rows])
        ridge_s = np.einsum("sq,sqr,sr->s", found_sq, penalty_sqq[rows], found_sq, optimize=True)
        return excess_sn, residual_sn, (residual_sn**2).sum(1) + ridge_s

    now_sq, active = now_sq.copy(), np.arange(len(now_sq))
    excess_sn, residual_sn, cost_s = evaluate(now_sq, active)
    damping_s = np.full(len(now_sq), 1e-2)
    for _ in range(ITERATIONS):
        excess, residual = excess_sn[active], residual_sn[active]
        _, slope = shape.exponent(now_sq[active, 1:], features_nk)
        normal = np.empty((len(active), q, q))
        right = np.empty((len(active), q))
        if len(slope) == 1:  # the same derivatives for all: one product of matrices
            design = slope[0]
            if products is None:
                products = (design[:, :, None] * design[:, None, :]).reshape(len(design), -1)
            normal[:, 1:, 1:] = ((excess**2) @ products).reshape(-1, q - 1, q - 1)
            normal[:, 0, 1:] = normal[:, 1:, 0] = excess @ design
            right[:, 1:] = (excess * residual) @ design
        else:
            slope *= excess[:, :, None]
            normal[:, 1:, 1:] = slope.transpose(0, 2, 1) @ slope
            normal[:, 0, 1:] = normal[:, 1:, 0] = slope.sum(1)
            right[:, 1:] = (residual[:, None, :] @ slope)[:, 0]
        normal[:, 0, 0], right[:, 0] = weight_sn[active].sum(1), residual.sum(1)
        normal += penalty_sqq[active]
        right += (penalty_sqq[active] @ now_sq[active, :, None])[:, :, 0]
        normal[:, index, index] *= 1.0 + damping_s[active, None]
        normal[:, index, index] += 1e-9
        proposed = now_sq[active] - np.linalg.solve(normal, right[:, :, None])[:, :, 0]
        excess, residual, cost = evaluate(proposed, active)
        better = cost < cost_s[active]
        kept = active[better]
        ended = better & (cost_s[active] - cost <= STALLED * cost_s[active]) | (damping_s[active] > 1e8)
        now_sq[kept], excess_sn[kept], residual_sn[kept] = proposed[better], excess[better], residual[better]
        cost_s[kept] = cost[better]
        damping_s[active] *= np.where(better, 0.2, 5.0)
        active = active[~ended]
        if not len(active):
            break
    return now_sq, cost_s
