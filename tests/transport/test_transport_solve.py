"""Exactness of the solve: against linear programming and POT, by finite differences, in the limits."""

import dataclasses
import warnings

import numpy as np
import ot
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from transport_problems import RAW, Blocks, centred, clustered, costs, prepared

from tamis.transport import (
    BadShapeError,
    FewTargetPoints,
    LargeEpsilon,
    NotConverged,
    nearest_cost,
    prepare,
    solve_potential,
)

pytestmark = pytest.mark.filterwarnings("ignore::tamis.transport.FewTargetPoints")
seeds = st.integers(0, 10_000)


@given(seed=seeds)
@settings(deadline=None, max_examples=3)
def test_entropic_values_and_potentials_approach_the_linear_program(seed):
    problem = clustered(seed)
    cost = costs(problem)
    plan, log = ot.emd(problem.a, problem.b, cost, log=True)
    exact = float((plan * cost).sum())
    assert log["u"] @ problem.a + log["v"] @ problem.b == pytest.approx(exact, rel=1e-9)
    mean = problem.a @ cost @ problem.b
    gaps, errors = [], []
    for relative in (0.1, 0.01, 0.001):
        potential = solve_potential(
            problem.y,
            problem.x,
            epsilon=relative * mean,
            tolerance=1e-8,
            max_passes=50_000,  # some draws take 15,000 at the smallest epsilon
            **problem.weights,
            **RAW,
        )
        assert potential.converged
        assert potential.epsilon == pytest.approx(relative * potential.mean_cost)
        gaps.append(potential.dual_value - exact)
        errors.append(np.abs(centred(potential.gradient(problem.x)) - centred(log["u"])).max())
    assert gaps[0] > gaps[1] > gaps[2] > -1e-8
    assert gaps[2] < 0.02 * mean
    assert errors[2] < errors[0] / 2
    assert errors[2] < 0.05 * mean


@given(seed=seeds, relative=st.sampled_from([0.02, 0.05, 0.2]))
@settings(deadline=None, max_examples=5)
def test_potentials_equal_those_of_pot(seed, relative):
    problem = prepared(clustered(seed))
    cost = costs(problem)
    epsilon = relative * float(problem.a @ cost @ problem.b)
    _, log = ot.bregman.sinkhorn_log(
        problem.a, problem.b, cost, epsilon, stopThr=1e-12, numItermax=20_000, log=True
    )
    raw = clustered(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LargeEpsilon)
        potential = solve_potential(raw.y, raw.x, relative_epsilon=relative, tolerance=1e-9, **raw.weights)
    assert potential.epsilon == pytest.approx(epsilon, rel=1e-9)
    expected_f = epsilon * (log["log_u"] - np.log(problem.a))
    expected_g = epsilon * (log["log_v"] - np.log(problem.b))
    assert np.abs(centred(potential.gradient(raw.x)) - centred(expected_f)).max() < 5e-6
    assert np.abs(potential.g - centred(expected_g, problem.b)).max() < 1e-6
    plan_value = problem.a @ (expected_f) + problem.b @ expected_g
    assert potential.dual_value == pytest.approx(plan_value, abs=1e-7)


@given(seed=seeds, row=st.integers(0, 119))
@settings(deadline=None, max_examples=8)
def test_scores_are_the_gradient_in_the_mass_of_a_candidate(seed, row):
    problem = clustered(seed)
    step, spike = 2e-5, np.eye(len(problem.a))[row]
    assume(problem.a[row] > 250 * step)
    values = []
    for moved in (1 - step) * problem.a + step * spike, (1 + step) * problem.a - step * spike:
        assume(moved.min() > 0)
        potential = solve_potential(
            problem.y,
            problem.x,
            epsilon=0.5,
            tolerance=1e-10,
            target_weights=problem.b,
            reference_weights=moved,
            max_passes=5_000,
            **RAW,
        )
        values.append(potential.dual_value)
    score = solve_potential(
        problem.y, problem.x, epsilon=0.5, tolerance=1e-10, max_passes=5_000, **problem.weights, **RAW
    ).gradient(problem.x)
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(score[row] - problem.a @ score, abs=2e-4)


