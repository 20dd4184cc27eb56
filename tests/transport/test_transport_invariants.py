"""Invariants of the scores that hold for any problem, besides those in the tests of each module."""

import warnings

import numpy as np
import ot
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from transport_problems import RAW, Blocks, centred, clustered, costs, prepared

from tamis.samplers.contrast import contrast
from tamis.transport import (
    LargeEpsilon,
    TargetPotential,
    calibrate,
    nearest_cost,
    solve_potential,
)
from tamis.transport.ordering import smallest_first

pytestmark = pytest.mark.filterwarnings("ignore::tamis.transport.FewTargetPoints")
seeds = st.integers(0, 10_000)
SHARP = {"tolerance": 1e-8, "max_passes": 2_000}


@given(seed=seeds, row=st.integers(0, 59))
@settings(deadline=None, max_examples=6)
def test_scores_of_a_sharp_solve_are_the_one_sided_derivative_of_the_linear_program(seed, row):
    """Group 3: moving mass to a document changes the exact distance at the rate of its score."""
    problem = clustered(seed, n=60, m=13)
    cost, step = costs(problem), 1e-5
    values = [
        ot.emd2((1 - t) * problem.a + t * np.eye(60)[row], problem.b, cost, numItermax=10**6)
        for t in (0.0, step)
    ]
    mean = float(problem.a @ cost @ problem.b)
    score = solve_potential(
        problem.y, problem.x, epsilon=3e-3 * mean, tolerance=3e-3, max_passes=300, **problem.weights, **RAW
    ).gradient(problem.x)
    assert (values[1] - values[0]) / step == pytest.approx(score[row] - problem.a @ score, abs=0.1 * mean)
    assert np.ptp(score) > 0.5 * mean


@given(seed=seeds)
@settings(deadline=None, max_examples=6)
def test_a_candidate_outside_the_reference_has_the_derivative_of_adding_it(seed):
    """Group 3 for a separate reference: what a document that the reference lacks would change."""
    problem, new = clustered(seed), clustered(seed + 1).x[:1]
    options = {"epsilon": 0.5, "target_weights": problem.b, **SHARP, **RAW}
    solved = solve_potential(problem.y, problem.x, reference_weights=problem.a, **options)
    step, widened = 1e-6, np.concatenate([problem.x, new])
    moved = np.append((1 - step) * problem.a, step)
    value = solve_potential(problem.y, widened, reference_weights=moved, **options).dual_value
    expected = float(solved.gradient(new)[0] - problem.a @ solved.gradient(problem.x))
    assert (value - solved.dual_value) / step == pytest.approx(expected, abs=0.05 * (1 + abs(expected)))


@given(seed=seeds, weighted=st.booleans())
@settings(deadline=None, max_examples=8)
def test_calibrated_scores_of_a_solve_sum_to_nothing_in_the_same_order(seed, weighted):
    """Group 4, on real scores."""
    problem = clustered(seed)
    weights = problem.a if weighted else None
    score = solve_potential(problem.y, problem.x, reference_weights=weights).gradient(problem.x)
    found = calibrate(score, weights)
    assert found @ (problem.a if weighted else np.full(120, 1 / 120)) == pytest.approx(0, abs=1e-5)
    assert spearmanr(found, score).statistic > 1 - 1e-9


@given(seed=seeds, copies=st.integers(2, 6))
@settings(deadline=None, max_examples=8)
def test_copies_score_alike_so_the_top_holds_all_of_them(seed, copies):
    """Group 5: deduplicate before; without it the ids decide, not the rows."""
    problem = clustered(seed)
    best = int(np.argmin(solve_potential(problem.y, problem.x).gradient(problem.x)))
    x = np.concatenate([problem.x, np.tile(problem.x[best], (copies, 1))])
    potential = solve_potential(problem.y, problem.x)
    score = potential.gradient(x)
    alike = [best, *range(120, 120 + copies)]
    assert np.ptp(score[alike]) < 1e-6
    assert set(smallest_first(np.round(score, 5), copies + 1)) == set(alike)


@given(seed=seeds, scale=st.sampled_from([1e-2, 1.0, 1e3]), offset=st.sampled_from([0.0, 1.0, 30.0]))
@settings(deadline=None, max_examples=8)
def test_default_points_forget_rotation_scale_and_offset(seed, scale, offset):
    """Group 7 for the defaults: centring and normalising leave directions from the pool's mean."""
    problem = clustered(seed)
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(6, 6)))[0]
    options = {"tolerance": 1e-6, "max_passes": 1_000, "relative_epsilon": 0.05}
    base = solve_potential(problem.y, problem.x, **options)
    x, y = (scale * (rows @ rotation + offset) for rows in (problem.x, problem.y))
    moved = solve_potential(y, x, **options)
    assert moved.epsilon == pytest.approx(base.epsilon, rel=1e-6)
    assert np.abs(moved.gradient(x) - base.gradient(problem.x)).max() < 1e-4


