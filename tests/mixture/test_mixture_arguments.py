"""What no mixture, setting or run is, is named; tensors and frames are taken."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from tamis.mixture import (
    BadMixtureSettingError,
    BadWeightsError,
    best_mixture,
    fit_mixture_law,
    marginal_values,
    plan_reuse,
    propose_runs,
    unimax,
    worth_of_repeats,
)

DRAW = np.random.default_rng(0)
WEIGHTS = DRAW.dirichlet([2.0, 2.0, 2.0], size=20)
LOSSES = 3 - WEIGHTS @ [1.0, 0.5, 0.0] + 0.01 * DRAW.normal(size=20)
PRIOR = [0.5, 0.3, 0.2]


@pytest.fixture(scope="module")
def law():
    return fit_mixture_law(WEIGHTS, LOSSES, "root")


def test_tensors_and_frames_are_taken(law):
    of_tensors = fit_mixture_law(torch.tensor(WEIGHTS), torch.tensor(LOSSES, requires_grad=True), "root")
    of_frames = fit_mixture_law(pd.DataFrame(WEIGHTS), pd.Series(LOSSES, index=range(5, 25)), "root")
    for other in (of_tensors, of_frames):
        assert other.predict(WEIGHTS) == pytest.approx(law.predict(WEIGHTS), rel=1e-9)


@pytest.mark.parametrize("several", [WEIGHTS, WEIGHTS[:0]], ids=["rows", "none"])
def test_a_prior_is_one_mixture(law, several):
    for call in (
        lambda: best_mixture(law, several),
        lambda: marginal_values(law, several),
        lambda: propose_runs(several, 8),
        lambda: law.difference_interval(several, PRIOR),
    ):
        with pytest.raises(BadWeightsError, match="expected one"):
            call()


@pytest.mark.parametrize("wrong", ["a", [1.0, 2.0], {"a": 1}])
@pytest.mark.parametrize(
    "setting", ["available_tokens", "train_tokens", "max_repetition", "stay_near", "goal_weights"]
)
def test_settings_of_the_best_mixture_are_named(law, setting, wrong):
    options = {"available_tokens": [1e9] * 3, "train_tokens": 1e9} | {setting: wrong}
    with pytest.raises(BadMixtureSettingError) as caught:
        best_mixture(law, PRIOR, **options)
    assert caught.value.setting == setting


@pytest.mark.parametrize("level", [None, "a", -1, 0, 1, math.nan, [0.9]])
def test_a_level_is_a_share(law, level):
    for call in (law.interval, law.goal_interval):
        with pytest.raises(BadMixtureSettingError, match="level"):
            call(PRIOR, level=level)
    with pytest.raises(BadMixtureSettingError, match="level"):
        law.difference_interval(PRIOR, PRIOR, level=level)


@pytest.mark.parametrize(
    ("setting", "call"),
    [
        ("seed", lambda: fit_mixture_law(WEIGHTS, LOSSES, seed=-1)),
        ("seed", lambda: propose_runs(PRIOR, 8, None)),
        ("runs", lambda: propose_runs(PRIOR, "a")),
        ("maximum", lambda: propose_runs(PRIOR, 8, maximum="a")),
        ("available_tokens", lambda: unimax("a", 1e9)),
        ("train_tokens", lambda: unimax([1e9], "a")),
        ("passes", lambda: worth_of_repeats("a")),
        ("worthless_after", lambda: worth_of_repeats([2.0], 0)),
        ("weights", lambda: plan_reuse([0.5, 0.5], ["a", "b"])),
        ("weights", lambda: plan_reuse({"a": "x"}, ["a"])),
        ("changed", lambda: plan_reuse({"a": 1.0}, ["a"], changed=["a"])),
    ],
)
def test_settings_are_named(setting, call):
    with pytest.raises(BadMixtureSettingError) as caught:
        call()
    assert caught.value.setting == setting


def test_trees_take_any_seed():
    law = fit_mixture_law(WEIGHTS, LOSSES, "boosting", seed=2**40)
    assert np.isfinite(law.predict(PRIOR)).all()