@given(seed=seeds)
@settings(deadline=None, max_examples=6)
def test_duplicates_score_alike_and_splitting_an_atom_changes_nothing(seed):
    problem = clustered(seed)
    x = np.concatenate([problem.x, problem.x[:1]])
    a = np.concatenate([problem.a, problem.a[:1] / 2])
    a[0] /= 2
    options = {"relative_epsilon": 0.05, "tolerance": 1e-8, "target_weights": problem.b}
    whole = solve_potential(problem.y, problem.x, reference_weights=problem.a, **options)
    split = solve_potential(problem.y, x, reference_weights=a, **options)
    scores = split.gradient(x)
    assert scores[0] == pytest.approx(scores[-1], abs=1e-6)
    assert np.abs(scores[:-1] - whole.gradient(problem.x)).max() < 1e-5


@given(seed=seeds, sizes=st.lists(st.integers(7, 90), min_size=1, max_size=4))
@settings(deadline=None, max_examples=6)
def test_order_and_chunking_of_the_reference_do_not_matter(seed, sizes):
    problem = clustered(seed, n=700)
    x = problem.x.astype(np.float32)
    options = {"tolerance": 1e-4, "target_weights": problem.b}
    base = solve_potential(problem.y, x, reference_weights=problem.a, **options)
    blocks = solve_potential(problem.y, Blocks(x, sizes), reference_weights=problem.a, **options)
    assert blocks.fingerprint == base.fingerprint
    assert (blocks.gradient(Blocks(x, sizes)) == base.gradient(x)).all()
    order, options["tolerance"] = np.random.default_rng(seed).permutation(len(x)), 1e-8
    sharp = solve_potential(problem.y, x, reference_weights=problem.a, **options)
    shuffled = solve_potential(problem.y, x[order], reference_weights=problem.a[order], **options)
    assert np.abs(shuffled.gradient(x) - sharp.gradient(x)).max() < 1e-5
    assert np.abs(base.gradient(x) - sharp.gradient(x)).max() <= 2 * base.error_estimate


@given(seed=seeds)
@settings(deadline=None, max_examples=6)
def test_joint_rotation_translation_and_scaling(seed):
    problem = clustered(seed)
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    shift = rng.normal(size=6)
    options = {"tolerance": 1e-8, "max_passes": 5_000, **problem.weights, **RAW}
    base = solve_potential(problem.y, problem.x, epsilon=0.5, **options).gradient(problem.x)
    y, x = problem.y @ rotation + shift, problem.x @ rotation + shift
    moved = solve_potential(y, x, epsilon=0.5, **options).gradient(x)
    assert np.abs(moved - base).max() < 2e-5
    scaled = solve_potential(3 * problem.y, 3 * problem.x, epsilon=4.5, **options).gradient(3 * problem.x)
    assert np.abs(scaled - 9 * base).max() < 2e-4
    away = problem.x + shift
    one_sided = solve_potential(problem.y, away, epsilon=0.5, **options).gradient(away)
    assert np.abs(centred(one_sided - base - 2 * problem.x @ shift)).max() < 1e-4


def test_centring_removes_an_offset_that_both_sides_share():
    problem = clustered(3, n=400, m=40, d=16)
    scores = [
        solve_potential(
            (problem.y + offset).astype(np.float32), (problem.x + offset).astype(np.float32), tolerance=1e-4
        ).gradient((problem.x + offset).astype(np.float32))
        for offset in (0.0, 10.0)
    ]
    top = [set(np.argsort(score)[:40]) for score in scores]
    assert len(top[0] & top[1]) >= 39


