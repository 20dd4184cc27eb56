"""What is no curve, number or setting is named, and tensors are taken."""

import numpy as np
import pytest
import torch

from tamis.base.errors import BadArgumentError
from tamis.scaling import (
    BadCurveError,
    BadSettingError,
    BudgetedSearch,
    bootstrap_fit,
    fit_law,
    model_size_scores,
)

SIZES = [200, 400, 800, 1_600, 3_200, 6_400]
LOSSES = [5 / size**0.3 + 1 + 0.001 * (size % 7) for size in SIZES]
COSTS = {"a": 1.0, "b": 2.0}


def test_losses_may_be_tensors_that_have_a_gradient():
    fit = fit_law(
        "power3", torch.tensor(SIZES), torch.tensor(LOSSES, dtype=torch.float64, requires_grad=True)
    )
    assert fit.parameters == fit_law("power3", SIZES, LOSSES).parameters
    with pytest.raises(BadCurveError):
        fit_law("power3", SIZES, [torch.zeros(2)] * 6)


def test_a_loss_is_predicted_at_numbers():
    fit = fit_law("power3", SIZES, LOSSES)
    for wrong in ("a", ["a"], [[1], [1, 2]]):
        with pytest.raises(BadArgumentError, match="D: "):
            fit.predict(wrong)


@pytest.mark.parametrize("setting", ["level", "draws", "seed"])
@pytest.mark.parametrize("wrong", [None, "a", [1], float("nan"), -1, 1.5])
def test_settings_of_a_bootstrap_are_named(setting, wrong):
    with pytest.raises(BadSettingError) as caught:
        bootstrap_fit(fit_law("power3", SIZES, LOSSES), SIZES, LOSSES, **({"draws": 20} | {setting: wrong}))
    assert caught.value.setting == setting


@pytest.mark.parametrize("wrong", [None, "x", [1], {"a": None}, {"a": "x"}])
def test_numbers_of_parameters_are_numbers(wrong):
    with pytest.raises(BadSettingError, match="parameters"):
        model_size_scores(wrong)


@pytest.mark.parametrize(
    ("argument", "wrong"),
    [("models", None), ("models", "ab"), ("sizes", None), ("sizes", 3), ("cost", None), ("cost", [1, 2])],
)
def test_what_is_no_search_is_named(argument, wrong):
    given = {"models": ["a", "b"], "sizes": SIZES, "cost": COSTS} | {argument: wrong}
    with pytest.raises((BadArgumentError, BadSettingError), match=argument):
        BudgetedSearch(given["models"], given["sizes"], given["cost"], 0.5)


def test_sizes_of_a_search_may_be_a_tensor():
    runs = BudgetedSearch(["a", "b"], SIZES, COSTS, 0.5).ask()
    for sizes in (torch.tensor(SIZES), np.array(SIZES)):
        assert BudgetedSearch(["a", "b"], sizes, COSTS, 0.5).ask() == runs
