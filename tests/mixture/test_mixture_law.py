"""Laws of mixtures: known laws are found again, whatever the scale and the order; bad runs are named."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import spearmanr

from tamis.mixture import (
    BadMixtureSettingError,
    BadWeightsError,
    TooFewRunsError,
    UnknownMethodError,
    fit_mixture_law,
    propose_runs,
)
from tamis.mixture.law import few_runs_widening

METHODS = ("best", "root", "log-linear", "gp", "linear", pytest.param("boosting", marks=pytest.mark.slow))
SLOPES = np.array([-2.0, -0.7, 0.4, 1.1, -0.2])


def mixtures(runs, sources=5, seed=0):
    random = np.random.default_rng(seed)
    return random.dirichlet(np.full(sources, 0.4), runs)


def root(weights, slopes=SLOPES):
    return 2.0 + np.exp(0.3 + np.sqrt(weights) @ slopes)


def log_linear(weights, slopes=SLOPES):
    return 1.0 + 2 * np.exp(weights @ slopes)


def transfer(weights, gains=(1.0, 0.5, 0.05, 0.01, 0.2)):
    return 2.0 + (0.02 + weights**0.6 @ np.array(gains)) ** -0.7


def saturating(weights):
    return 5.0 - np.tanh(3 * weights[:, 0]) - 0.6 * np.tanh(5 * weights[:, 1]) + 0.4 * weights[:, 2] ** 2


def shares_lost(predicted, truth):
    return float(((predicted - truth) ** 2).mean() / truth.var())


@pytest.mark.parametrize(
    ("method", "law"), [("root", root), ("log-linear", log_linear), ("linear", lambda w: 3 + w @ SLOPES)]
)
def test_a_known_law_is_found_again(method, law):
    weights, others = mixtures(40), mixtures(200, seed=1)
    found = fit_mixture_law(weights, law(weights), method)
    assert shares_lost(found.predict(others), law(others)) < 1e-3
    assert found.method == (method,)
    assert found.cross_validated[0][method] > 0.99


@pytest.mark.parametrize(
    "law",
    [transfer, saturating, *(pytest.param(law, marks=pytest.mark.slow) for law in (root, log_linear))],
)
def test_best_is_about_as_good_as_the_best_of_the_forms(law):
    weights, others = mixtures(60), mixtures(300, seed=1)
    losses = law(weights) + 0.01 * np.random.default_rng(2).normal(size=60)
    lost = {
        method: shares_lost(fit_mixture_law(weights, losses, method).predict(others), law(others))
        for method in ("best", "root", "log-linear", "gp", "linear")
    }
    best = lost.pop("best")
    assert best < 1.5 * min(lost.values()) + 1e-3


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("scale", "shift"),
    [(100.0, 3.0), *(pytest.param(*pair, marks=pytest.mark.slow) for pair in ((0.05, 0.0), (1.0, -40.0)))],
)
def test_rescaled_and_shifted_losses_rank_alike(method, scale, shift):
    weights, others = mixtures(32), mixtures(100, seed=1)
    losses = root(weights) + 0.02 * np.random.default_rng(3).normal(size=32)
    plain = fit_mixture_law(weights, losses, method).predict(others)
    moved = fit_mixture_law(weights, scale * losses + shift, method).predict(others)
    assert spearmanr(plain, moved).statistic > 0.9999
    assert moved == pytest.approx(scale * plain + shift, rel=1e-3, abs=1e-3 * scale)


@pytest.mark.parametrize("method", ["best", "root"])
def test_the_order_of_sources_does_not_matter(method):
    weights, others = mixtures(30), mixtures(50, seed=1)
    losses, order = root(weights), [3, 0, 4, 2, 1]
    plain = fit_mixture_law(weights, losses, method).predict(others)
    permuted = fit_mixture_law(weights[:, order], losses, method).predict(others[:, order])
    assert permuted == pytest.approx(plain, rel=2e-3)


@pytest.mark.parametrize("method", ["best", "boosting"])
def test_a_law_is_the_same_each_time(method):
    weights = mixtures(20)
    laws = [fit_mixture_law(weights, root(weights), method, seed=7) for _ in range(2)]
    assert np.array_equal(laws[0].predict(weights), laws[1].predict(weights))
    assert laws[0].cross_validated == laws[1].cross_validated


def test_each_target_has_a_form_and_uses_the_runs_that_have_it():
    weights, others = mixtures(40), mixtures(80, seed=1)
    losses = np.stack([root(weights), 3 + weights @ SLOPES, np.full(40, 1.7)], axis=1)
    losses[3, 0] = losses[5:9, 1] = np.nan
    found = fit_mixture_law(weights, losses)
    alone = fit_mixture_law(np.delete(weights, 3, 0), np.delete(losses[:, 0], 3))
    predicted = found.predict(others)
    assert predicted.shape == (80, 3)
    assert len(found.method) == len(found.cross_validated) == 3
    assert predicted[:, 0] == pytest.approx(root(others), rel=0.02)
    assert predicted[:, 0] == pytest.approx(alone.predict(others), rel=0.02)
    assert predicted[:, 1] == pytest.approx(3 + others @ SLOPES, abs=0.1)
    assert found.method[2] == "constant"
    assert (predicted[:, 2] == 1.7).all()
    low, high = found.interval(others)
    assert low.shape == (80, 3)
    assert (low <= predicted).all()
    assert (high >= predicted).all()
    assert np.array_equal(low[:, 2], high[:, 2])


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_intervals_cover_new_runs_as_often_as_they_say(level):
    covered = []
    for seed in range(6):
        weights, others = mixtures(40, seed=seed), mixtures(200, seed=100 + seed)
        noise = np.random.default_rng(seed).normal(size=240) * 0.05
        found = fit_mixture_law(weights, root(weights) + noise[:40], "root", seed=seed)
        low, high = found.interval(others, level)
        truth = root(others) + noise[40:]
        covered.append(((low <= truth) & (truth <= high)).mean())
    assert level - 0.08 < np.mean(covered) < level + 0.08


def test_intervals_of_few_runs_cover_about_as_often_as_they_say():
    """Of new runs and of differences of two; the largest residual alone covers seven of ten."""
    covered, apart = [], []
    for runs, seed in product((5, 6, 7), range(6)):
        draw = np.random.default_rng([seed, runs])
        weights, others = mixtures(runs, 3, seed), mixtures(40, 3, 1_000 + seed)
        # Targets that differ by their noise: a law is fitted to each.
        losses, truth = (
            root(one, SLOPES[:3])[:, None] + 0.05 * draw.normal(size=(len(one), 5))
            for one in (weights, others)
        )
        found = fit_mixture_law(weights, losses, "root", seed=seed)
        low, high = found.interval(others)
        covered.append(((low <= truth) & (truth <= high)).mean())
        for target, goal in enumerate(np.eye(5)):
            _gap, below, above = found.difference_interval(others[0], others[1], goal)
            apart.append(below <= truth[0, target] - truth[1, target] <= above)
    assert 0.83 < np.mean(covered) < 0.97
    assert np.mean(apart) > 0.83


@pytest.mark.parametrize(("level", "enough"), [(0.5, 1), (0.8, 4), (0.9, 9), (0.95, 19)])
def test_runs_that_have_the_quantile_widen_nothing(level, enough):
    widenings = [few_runs_widening(runs, 3, level) for runs in range(1, 30)]
    assert all(one > 1 for one in widenings[: enough - 1])
    assert all(one == 1 for one in widenings[enough - 1 :])
    assert widenings[4 : enough - 1] == sorted(widenings[4 : enough - 1], reverse=True)


def test_the_interval_widens_away_from_the_runs():
    weights = 0.2 + 0.1 * (mixtures(30) - 0.2)
    found = fit_mixture_law(weights, root(weights) + 0.01 * np.random.default_rng(0).normal(size=30), "root")
    low, high = found.interval(np.stack([weights.mean(0), np.eye(5)[0]]))
    assert high[1] - low[1] > 2 * (high[0] - low[0])


@pytest.mark.parametrize("method", ["root", "gp"])
def test_runs_of_one_mixture_are_held_out_together(method):
    weights = np.repeat(mixtures(12), 3, axis=0)
    noise = 0.05 * np.random.default_rng(0).normal(size=36)
    held_out = fit_mixture_law(weights, root(weights) + noise, method).held_out.reshape(12, 3)
    assert held_out == pytest.approx(np.repeat(held_out[:, :1], 3, axis=1), rel=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_a_failed_run_is_as_if_it_had_never_been(method):
    weights = propose_runs(np.full(4, 0.25), 40, seed=1)
    slopes = np.array([-1.5, -0.6, 0.0, 0.0])
    losses = root(weights, slopes) + 0.02 * np.random.default_rng(0).normal(size=40)
    failed = weights[:, 3] > 0.25
    with_them = fit_mixture_law(weights, np.where(failed, np.nan, losses), method)
    without = fit_mixture_law(weights[~failed], losses[~failed], method)
    there = [[0.05, 0.05, 0.0, 0.9], [0.25, 0.25, 0.25, 0.25]]
    assert failed.any()
    for ends, expected in zip(with_them.interval(there), without.interval(there), strict=True):
        assert ends == pytest.approx(expected, rel=1e-6)
    assert with_them.largest_seen() == pytest.approx(without.largest_seen())


def test_a_diverged_run_is_reported_and_left_out():
    weights, others = mixtures(40), mixtures(80, seed=1)
    losses = root(weights) + 0.01 * np.random.default_rng(2).normal(size=40)
    losses[11] += 6.0
    found = fit_mixture_law(weights, losses, "root")
    assert found.outliers == ((11,),)
    assert found.predict(others) == pytest.approx(root(others), rel=0.02)
    assert fit_mixture_law(weights, root(weights), "root").outliers == ((),)


def test_held_out_predictions_do_not_use_the_run():
    weights = mixtures(30)
    losses = root(weights) + 0.3 * np.random.default_rng(2).normal(size=30)
    found = fit_mixture_law(weights, losses, "gp")
    at_runs = np.abs(found.predict(weights) - losses).mean()
    assert np.abs(found.held_out[:, 0] - losses).mean() > at_runs


@pytest.mark.parametrize("method", METHODS)
def test_odd_swarms_have_laws(method):
    random = np.random.default_rng(0)
    ones = np.ones((3, 1))
    assert np.isfinite(fit_mixture_law(ones, [1.0, 2.0, 1.5], method).predict(ones)).all()
    few = mixtures(7)
    never = np.column_stack([few, np.zeros(7)])[:, [0, 1, 2, 3, 5]]
    never /= never.sum(1, keepdims=True)
    assert np.isfinite(fit_mixture_law(never, random.normal(size=7), method).predict(few)).all()


def test_rows_that_are_rounded_are_those_they_stand_for():
    weights = mixtures(40)
    rounded = np.round(weights, 3)
    found = fit_mixture_law(rounded, root(weights), "root")
    assert found.predict(rounded) == pytest.approx(root(weights), rel=0.1)
    normalised = rounded / rounded.sum(1, keepdims=True)
    assert found.predict(rounded) == pytest.approx(found.predict(normalised), rel=1e-9)


def test_what_is_no_swarm_is_refused():
    weights, losses = mixtures(12), root(mixtures(12))
    for wrong, row in ((weights * 1.03, 0), (np.where(np.arange(12)[:, None] == 4, np.nan, weights), 4)):
        with pytest.raises(BadWeightsError) as caught:
            fit_mixture_law(wrong, losses)
        assert caught.value.row == row
    negative = weights.copy()
    negative[2, :2] += [-1.0, 1.0]
    with pytest.raises(BadWeightsError, match="row 2: a share is negative"):
        fit_mixture_law(negative, losses)
    with pytest.raises(BadWeightsError, match="losses have the shape"):
        fit_mixture_law(weights, losses[:-1])
    with pytest.raises(TooFewRunsError) as few:
        fit_mixture_law(weights, np.stack([losses, np.where(np.arange(12) < 6, losses, np.nan)], axis=1))
    assert (few.value.target, few.value.runs, few.value.needed) == (1, 6, 7)
    with pytest.raises(UnknownMethodError):
        fit_mixture_law(weights, losses, "cubic")
    found = fit_mixture_law(weights, losses, "linear")
    with pytest.raises(BadWeightsError, match="2 sources"):
        found.predict([[0.5, 0.5]])
    with pytest.raises(BadMixtureSettingError):
        found.interval(weights, level=1.0)
    assert issubclass(TooFewRunsError, ValueError)
