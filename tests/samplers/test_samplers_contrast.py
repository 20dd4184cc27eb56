"""Away from a bad target: the reversed order, the exact gradient of a difference, and what it chooses."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transport_problems import clustered

from tamis.samplers.contrast import contrast
from tamis.transport import solve_potential
from tamis.transport.ordering import smallest_first

pytestmark = pytest.mark.filterwarnings("ignore::tamis.transport.FewTargetPoints")
seeds = st.integers(0, 10_000)


@given(seed=seeds)
@settings(deadline=None, max_examples=8)
def test_alone_it_is_the_reversed_order_of_the_same_target(seed):
    problem = clustered(seed)
    bad = solve_potential(problem.y, problem.x)
    score, gradient = contrast(bad, problem.x), bad.gradient(problem.x)
    assert (score == -gradient).all()
    assert (smallest_first(score, 20) == np.argsort(-gradient, kind="stable")[:20]).all()
    penalty = np.random.default_rng(seed).random(120)
    assert np.abs(contrast(bad, problem.x, row_cost=penalty) - (penalty - gradient)).max() < 1e-6


@given(seed=seeds, weight=st.sampled_from([0.3, 1.0, 2.0]), row=st.integers(0, 119))
@settings(deadline=None, max_examples=6)
def test_combined_it_is_the_gradient_of_the_difference_of_distances(seed, weight, row):
    problem, other = clustered(seed), clustered(seed + 1)
    options = {"epsilon": 0.15, "tolerance": 1e-9, "max_passes": 5_000, "center": np.zeros(6)}

    def solved(target, masses):
        return solve_potential(target, problem.x, reference_weights=masses, **options)

    good, bad = solved(problem.y, problem.a), solved(other.y, problem.a)
    score = contrast(bad, problem.x, good=good, weight=weight)
    step, spike = 1e-4, np.eye(120)[row]
    values = []
    for sign in (1, -1) if problem.a[row] > 50 * step else (1, 0):
        moved = problem.a + sign * step * (spike - problem.a)
        values.append(solved(problem.y, moved).dual_value - weight * solved(other.y, moved).dual_value)
    width = 2 * step if problem.a[row] > 50 * step else step
    expected = float(score[row] - problem.a @ score)
    assert (values[0] - values[1]) / width == pytest.approx(expected, abs=2e-3 if width == 2 * step else 0.05)


def test_weights_of_none_one_and_much():
    problem, other = clustered(1), clustered(2)
    good, bad = solve_potential(problem.y, problem.x), solve_potential(other.y, problem.x)
    assert (contrast(bad, problem.x, good=good, weight=0) == good.gradient(problem.x)).all()
    much = contrast(bad, problem.x, good=good, weight=1e4)
    assert (smallest_first(much, 5) == smallest_first(contrast(bad, problem.x), 5)).all()
    for weight in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="weight"):
            contrast(bad, problem.x, good=good, weight=weight)
    with pytest.raises(ValueError, match="only once"):
        contrast(bad, iter([problem.x]), good=good)
    for score in (contrast(bad, [problem.x[:50], problem.x[50:]]), contrast(bad, iter([problem.x]))):
        assert np.abs(score - contrast(bad, problem.x)).max() < 1e-6
    with pytest.raises(ValueError, match="row_cost"):
        contrast(bad, problem.x, good=good, row_cost=np.zeros(3))
    for options in ({}, {"good": good}):
        cost = torch.linspace(0, 1, 120, dtype=torch.float64, requires_grad=True)
        plain = contrast(bad, problem.x, row_cost=cost.detach().numpy(), **options)
        assert (contrast(bad, problem.x, row_cost=cost, **options) == plain).all()
        with pytest.raises(ValueError, match="row_cost: a str that is not an array of numbers"):
            contrast(bad, problem.x, row_cost="low", **options)


def test_bad_documents_are_left_out_and_good_ones_found():
    rng = np.random.default_rng(4)
    centres = np.linalg.qr(rng.normal(size=(32, 32)))[0]

    def draw(kinds):
        return centres[kinds] + 0.1 * rng.normal(size=(len(kinds), 32))

    kinds = rng.integers(0, 10, size=2_000)
    pool, bad_examples = draw(kinds), draw(rng.integers(0, 2, size=300))
    good_examples = draw(rng.integers(1, 4, size=300))  # kind 1 is among both
    bad, good = (solve_potential(examples, pool) for examples in (bad_examples, good_examples))
    away = smallest_first(contrast(bad, pool), 300)
    assert not np.isin(kinds[away], [0, 1]).any()
    toward = smallest_first(good.gradient(pool), 450)
    assert (kinds[toward] == 1).sum() > 90
    both = smallest_first(contrast(bad, pool, good=good), 300)
    assert np.isin(kinds[both], [2, 3]).mean() > 0.98
