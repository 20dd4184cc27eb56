"""The slowest mode of the iteration, against a dense oracle, and what the certificate makes of it."""

import warnings

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from tamis.transport import FewTargetPoints, estimated_top_k, solve_and_score, solve_potential
from tamis.transport.cost import TargetSide
from tamis.transport.iteration import DENSE_BELOW, slowest_contraction

pytestmark = pytest.mark.filterwarnings("ignore::tamis.transport.FewTargetPoints")


def clusters(count: int, rows: int, targets: int, width: float, seed: int, dim: int = 8):
    """Rows [rows, dim] and targets [targets, dim] around the same centres, and which centre each has."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(count, dim))
    of_row, of_target = np.arange(rows) % count, np.arange(targets) % count
    x = centres[of_row] + width * rng.normal(size=(rows, dim))
    return x, centres[of_target] + width * rng.normal(size=(targets, dim)), of_row, of_target


@pytest.mark.parametrize("targets", [1, 2, 30, DENSE_BELOW + 100])
def test_the_second_eigenvalue_is_that_of_the_whole_derivative(targets):
    rng = np.random.default_rng(targets)
    x, y = rng.normal(size=(900, 6)), rng.normal(size=(targets, 6))
    mass = rng.random(900)
    b, g, epsilon = np.full(targets, 1 / targets), 0.1 * rng.normal(size=targets), 1.5
    log_plan = (g - ((x[:, None] - y) ** 2).sum(2)) / epsilon
    plan = np.exp(log_plan - logsumexp(log_plan, axis=1, keepdims=True)) * (mass / mass.sum())[:, None]
    balanced = plan.T @ (plan / plan.sum(1, keepdims=True)) / plan.sum(0)[:, None]
    expected = np.sort(np.linalg.eigvals(balanced).real)[-2] if targets > 1 else 0.0
    side = TargetSide(torch.from_numpy(y).float(), b)
    found = slowest_contraction(torch.from_numpy(x).float(), mass, side, g, epsilon)
    assert found == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("width", [0.3, 0.1])
def test_separated_clusters_are_not_certified_on_what_no_pass_shows(seed, width):
    x, y, of_row, of_target = clusters(2, 200, 60, width, seed)
    potential, score = solve_and_score(y, x)
    points = x - potential.center
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    cost = ((points[:, None] - potential.points.astype(float)) ** 2).sum(2)
    true = separate_solution(cost, of_row, of_target, potential.epsilon)
    difference = score - true
    assert np.ptp(difference) / 2 <= potential.error_estimate
    certified = estimated_top_k(potential, score, 20)
    assert set(certified.likely_in) <= set(np.argsort(true)[:20])


def separate_solution(cost: np.ndarray, of_row: np.ndarray, of_target: np.ndarray, epsilon: float):
    """Scores [n] where two groups exchange next to nothing: each solved alone, then balanced by leakage."""
    f, g = np.zeros(len(of_row)), np.zeros(len(of_target))
    for group in (0, 1):
        rows, columns = np.flatnonzero(of_row == group), np.flatnonzero(of_target == group)
        block, g_own = cost[np.ix_(rows, columns)], np.zeros(len(columns))
        for _ in range(1_000):
            f_own = -epsilon * (logsumexp((g_own - block) / epsilon, axis=1) - np.log(len(of_target)))
            g_own = -epsilon * (logsumexp((f_own[:, None] - block) / epsilon, axis=0) - np.log(len(of_row)))
        f[rows], g[columns] = f_own, g_own
    plan = (f[:, None] + g - cost) / epsilon
    leak = [logsumexp(plan[np.ix_(of_row == one, of_target == 1 - one)]) for one in (0, 1)]
    f[of_row == 1] -= epsilon / 2 * (leak[1] - leak[0])
    return f


def test_tight_clusters_are_solved_and_not_circled_around():
    rng = np.random.default_rng(4)
    centres = rng.normal(size=(5, 16))
    pool = centres[rng.integers(5, size=1_000)] + 0.01 * rng.normal(size=(1_000, 16))
    target = centres[rng.integers(5, size=60)] + 0.01 * rng.normal(size=(60, 16))
    with warnings.catch_warnings():
        warnings.simplefilter("error", category=UserWarning)
        warnings.simplefilter("ignore", category=FewTargetPoints)
        potential = solve_potential(target, pool)
    assert potential.converged
    assert potential.passes < 200


def test_the_certificate_knows_what_rounding_does_without_centring():
    rng = np.random.default_rng(0)
    pool = rng.normal(size=(2_000, 16)) + 300
    target = pool[:1] + 0.5
    potential, score = solve_and_score(target, pool, center=False, normalize=False)
    true = ((pool - target) ** 2).sum(1)
    for k in range(50, 2_000, 150):
        certified = estimated_top_k(potential, score, k)
        assert set(certified.likely_in) <= set(np.argsort(true)[:k])
