"""Planted defects are found where they were planted; clean tables, smooth or noisy, are left alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.scaling import audit_curves

SIZES = 200 * 2.0 ** np.arange(12)
DEFECTS = {"copied", "repeated", "interpolated"}


def table(seed=0, models=12, noise=0.004, decimals=16):
    rng = np.random.default_rng(seed)
    curves = {}
    for number in range(models):
        clean = rng.uniform(0.3, 1.5) + rng.uniform(1, 4) / (1 + (SIZES / 10 ** rng.uniform(2.3, 5)) ** 0.5)
        curves[f"m{number}"] = (SIZES, np.round(clean * np.exp(noise * rng.normal(size=12)), decimals))
    return curves


def kinds(curves):
    return {(defect.model, defect.kind) for defect in audit_curves(curves)}


@pytest.mark.parametrize("noise", [0.0, 0.004])
@pytest.mark.parametrize("decimals", [4, 8, 16])
def test_clean_tables_have_no_invented_cells(noise, decimals):
    for seed in range(4):
        found = audit_curves(table(seed, noise=noise, decimals=decimals))
        assert [defect for defect in found if defect.kind in DEFECTS] == []


def test_pure_power_laws_are_not_called_interpolated():
    assert audit_curves({"a": (SIZES, 5 * SIZES**-0.1), "b": (SIZES, 4 * SIZES**-0.05)}) == []


@pytest.mark.parametrize("edit", [0.0, 0.05, -0.02])
def test_copied_cells_are_found_also_after_a_rounded_edit(edit):
    curves = table()
    losses = curves["m3"][1].copy()
    losses[8:11] = curves["m7"][1][8:11] + edit
    found = [d for d in audit_curves(curves | {"m3": (SIZES, losses)}) if d.kind == "copied"]
    assert [defect.model for defect in found] == ["m7"]
    assert "equals m3 at 51,200, 102,400, 204,800" in found[0].detail


def test_whole_copies_are_found_also_among_two_models():
    curves = table(models=1)
    assert ("twin", "copied") in kinds(curves | {"twin": curves["m0"]})
    short = table(decimals=4)
    assert ("twin", "copied") in kinds(short | {"twin": short["m5"]})


def test_one_equal_cell_of_few_digits_is_a_coincidence():
    curves = table(decimals=3)
    losses = curves["m3"][1].copy()
    losses[5] = curves["m7"][1][5]
    assert not [kind for _model, kind in kinds(curves | {"m3": (SIZES, losses)}) if kind == "copied"]


def test_repeated_cells_are_found():
    curves = table()
    losses = curves["m2"][1].copy()
    losses[6] = losses[5]
    found = [d for d in audit_curves(curves | {"m2": (SIZES, losses)}) if d.kind == "repeated"]
    assert [defect.model for defect in found] == ["m2"]
    assert "6,400, 12,800" in found[0].detail


@pytest.mark.parametrize("scale", ["loss", "log loss"])
@pytest.mark.parametrize("over", ["size", "log size"])
def test_interpolated_cells_are_found(scale, over):
    curves = table()
    losses = curves["m4"][1].copy()
    x = SIZES if over == "size" else np.log(SIZES)
    y = losses if scale == "loss" else np.log(losses)
    y[6] = np.interp(x[6], x[[5, 7]], y[[5, 7]])
    losses = y if scale == "loss" else np.exp(y)
    found = [d for d in audit_curves(curves | {"m4": (SIZES, losses)}) if d.kind == "interpolated"]
    assert [defect.model for defect in found] == ["m4"]
    line = "on the line between those of the neighbouring sizes"
    assert found[0].detail == f"the loss at 12,800 is {line}, in {scale} over {over}"


def test_rises_and_outliers_are_told_apart_from_noise():
    curves = table(noise=0.001)
    rising, outlier = curves["m0"][1].copy(), curves["m1"][1].copy()
    rising[3] = rising[2] * 1.01
    outlier[6] *= 0.93
    found = audit_curves(curves | {"m0": (SIZES, rising), "m1": (SIZES, outlier)})
    assert any(d.model == "m0" and d.kind == "non_monotone" and "1 % at 1,600" in d.detail for d in found)
    assert any(d.model == "m1" and d.kind == "outlier" and "at 12,800" in d.detail for d in found)
    assert {d.model for d in found} == {"m0", "m1"}


def test_short_empty_and_holed_curves_are_no_trouble():
    curves = {
        "empty": ([], []),
        "zero": ([0], [3.0]),
        "one": ([100], [2.0]),
        "two": ([100, 200], [2.0, 2.5]),
        "nan": ([100, 200, 400], [2.0, np.nan, 1.5]),
    }
    assert [(d.model, d.kind) for d in audit_curves(curves)] == [("two", "non_monotone")]
    assert audit_curves({}) == []


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 999),
    place=st.integers(1, 9),
    unit=st.sampled_from([1e-6, 1.0, 1e6]),
    kind=st.sampled_from(["copied", "repeated", "interpolated", "non_monotone"]),
)
def test_planted_cells_are_found_wherever_they_stand_and_on_any_scale(seed, place, unit, kind):
    curves = {model: (sizes, losses * unit) for model, (sizes, losses) in table(seed, noise=0.002).items()}
    sizes, losses = curves["m5"]
    losses = losses.copy()
    if kind == "copied":
        losses[place : place + 2] = curves["m2"][1][place : place + 2]
    elif kind == "repeated":
        losses[place] = losses[place - 1]
    elif kind == "interpolated":
        losses[place] = (losses[place - 1] + losses[place + 1]) / 2
    else:
        losses[place] = losses[place - 1] * 1.02
    found = kinds(curves | {"m5": (sizes, losses)})
    assert (("m5", kind) in found) or (kind == "copied" and ("m2", "copied") in found)


@pytest.mark.parametrize("decimals", [3, 4, 16])
@pytest.mark.parametrize("noise", [0.001, 0.02])
def test_false_alarms_are_rare(noise, decimals):
    alarms = [
        (seed, kind)
        for seed in range(12)
        for _model, kind in kinds(table(seed, noise=noise, decimals=decimals))
    ]
    assert len({seed for seed, kind in alarms if kind in DEFECTS}) <= 1


def test_equal_losses_of_three_digits_may_be_chance_and_of_six_are_not():
    curves = table(decimals=3)
    losses = curves["m2"][1].copy()
    losses[6] = losses[5]
    assert ("m2", "repeated") not in kinds(curves | {"m2": (SIZES, losses)})
    fine = table(decimals=6)
    losses = fine["m2"][1].copy()
    losses[6] = losses[5]
    assert ("m2", "repeated") in kinds(fine | {"m2": (SIZES, losses)})


@pytest.mark.parametrize("decimals", [3, 4])
def test_equal_losses_of_level_curves_of_few_digits_are_chance(decimals):
    """One curve a table, level up to its noise: any two of its sizes may have equal losses."""
    found = 0
    for seed in range(100):
        draw = np.random.default_rng(seed)
        losses = draw.uniform(1, 3) * np.exp(0.004 * draw.normal(size=12))
        found += ("level", "repeated") in kinds({"level": (SIZES, np.round(losses, decimals))})
    assert found <= 2