def test_masses_of_zero_are_ignored_on_both_sides():
    problem = clustered(5)
    a, b = problem.a.copy(), problem.b.copy()
    a[:40], b[:5] = 0, 0
    a, b = a / a.sum(), b / b.sum()
    options = {"tolerance": 1e-8, "epsilon": 0.05, "center": a @ problem.x}
    full = solve_potential(problem.y, problem.x, target_weights=b, reference_weights=a, **options)
    kept = solve_potential(
        problem.y[5:], problem.x[40:], target_weights=b[5:], reference_weights=a[40:], **options
    )
    assert (full.g[:5] == 0).all()
    assert np.abs(full.g[5:] - kept.g).max() < 1e-6
    assert np.isfinite(full.gradient(problem.x)).all()
    assert np.abs(full.gradient(problem.x) - kept.gradient(problem.x)).max() < 1e-5


def test_limits_of_epsilon():
    problem = clustered(7, m=60)
    cost = costs(prepared(problem))
    with pytest.warns(LargeEpsilon):
        blurred = solve_potential(problem.y, problem.x, relative_epsilon=100.0, **problem.weights)
    assert spearmanr(blurred.gradient(problem.x), cost @ problem.b).statistic > 0.999
    sharp = dataclasses.replace(blurred, potential=np.zeros(60), epsilon=1e-5)
    nearest = nearest_cost(problem.y, problem.x, center=sharp.center)
    assert np.abs(sharp.gradient(problem.x) - nearest).max() < 1e-3
    assert np.abs(nearest - cost.min(1)).max() < 1e-5


@given(seed=seeds, relative=st.sampled_from([0.003, 0.02, 0.08]), memory=st.sampled_from([0, 2**20]))
@settings(deadline=None, max_examples=5)
def test_a_sample_first_gives_the_same_potential_and_honest_passes(seed, relative, memory):
    problem = clustered(seed, n=887, m=20)
    options = {"relative_epsilon": relative, "tolerance": 1e-5, "memory": memory}
    with pytest.MonkeyPatch.context() as patch:
        stored = solve_potential(problem.y, problem.x, **options)
        patch.setattr(prepare, "SAMPLE_ROWS", 200)
        patch.setattr(prepare, "KEPT_SAMPLE_ROWS", 100)
        streamed = solve_potential(problem.y, Blocks(problem.x, [333, 50]), **options)
        again = solve_potential(problem.y, problem.x, seed=0, **options)
    assert streamed.converged
    assert streamed.fingerprint == again.fingerprint
    assert streamed.passes != int(streamed.passes)
    difference = np.ptp(stored.potential - streamed.potential) / 2
    assert difference <= stored.error_estimate + streamed.error_estimate
    measured = np.abs(streamed.column_sums(problem.x) - streamed.target_weights).sum()
    assert measured == pytest.approx(streamed.marginal_error, abs=1e-5)


def test_a_warm_start_supplies_potential_centre_and_epsilon():
    problem = clustered(11, n=800, m=50)
    cold = solve_potential(problem.y, problem.x[:600], tolerance=1e-4)
    warm = solve_potential(problem.y, problem.x, warm_start=cold, tolerance=1e-4)
    fresh = solve_potential(
        problem.y, problem.x, tolerance=1e-4, center=cold.center, epsilon=cold.epsilon, max_passes=500
    )
    assert warm.passes < fresh.passes
    assert warm.epsilon == cold.epsilon
    assert (warm.center == cold.center).all()
    assert np.abs(warm.gradient(problem.x) - fresh.gradient(problem.x)).max() < 1e-2
    kept = solve_potential(problem.y, problem.x[:600], warm_start=cold, tolerance=1e-4)
    assert kept.passes == 1
    other = solve_potential(problem.y, problem.x, warm_start=cold, epsilon=0.15, center=False)
    assert other.epsilon == 0.15
    assert other.center is None
    with pytest.raises(ValueError, match="normalize"):
        solve_potential(problem.y, problem.x, warm_start=cold, normalize=False)
    with pytest.raises(ValueError, match="50 target points"):
        solve_potential(problem.y[:9], problem.x, warm_start=cold)


