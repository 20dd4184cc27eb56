"""The best mixture, next to grids over the simplex and closed forms; caps, the prior, controls."""

import itertools

import numpy as np
import pytest

from tamis.mixture import (
    BadMixtureSettingError,
    BadWeightsError,
    InfeasibleCapsError,
    best_mixture,
    fit_mixture_law,
    marginal_values,
    propose_runs,
    unimax,
    worth_of_repeats,
)


def swarm(slopes, runs=60, seed=0, power=0.5):
    """Return runs that hold every corner, and losses [runs, t] of root laws."""
    sources = np.shape(slopes)[-1]
    random = np.random.default_rng(seed)
    weights = np.concatenate([np.eye(sources), random.dirichlet(np.full(sources, 0.5), runs)])
    return weights, 2.0 + np.exp(0.1 + weights**power @ np.asarray(slopes).T)


def grid(sources, steps=200):
    axes = np.meshgrid(*[np.arange(steps + 1)] * (sources - 1), indexing="ij")
    shares = np.stack(axes, -1).reshape(-1, sources - 1)
    shares = shares[shares.sum(1) <= steps]
    return np.column_stack([shares, steps - shares.sum(1)]) / steps


def goal(law, weights, prior, stay_near, deviation):
    with np.errstate(divide="ignore", invalid="ignore"):
        divergence = np.where(weights > 0, weights * np.log(weights / prior), 0.0).sum(1)
    return law.predict(weights).reshape(len(weights), -1).mean(1) + stay_near * deviation * divergence


GRIDS = [
    pytest.param(
        *case,
        marks=()
        if case in {("root", 3, 0.0), ("log-linear", 3, 0.05), ("best", 2, 0.05), ("gp", 3, 0.05)}
        else pytest.mark.slow,
    )
    for case in itertools.product(["root", "log-linear", "gp", "best", "boosting"], [2, 3], [0.0, 0.05, 1.0])
]


@pytest.mark.parametrize(("method", "sources", "stay_near"), GRIDS)
def test_no_mixture_of_a_grid_is_better(method, sources, stay_near):
    slopes = np.random.default_rng(sources).normal(size=(2, sources))
    weights, losses = swarm(slopes, runs=20)
    law = fit_mixture_law(weights, losses, method)
    prior = np.arange(1, sources + 1) / np.arange(1, sources + 1).sum()
    available = np.full(sources, 0.2)
    found = best_mixture(law, prior, stay_near=stay_near, available_tokens=available, train_tokens=1.0)
    deviation = losses.mean(1).std()
    tried = grid(sources)
    tried = tried[(tried <= 0.8 + 1e-9).all(1)]
    reached = goal(law, found.weights[None], prior, stay_near, deviation)[0]
    allowed = 1e-6 if method != "boosting" else 0.02 * deviation
    assert reached <= goal(law, tried, prior, stay_near, deviation).min() + allowed
    assert found.weights.sum() == pytest.approx(1)
    assert found.weights.max() <= 0.8 + 1e-6


@pytest.mark.parametrize("caps", [None, [0.3, 1.0, 1.0, 1.0, 1.0]])
def test_one_root_law_has_its_optimum_in_closed_form(caps):
    slopes = np.array([-2.0, -1.0, -0.5, 0.3, 0.8])
    weights, losses = swarm(slopes[None])
    law = fit_mixture_law(weights, losses[:, 0], "root")
    tokens = {} if caps is None else {"available_tokens": np.array(caps) / 4, "train_tokens": 1.0}
    found = best_mixture(law, np.full(5, 0.2), stay_near=0.0, **tokens)
    right = np.where(slopes < 0, slopes**2, 0.0) / (slopes[slopes < 0] ** 2).sum()
    if caps is not None:
        right = np.array([0.3, *(0.7 * right[1:] / right[1:].sum())])
    assert found.weights == pytest.approx(right, abs=0.01)
    assert found.binding == (() if caps is None else (0,))