@given(seed=seeds, weight=st.sampled_from([0.0, 0.3, 5.0]))
@settings(deadline=None, max_examples=5)
def test_a_row_cost_shifts_scores_exactly(seed, weight):
    """Group 8: a price on documents (quality, length) is a cost in the problem, and changes g not at all."""
    problem = clustered(seed)
    price = weight * np.random.default_rng(seed).random(120)
    solved = solve_potential(problem.y, problem.x, relative_epsilon=0.05, **SHARP, **problem.weights)
    cost = costs(prepared(problem)) + price[:, None]
    log = ot.bregman.sinkhorn_log(
        problem.a, problem.b, cost, solved.epsilon, stopThr=1e-9, numItermax=5_000, log=True
    )[1]
    expected = solved.epsilon * (log["log_u"] - np.log(problem.a))
    assert np.abs(centred(solved.gradient(problem.x, price)) - centred(expected)).max() < 1e-5
    assert (
        np.abs(solved.g - centred(solved.epsilon * (log["log_v"] - np.log(problem.b)), problem.b)).max()
        < 1e-5
    )


@given(seed=seeds, sizes=st.lists(st.integers(1, 300), min_size=1, max_size=3), center=st.booleans())
@settings(deadline=None, max_examples=6)
def test_stored_potentials_score_the_training_rows_bit_for_bit(seed, sizes, center, tmp_path_factory):
    """Group 11: a score is a function of the potential and the row alone."""
    problem = clustered(seed, n=700)
    potential = solve_potential(problem.y, problem.x, center=center)
    score = potential.gradient(problem.x)
    path = tmp_path_factory.mktemp("potential") / "p"
    potential.save(path)
    loaded = TargetPotential.load(path)
    assert (loaded.gradient(Blocks(problem.x, sizes)) == score).all()
    assert (loaded.score(problem.x)[0] == score).all()
    assert (loaded.column_sums(Blocks(problem.x, sizes)) == potential.column_sums(problem.x)).all()


@given(seed=seeds)
@settings(deadline=None, max_examples=6)
def test_limits_of_epsilon_are_the_mean_cost_and_the_nearest_cost(seed):
    """Group 12, with weights on both sides."""
    problem = clustered(seed)
    cost = costs(prepared(problem))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LargeEpsilon)
        blurred = solve_potential(problem.y, problem.x, relative_epsilon=100.0, **problem.weights)
    assert np.abs(centred(blurred.gradient(problem.x)) - centred(cost @ problem.b)).max() < 1e-2
    one = solve_potential(problem.y[:1], problem.x, center=problem.a @ problem.x)
    assert np.abs(one.gradient(problem.x) - cost[:, 0]).max() < 1e-5
    nearest = nearest_cost(problem.y[:1], problem.x, center=problem.a @ problem.x)
    assert np.abs(nearest - cost[:, 0]).max() < 1e-5


@given(
    seed=seeds,
    plentiful=st.sampled_from([0.25, 0.4]),
    rare=st.sampled_from([0.005, 0.01, 0.02]),
    relative=st.sampled_from([0.01, 0.03, 0.05]),
)
@settings(deadline=None, max_examples=8)
def test_what_the_pool_holds_in_plenty_is_not_chosen_again(seed, plentiful, rare, relative):
    """Group 13: at most a tenth of kNN's share, most of the difference to the rare; contrast reverses."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(20, 64)) / 8
    shares = np.array([plentiful, *[rare] * 4, *[(1 - plentiful - 4 * rare) / 15] * 15])

    def draw(modes):
        return centres[modes] + 0.1 * rng.normal(size=(len(modes), 64))

    modes = rng.choice(20, size=2_000, p=shares)
    pool, target = draw(modes), draw(rng.choice(5, size=300, p=[0.1, *[0.225] * 4]))
    rare_n = np.isin(modes, [1, 2, 3, 4])
    k = int(rare_n.sum())
    potential = solve_potential(target, pool, relative_epsilon=relative)
    score = potential.gradient(pool)
    ours, nearest = smallest_first(score, k), smallest_first(nearest_cost(target, pool), k)
    found = {name: np.bincount(modes[top], minlength=20) for name, top in (("us", ours), ("knn", nearest))}
    assume(found["knn"][0] >= 0.1 * k)  # kNN gives it its share of the target, or more
    assert found["us"][0] <= 0.1 * found["knn"][0]
    lost, gained = found["knn"][0] - found["us"][0], found["us"][1:5].sum() - found["knn"][1:5].sum()
    assert lost - gained <= max(0.1 * lost, 2)  # of few documents, two may overlap with another mode
    assert (smallest_first(contrast(potential, pool)) == np.argsort(-score, kind="stable")).all()
