"""Extrapolation of many curves: known answers, units, missing data, intervals that cover."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.scaling import accept_then_stop, fit_law, predict_full_loss
from tamis.scaling.methods import METHODS

SIZES = 100 * 2.0 ** np.arange(12)


def rectified_curves(seed, models=12, n=12, noise=0.005, ahead=4.0):
    """Curves from the rectified law with noise, and the true losses at `ahead` times the largest size."""
    rng = np.random.default_rng(seed)
    curves, truth, target = {}, {}, SIZES[n - 1] * ahead
    for number in range(models):
        beta, floor, drop = rng.uniform(0.25, 0.9), rng.uniform(0.3, 1.5), rng.uniform(1, 4)
        delay = 10 ** rng.uniform(2.3, 4.5)
        law = lambda d, b=beta, e=floor, a=drop, d0=delay: e + a / (1 + (d / d0) ** b)  # noqa: E731
        curves[f"m{number}"] = (SIZES[:n], law(SIZES[:n]) * np.exp(noise * rng.normal(size=n)))
        truth[f"m{number}"] = law(target)
    return curves, target, truth


@pytest.mark.parametrize("method", ["best", "ats", "vanilla"])
def test_noise_free_power_laws_are_continued(method):
    curves = {f"m{i}": (SIZES, (3 + i) * SIZES ** -(0.05 + 0.02 * i)) for i in range(5)}
    found = predict_full_loss(curves, 1e7, method=method)
    for i in range(5):
        assert found[f"m{i}"].loss == pytest.approx((3 + i) * 1e7 ** -(0.05 + 0.02 * i), rel=0.01)


def test_methods_are_those_they_are_named_after():
    curves, target, _ = rectified_curves(0, models=3)
    curves["m0"] = ([0, *SIZES], [9.0, *curves["m0"][1]])
    found = {method: predict_full_loss(curves, target, method) for method in METHODS}
    for name, (sizes, losses) in curves.items():
        assert found["ats"][name].loss == pytest.approx(accept_then_stop(sizes, losses, target).loss)
        assert found["ats"][name].accepted == accept_then_stop(sizes, losses, target).accepted
        assert found["subtuning"][name].loss == pytest.approx(losses[-1])
        for law in ("rectified", "vanilla"):
            assert found[law][name].loss == pytest.approx(fit_law(law, sizes, losses).predict(target))
    assert found["zeroshot"]["m0"].loss == pytest.approx(9.0)
    assert np.isnan(found["zeroshot"]["m1"].loss)


@settings(max_examples=10, deadline=None)
@given(size_unit=st.floats(1e-3, 1e4), loss_unit=st.floats(1e-2, 1e3), seed=st.integers(0, 99))
def test_best_does_not_depend_on_units_or_order(size_unit, loss_unit, seed):
    curves, target, _ = rectified_curves(seed, models=5)
    plain = predict_full_loss(curves, target)
    scaled = predict_full_loss(
        {
            name: (sizes[::-1] * size_unit, losses[::-1] * loss_unit)
            for name, (sizes, losses) in reversed(curves.items())
        },
        target * size_unit,
    )
    assert list(scaled) == list(reversed(curves))
    for name, one in plain.items():
        assert scaled[name].loss == pytest.approx(one.loss * loss_unit, rel=1e-6)
        assert scaled[name].high == pytest.approx(one.high * loss_unit, rel=1e-6)


def test_one_jump_moves_the_level_and_hardly_the_slope():
    curves = {f"m{i}": (SIZES, 4 * SIZES**-0.1 * (1 + 0.001 * i)) for i in range(10)}
    jumped = curves["m0"][1] * np.where(np.arange(12) >= 10, 0.9, 1.0)
    found = predict_full_loss(curves | {"m0": (SIZES, jumped)}, SIZES[-1] * 16)
    followed = 0.9 * 4 * (SIZES[-1] * 16) ** -0.1
    assert found["m0"].loss == pytest.approx(followed, rel=0.03)
    last_two = np.polyfit(np.log(SIZES[-3:]), np.log(jumped[-3:]), 1)
    assert np.exp(np.polyval(last_two, np.log(SIZES[-1] * 16))) < 0.9 * followed


def test_flattening_curves_do_not_turn_upwards():
    losses = 1 + 2 * np.exp(-np.log2(SIZES / 100))
    found = predict_full_loss({f"m{i}": (SIZES, losses + 0.01 * i) for i in range(6)}, SIZES[-1] * 1000)
    assert found["m0"].loss <= losses[-1] * 1.001


def test_unequal_grids_missing_cells_and_failed_models():
    curves, target, truth = rectified_curves(4, models=8, noise=0.002)
    sizes, losses = curves["m0"]
    holed = np.where(np.arange(12) % 3 == 1, np.nan, losses)
    mixed = curves | {
        "m0": (sizes, holed),
        "m1": (curves["m1"][0][3:9] * 1.0, curves["m1"][1][3:9]),
        "failed": (sizes, np.full(12, np.nan)),
        "single": ([200.0], [2.0]),
        "pair": ([200.0, 800.0], [2.0, 1.5]),
    }
    for method in METHODS:
        found = predict_full_loss(mixed, target, method)
        assert list(found) == list(mixed)
        assert np.isnan(found["failed"].loss)
    best = predict_full_loss(mixed, target)
    assert best["m0"].loss == pytest.approx(truth["m0"], rel=0.1)
    assert best["single"].low < best["single"].loss < best["single"].high


@pytest.mark.parametrize("extra", [[830.0], [105.0], [205.0, 810.0]])
def test_a_size_next_to_another_makes_no_prediction_worse(extra):
    """The slope between two such sizes is nearly all noise, and must not decide the curvature."""

    def loss(size):
        return 5 * size**-0.15

    def error(sizes):
        random, errors = np.random.default_rng(1), []
        for _ in range(20):
            noise = np.exp(0.005 * random.normal(size=(3, len(sizes))))
            found = predict_full_loss({f"m{i}": (sizes, loss(sizes) * noise[i]) for i in range(3)}, 6400)
            errors += [np.log(one.loss / loss(6400)) for one in found.values()]
        return np.sqrt(np.mean(np.square(errors)))

    sizes = 100 * 2.0 ** np.arange(4)
    assert error(np.sort([*sizes, *extra])) < 1.3 * error(sizes)


def test_sizes_above_the_target_are_not_used():
    curves, _, _ = rectified_curves(1, models=4)
    target = SIZES[7]
    cut = {name: (sizes[:8], losses[:8]) for name, (sizes, losses) in curves.items()}
    for method in ("best", "ats"):
        assert predict_full_loss(curves, target, method) == predict_full_loss(cut, target, method)


@pytest.mark.parametrize(("method", "ahead"), [("best", 2.0), ("best", 8.0), ("ats", 4.0)])
def test_intervals_cover_about_nine_in_ten(method, ahead):
    covered = []
    for seed in range(6):
        curves, target, truth = rectified_curves(seed, models=20, noise=0.01, ahead=ahead)
        found = predict_full_loss(curves, target, method)
        covered += [one.low <= truth[name] <= one.high for name, one in found.items()]
    assert 0.80 <= np.mean(covered) <= 0.99


def test_intervals_widen_with_distance():
    curves, _, _ = rectified_curves(2)
    widths = [
        np.log(one.high / one.low)
        for ahead in (1.0, 4.0, 64.0)
        for one in [predict_full_loss(curves, SIZES[-1] * ahead)["m3"]]
    ]
    assert widths == sorted(widths)


def test_nothing_to_predict_and_wrong_arguments():
    assert predict_full_loss({}, 100) == {}
    with pytest.raises(ValueError, match=r"unknown method 'magic'; valid: ats, best"):
        predict_full_loss({}, 100, "magic")
    for table in ([], None, {"a": None}, {"a": ([1, 2],)}, {"a": ([1], [1], [1])}):
        with pytest.raises(ValueError, match=r"\(sizes, losses\)"):
            predict_full_loss(table, 100)
    for target in (0, -1, float("nan"), float("inf"), None, "100"):
        with pytest.raises(ValueError, match="target_size"):
            predict_full_loss({"a": ([1], [1])}, target)