def test_one_linear_exponent_has_its_optimum_in_a_corner():
    weights, losses = swarm([[-1.0, -1.3, 0.4, 0.0]], power=1.0)
    law = fit_mixture_law(weights, losses[:, 0], "log-linear")
    prior = np.full(4, 0.25)
    assert best_mixture(law, prior, stay_near=0.0).weights == pytest.approx([0, 1, 0, 0], abs=1e-6)
    capped = best_mixture(law, prior, stay_near=0.0, available_tokens=[1, 1, 1, 1], train_tokens=10.0)
    assert capped.weights == pytest.approx([0.4, 0.4, 0, 0.2], abs=1e-5)
    assert capped.binding == (0, 1)
    assert capped.repetition == pytest.approx([4, 4, 0, 2], abs=1e-4)
    worth = capped.worth_of_a_pass
    assert worth[1] > worth[0] > 0
    assert np.isnan(worth[2:]).all()


def test_rescaled_losses_have_the_same_mixture():
    weights, losses = swarm(np.random.default_rng(5).normal(size=(3, 4)), runs=30)
    prior = np.full(4, 0.25)
    plain, scaled = (
        best_mixture(fit_mixture_law(weights, factor * losses, "root"), prior) for factor in (1, 100)
    )
    assert scaled.weights == pytest.approx(plain.weights, abs=2e-3)


def test_stay_near_draws_to_the_prior():
    weights, losses = swarm(np.random.default_rng(5).normal(size=(2, 4)))
    law, prior = fit_mixture_law(weights, losses, "root"), np.array([0.1, 0.2, 0.3, 0.4])
    away = [np.abs(best_mixture(law, prior, stay_near=s).weights - prior).sum() for s in (0, 0.05, 1, 1e4)]
    assert away[0] >= away[1] > away[2] > away[3]
    assert away[3] < 0.01


def test_nothing_is_taken_beyond_the_largest_share_seen():
    random = np.random.default_rng(0)
    weights = random.dirichlet([4, 4, 1], 60)
    weights[:, 2] = np.minimum(weights[:, 2], 0.1)
    weights /= weights.sum(1, keepdims=True)
    law = fit_mixture_law(weights, 2 + np.exp(weights @ [0.0, 0.0, -2.0]), "log-linear")
    found = best_mixture(law, [0.5, 0.45, 0.05], stay_near=0.0)
    assert found.weights[2] == pytest.approx(weights[:, 2].max(), abs=1e-6)
    assert 2 in found.at_largest_seen
    assert found.binding == ()


@pytest.mark.parametrize("goal", ["of all targets", "of the first"])
def test_a_share_that_only_a_failed_run_had_is_not_proposed(goal):
    """A run that diverged, or has no loss of the goal, says nothing of what lies beyond the other runs."""
    weights = propose_runs([0.4, 0.3, 0.3], 60, seed=0, maximum=0.7)
    largest = weights[:, 0].argmax()
    weights = np.concatenate([weights[weights[:, 0] < 0.45], weights[largest, None]])
    losses = 3 - 0.8 * np.sqrt(weights[:, 0]) - 0.2 * np.sqrt(weights[:, 1])
    losses += 0.01 * np.random.default_rng(0).normal(size=len(weights))
    losses = np.stack([losses, losses], axis=1)
    losses[-1] = (np.nan, 2.0) if goal == "of the first" else 9.0
    law = fit_mixture_law(weights, losses)
    goal_weights = [1.0, 0.0] if goal == "of the first" else None
    found = best_mixture(law, [0.4, 0.3, 0.3], stay_near=0, goal_weights=goal_weights)
    assert found.weights[0] <= weights[:-1, 0].max() + 1e-9
    assert 0 in found.at_largest_seen


def test_a_source_of_prior_zero_gets_nothing_near_the_prior():
    weights, losses = swarm([[-2.0, -1.0, 0.5]])
    law = fit_mixture_law(weights, losses[:, 0], "root")
    assert best_mixture(law, [0.0, 0.5, 0.5]).weights[0] == 0.0
    assert best_mixture(law, [0.0, 0.5, 0.5], stay_near=0.0).weights[0] > 0.5


