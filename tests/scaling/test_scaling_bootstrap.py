"""Bootstrap intervals cover what curves were drawn from, shrink with the noise, and say if there are none."""

import warnings

import numpy as np
import pytest

from tamis.scaling import bootstrap_fit, fit_law, model_size_scores

SIZES = 200 * 2.0 ** np.arange(14)
TRUTH = {"B": 30.0, "D_l": 12.0, "beta": 0.45, "E": 0.8}


def noisy(seed, noise):
    losses = TRUTH["B"] / (TRUTH["D_l"] + SIZES ** TRUTH["beta"]) + TRUTH["E"]
    return losses * np.exp(noise * np.random.default_rng(seed).normal(size=14))


def test_intervals_cover_the_truth_about_nine_times_in_ten():
    covered = []
    for seed in range(40):
        losses = noisy(seed, 0.01)
        found = bootstrap_fit(fit_law("rectified", SIZES, losses), SIZES, losses, at=[3_200], draws=60)
        truth = TRUTH["B"] / (TRUTH["D_l"] + 3_200 ** TRUTH["beta"]) + TRUTH["E"]
        covered.append([low <= TRUTH[name] <= high for name, (low, high) in found.parameters.items()])
        covered[-1].append(found.losses[0][0] <= truth <= found.losses[0][1])
    assert (np.mean(covered, axis=0) >= 0.8).all()
    assert (np.mean(covered, axis=0) <= 1.0).all()
    assert 0.82 <= np.mean(covered) <= 0.98


@pytest.mark.parametrize(
    ("law", "n", "level"), [("rectified", 5, 0.9), ("rectified", 7, 0.9), ("power3", 5, 0.5)]
)
def test_intervals_of_few_sizes_know_that_their_noise_is_estimated(law, n, level):
    """Of the fitted loss and of D_l, with one to three sizes more than the law has parameters."""
    sizes, delay = 200 * 2.0 ** np.linspace(0, 13, n), TRUTH["D_l"] if law == "rectified" else 0.0
    clean = [TRUTH["B"] / (delay + size ** TRUTH["beta"]) + TRUTH["E"] for size in (*sizes, 3_200)]
    covered = []
    for seed in range(80):
        losses = clean[:n] * np.exp(0.01 * np.random.default_rng(seed).normal(size=n))
        found = bootstrap_fit(fit_law(law, sizes, losses), sizes, losses, at=[3_200], level=level, draws=60)
        covered.append([found.losses[0][0] <= clean[n] <= found.losses[0][1]])
        if law == "rectified":
            low, high = found.pre_learned_examples
            covered[-1].append(low <= TRUTH["D_l"] ** (1 / TRUTH["beta"]) <= high)
    assert (np.abs(np.mean(covered, axis=0) - level) < 0.09).all()


def test_intervals_shrink_with_the_noise_and_hold_the_fit():
    widths = []
    for noise in (0.02, 0.005, 0.001):
        losses = noisy(0, noise)
        fit = fit_law("rectified", SIZES, losses)
        found = bootstrap_fit(fit, SIZES, losses)
        low, high = found.parameters["beta"]
        assert low <= fit.parameters["beta"] <= high
        assert found.pre_learned_examples[0] <= fit.pre_learned_examples <= found.pre_learned_examples[1]
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True)
    assert found.status == "bootstrapped"


@pytest.mark.parametrize("n", [0, 3, 4])
def test_too_few_sizes_have_no_intervals_and_say_so(n):
    fit = fit_law("rectified", SIZES[:n], noisy(0, 0.01)[:n])
    found = bootstrap_fit(fit, SIZES[:n], noisy(0, 0.01)[:n], at=[1e6])
    assert found.status == f"too few training-set sizes to compute confidence intervals (only {n})"
    assert np.isnan([*found.losses[0], *found.pre_learned_examples, *found.parameters["E"]]).all()


def test_the_same_seed_gives_the_same_intervals():
    losses = noisy(1, 0.01)
    fit = fit_law("power3", SIZES, losses)
    first, second = (bootstrap_fit(fit, SIZES, losses, seed=3) for _ in range(2))
    assert first.parameters == second.parameters
    assert first.parameters != bootstrap_fit(fit, SIZES, losses, seed=4).parameters
    assert np.isnan(bootstrap_fit(fit, SIZES, losses).pre_learned_examples).all()


@pytest.mark.parametrize(("setting", "message"), [({"level": 1}, "level = 1"), ({"draws": 5}, "draws = 5")])
def test_wrong_settings_name_themselves(setting, message):
    fit = fit_law("power3", SIZES, noisy(0, 0.01))
    with pytest.raises(ValueError, match=message):
        bootstrap_fit(fit, SIZES, noisy(0, 0.01), **setting)


def test_the_largest_model_scores_smallest():
    scores = model_size_scores({"small": 1e6, "large": 1e9})
    assert min(scores, key=scores.get) == "large"
    with pytest.raises(ValueError, match=r"parameters\['a'\] = 0"):
        model_size_scores({"a": 0})


def test_a_curve_that_never_falls_has_intervals_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rising = noisy(0, 0.0)[::-1]
        fit = fit_law("rectified", SIZES, rising)
        assert bootstrap_fit(fit, SIZES, rising, draws=20).status == "bootstrapped"
        assert fit.pre_learned_examples > 0