def test_points_far_from_the_origin_are_scored_as_those_around_it():
    """Costs do not change with the origin, but similarities of uncentred points grow with their distance."""
    problem = clustered(12, n=600, m=80)
    y, x = problem.y.astype(np.float64), problem.x.astype(np.float64)
    near = solve_potential(y, x, tolerance=1e-5, center=False, normalize=False)
    far = solve_potential(y + 1000, x + 1000, tolerance=1e-3, center=False, normalize=False)
    assert far.converged
    scores = centred(far.gradient(x + 1000)), centred(near.gradient(x))
    assert np.abs(scores[0] - scores[1]).max() < 0.02 * scores[1].std()


def test_a_warm_start_that_no_longer_fits_is_solved_on_a_sample_first(monkeypatch):
    monkeypatch.setattr(prepare, "SAMPLE_ROWS", 200)
    problem = clustered(13, n=887, m=20)
    cold = solve_potential(problem.y, problem.x[:300] + 3.0, center=np.zeros(6))
    moved = solve_potential(problem.y, problem.x, warm_start=cold, memory=0)
    assert moved.converged
    assert 1 < moved.passes != int(moved.passes)


def test_warnings_name_what_is_weak():
    problem = clustered(17, m=20)
    with pytest.warns(FewTargetPoints, match="only 20 points"):
        solve_potential(problem.y, problem.x)
    with pytest.warns(LargeEpsilon):
        solve_potential(problem.y, problem.x, relative_epsilon=0.11)
    with pytest.warns(LargeEpsilon):
        solve_potential(problem.y, problem.x, epsilon=0.5)
    with pytest.warns(NotConverged):
        stopped = solve_potential(problem.y, problem.x, relative_epsilon=0.01, max_passes=2)
    assert not stopped.converged
    assert stopped.passes <= 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fine = solve_potential(clustered(1, m=500).y, problem.x, relative_epsilon=0.1, center=False)
    assert fine.converged


def test_anisotropic_small_epsilon_and_far_points_stay_finite():
    problem = clustered(19, n=300, m=30)
    small = solve_potential(problem.y, problem.x, relative_epsilon=1e-3, max_passes=3_000)
    assert small.converged
    y = problem.y.copy()
    y[0] += 1_000.0
    far = solve_potential(y, problem.x, epsilon=1.0, tolerance=1e-2, max_passes=500, **RAW)
    assert far.converged
    assert np.isfinite(far.gradient(problem.x)).all()
    assert far.column_sums(problem.x)[0] == pytest.approx(1 / 30, abs=1e-2)


@pytest.mark.parametrize("mode", ["medium", "high"])
def test_reduced_precision_of_the_caller_is_neither_used_nor_lost(mode):
    import torch

    problem = clustered(23, n=200, m=30, d=64)
    base = solve_potential(problem.y, problem.x).gradient(problem.x)
    torch.set_float32_matmul_precision(mode)
    try:
        reduced = solve_potential(problem.y, problem.x).gradient(problem.x)
        assert torch.get_float32_matmul_precision() == mode
    finally:
        torch.set_float32_matmul_precision("highest")
    assert (base == reduced).all()


@pytest.mark.parametrize(
    "settings",
    [
        {"tolerance": 0},
        {"tolerance": "1e-3"},
        {"relative_epsilon": -1},
        {"epsilon": float("nan")},
        {"max_passes": 0},
        {"max_passes": float("nan")},
        {"max_passes": 10.5},
        {"max_passes": 100.0},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings):
    problem = clustered(29)
    expected = "a whole number, 1 or more" if "max_passes" in settings else "a positive finite number"
    name, value = next(iter(settings.items()))
    with pytest.raises(BadShapeError, match=f"{name}: {value!r}; expected {expected}"):
        solve_potential(problem.y, problem.x, **settings)