def test_goals_weigh_the_targets():
    weights, losses = swarm([[-2.0, 0.0, 0.0], [0.0, -2.0, 0.0]])
    law, prior = fit_mixture_law(weights, losses, "root"), np.full(3, 1 / 3)
    for target in (0, 1):
        found = best_mixture(law, prior, stay_near=0.0, goal_weights=np.eye(2)[target])
        assert found.weights[target] > 0.95
    both = best_mixture(law, prior, stay_near=0.0)
    assert both.weights[:2] == pytest.approx([0.5, 0.5], abs=0.02)
    assert both.predicted == pytest.approx(law.predict(both.weights).mean())
    assert both.low < both.predicted < both.high


def test_what_noise_hides_is_tied_with_the_prior():
    weights, losses = swarm([[-2.0, 0.0, 1.0]])
    prior, noise = np.full(3, 1 / 3), np.random.default_rng(0).normal(size=len(weights))
    clear = best_mixture(fit_mixture_law(weights, losses[:, 0] + 0.01 * noise, "root"), prior)
    hidden = best_mixture(fit_mixture_law(weights, 2 + noise, "root"), prior)
    assert clear.difference_high < 0
    assert clear.difference == pytest.approx(clear.predicted - clear.predicted_at_prior)
    assert hidden.difference_low < 0 < hidden.difference_high


def test_many_sources_are_solved_under_their_caps():
    random = np.random.default_rng(0)
    prior = random.dirichlet(np.full(50, 2.0))
    weights = random.dirichlet(10 * prior, 160)
    losses = 2 + np.exp(np.sqrt(weights) @ random.normal(size=(50, 2)))
    found = best_mixture(
        fit_mixture_law(weights, losses, "root"), prior, available_tokens=prior * 100, train_tokens=200.0
    )
    assert found.weights.sum() == pytest.approx(1)
    assert (found.weights <= found.caps + 1e-9).all()
    assert found.predicted < found.predicted_at_prior


def test_caps_that_leave_no_mixture_are_refused():
    weights, losses = swarm([[-2.0, 0.0, 1.0]])
    law, prior = fit_mixture_law(weights, losses[:, 0], "root"), np.full(3, 1 / 3)
    with pytest.raises(InfeasibleCapsError) as caught:
        best_mixture(law, prior, available_tokens=[1, 1, 1], train_tokens=20)
    assert caught.value.total == pytest.approx(0.6)
    assert isinstance(caught.value, ValueError)
    wrong = [
        {"available_tokens": [1, 1, 1]},
        {"train_tokens": 10},
        {"available_tokens": [1, 1], "train_tokens": 1},
        {"stay_near": -1},
        {"max_repetition": 0},
        {"goal_weights": [0.5, 0.5]},
    ]
    for setting in wrong:
        with pytest.raises(BadMixtureSettingError):
            best_mixture(law, prior, **setting)
    with pytest.raises(BadWeightsError):
        best_mixture(law, [0.5, 0.2, 0.1])


def test_marginal_values_are_those_of_a_known_law():
    slopes = np.array([-1.5, -0.5, 0.8])
    weights, losses = swarm(slopes[None])
    law, at = fit_mixture_law(weights, losses[:, 0], "root"), np.array([0.2, 0.5, 0.3])
    moved = 0.99 * at + 0.01 * np.eye(3)
    right = np.exp(0.1 + np.sqrt(moved) @ slopes) - np.exp(0.1 + np.sqrt(at) @ slopes)
    assert marginal_values(law, at) == pytest.approx(right, abs=2e-4)


def test_unimax_is_uniform_up_to_the_passes_allowed():
    assert unimax([100, 100, 100], 30) == pytest.approx([1 / 3] * 3)
    assert unimax([1, 100, 100], 30) == pytest.approx([4 / 30, 13 / 30, 13 / 30])
    assert unimax([1, 3], 100) == pytest.approx([0.25, 0.75])
    assert unimax([0, 5], 4) == pytest.approx([0, 1])


def test_repeats_are_worth_what_was_published():
    assert worth_of_repeats([0, 0.5, 1, 4, 8, 16, 40]) == pytest.approx(
        [0, 0.5, 1, 3.7, 6.6, 10.6, 15.2], abs=0.06
    )
