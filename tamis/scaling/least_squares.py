"""Least squares on log losses for one law: a grid of starts by variable projection, then all refined at once.

For fixed shape (beta, delay, alpha) a law is linear in its two non-negative levels, so the grid solves two
unknowns in closed form at each of 24 to 7,200 shapes; the best local minima of the grid are refined together
by a batched Levenberg-Marquardt in the bounded coordinates of `laws`. 14 sizes take about 15 ms a curve (five
parameters: 90 ms), and the mean errors on 60 public curves are those of the best optima known.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np

from tamis.scaling.laws import ALPHA, BETA, DELAY, LEVEL, LOWER, SHARE, UPPER, Law, coordinates_of
from tamis.scaling.measurements import Floats

BETAS = np.exp(np.linspace(np.log(0.02), np.log(4.0), 24))
DELAYS = np.linspace(-16.0, 16.0, 30)
ALPHAS = np.exp(np.linspace(np.log(0.1), np.log(20.0), 10))
STARTS = 6
ITERATIONS = 600
PATIENCE = 100  # iterations in which the cost must fall by a millionth, else a flat valley is given up
EXACT = 1e-26  # sum of squares below which a fit is exact to rounding
STALLED = 1e-12  # relative decrease of the cost that counts as none
UNDAMPED = 1e-2  # a tiny decrease counts as stalled only under steps that are nearly Gauss-Newton
ORTHOGONAL = 1e-6  # cosine between residuals and Jacobian at a stationary point


@dataclass(frozen=True, kw_only=True)
class Solutions:
    """Ends of the search, best first: coordinates [s, 5], sums of squared log residuals [s], convergence [s].

    `converged`: the fit is exact, its gradient vanishes, or undamped steps lower its cost no more. A fit that
    was left in a flat valley, or after the last iteration, did not converge.
    """

    coordinates: Floats
    costs: Floats
    converged: np.ndarray


def solve(law: Law, log_x: Floats, log_losses: Floats) -> Solutions:
    """Fit a law at centred log sizes [n] to log losses [n]; needs as many points as free coordinates."""
    with np.errstate(all="ignore"):
        starts = _starts(law, log_x, log_losses)
    if len(starts) == 0:
        # Sizes or losses over hundreds of orders of magnitude: start from a level line.
        level = np.array([[log_losses.mean(), LOWER[SHARE] / 2, 0.0]])
        starts = coordinates_of(level, 0.0 if DELAY in law.free else -np.inf, 0.0)
    found = descend(law, log_x, log_losses, starts)
    order = np.argsort(found.costs, kind="stable")
    return Solutions(
        coordinates=found.coordinates[order], costs=found.costs[order], converged=found.converged[order]
    )


def _starts(law: Law, log_x: Floats, log_losses: Floats) -> Floats:
    """The best local minima [s, 5] of the cost on the grid of shapes."""
    delays = DELAYS if DELAY in law.free else np.array([-np.inf])
    if law.shifted:
        delays = np.linspace(log_x.min() - 4.0, log_x.max() + 6.0, len(DELAYS))
    alphas = ALPHAS if ALPHA in law.free else np.array([1.0])
    shape = (len(BETAS), len(delays), len(alphas))
    beta, delay, alpha = (part.ravel() for part in np.meshgrid(BETAS, delays, alphas, indexing="ij"))
    levels = np.zeros((beta.size, 3))
    levels[:, SHARE], levels[:, BETA] = UPPER[SHARE], np.log(beta)
    grid = coordinates_of(levels, delay, np.log(alpha))
    # With a share of 1 and a level of 0 the law is alpha * log g: the only place where g is needed alone.
    log_g = law.log_loss(grid, log_x)[0] / alpha[:, None]
    grid[:, LEVEL], grid[:, SHARE] = _project(log_g, log_losses, alpha)
    grid = np.clip(grid, np.where(np.isin(range(5), law.free), LOWER, -np.inf), UPPER)
    costs = ((law.log_loss(grid, log_x)[0] - log_losses) ** 2).sum(axis=1)
    minima = np.flatnonzero(_local_minima(costs.reshape(shape)).ravel())
    return np.asarray(grid[minima[np.argsort(costs[minima], kind="stable")[:STARTS]]])


def _project(log_g: Floats, log_losses: Floats, alpha: Floats) -> tuple[Floats, Floats]:
    """Level and logit share [s] minimising relative residuals of reducible * g + floor, both >= 0."""
    mean = log_losses.mean()
    inverse = np.exp(-(log_losses - mean) / alpha[:, None])  # [s, n], 1 / loss^(1/alpha)
    falling = np.exp(np.minimum(log_g, 600.0)) * inverse
    ff, ii, fi = (falling**2).sum(1), (inverse**2).sum(1), (falling * inverse).sum(1)
    f1, i1 = falling.sum(1), inverse.sum(1)
    determinant = ff * ii - fi**2
    with np.errstate(all="ignore"):
        reducible, floor = (f1 * ii - i1 * fi) / determinant, (i1 * ff - f1 * fi) / determinant
    only_falling = ~(determinant > 1e-12 * ff * ii) | ~(floor > 0)
    reducible, floor = np.where(only_falling, f1 / ff, reducible), np.where(only_falling, 0.0, floor)
    only_floor = ~(reducible > 0)
    reducible, floor = np.where(only_floor, 0.0, reducible), np.where(only_floor, i1 / ii, floor)
    share = np.clip(reducible / (reducible + floor), 1e-9, 1.0 - 1e-9)
    return mean + alpha * np.log(reducible + floor), np.log(share) - np.log1p(-share)


def _local_minima(costs: Floats) -> np.ndarray:
    """Mark the cells of the grid that are not above any neighbour along an axis."""
    padded = np.pad(costs, 1, constant_values=np.inf)
    lowest = np.isfinite(costs)
    for axis, step in product(range(costs.ndim), (-1, 1)):
        lowest &= costs <= np.roll(padded, step, axis)[1:-1, 1:-1, 1:-1]
    return lowest


def descend(law: Law, log_x: Floats, log_losses: Floats, starts: Floats) -> Solutions:
    """Levenberg-Marquardt from all starts [s, 5] at once, projected on the bounds, in their order.

    `log_losses` is one curve [n], whose first exact fit ends the search, or a curve for each start [s, n].
    """
    free = np.array(law.free)
    lower, upper = LOWER[free], UPPER[free]
    now, damping = starts.copy(), np.full(len(starts), 1e-3)
    fitted, slopes = law.log_loss(now, log_x)
    residuals, jacobian = fitted - log_losses, slopes[:, :, free]
    costs = (residuals**2).sum(axis=1)
    done, earlier, given_up = costs < EXACT, costs, np.zeros(len(starts), dtype=bool)
    for iteration in range(ITERATIONS):
        if done.all() or (log_losses.ndim == 1 and costs.min() < EXACT):
            break
        if iteration % PATIENCE == PATIENCE - 1:
            given_up |= ~done & (earlier - costs <= 1e-6 * costs)
            done |= given_up
            earlier = costs
        step, stationary = _step(residuals, jacobian, damping, now[:, free], lower, upper)
        done |= stationary
        proposed = now.copy()
        proposed[:, free] = np.clip(now[:, free] + step, lower, upper)
        fitted, slopes = law.log_loss(proposed, log_x)
        cost = ((fitted - log_losses) ** 2).sum(axis=1)
        better = (cost <= costs) & ~done
        done |= better & (costs - cost <= STALLED * costs) & (damping < UNDAMPED) | (cost < EXACT)
        now = np.where(better[:, None], proposed, now)
        residuals = np.where(better[:, None], fitted - log_losses, residuals)
        jacobian = np.where(better[:, None, None], slopes[:, :, free], jacobian)
        costs = np.where(better, cost, costs)
        damping = np.clip(damping * np.where(better, 0.2, 5.0), 1e-14, 1e12)
    return Solutions(coordinates=now, costs=costs, converged=done & ~given_up)


def _step(
    residuals: Floats, jacobian: Floats, damping: Floats, values: Floats, lower: Floats, upper: Floats
) -> tuple[Floats, np.ndarray]:
    """Damped Gauss-Newton steps [s, k] with coordinates at a bound held there, and which are stationary."""
    gradient = np.einsum("snk,sn->sk", jacobian, residuals)
    held = ((values <= lower) & (gradient > 0)) | ((values >= upper) & (gradient < 0))
    norms = np.sqrt((jacobian**2).sum(axis=1))
    scale = np.maximum(norms, 1e-8 * norms.max(axis=1, keepdims=True) + 1e-300)
    scaled = np.where(held[:, None, :], 0.0, jacobian / scale[:, None, :])
    downhill = np.where(held, 0.0, gradient / scale)
    normal = np.einsum("snk,snl->skl", scaled, scaled)
    normal += (damping[:, None, None] + np.where(held, 1.0, 0.0)[:, :, None]) * np.eye(values.shape[1])
    step = -np.linalg.solve(normal, downhill[:, :, None])[:, :, 0] / scale
    cosine = np.abs(downhill).max(axis=1) / np.maximum(np.sqrt((residuals**2).sum(axis=1)), 1e-300)
    return np.clip(step, -3.0, 3.0), cosine < ORTHOGONAL
