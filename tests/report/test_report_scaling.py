"""Scaling report and page: numbers are those of the scaling package, and few points are said to be few."""

import json
import math

import numpy as np
import pytest

from tamis.report import build_scaling_report, curve_plot_png, models_markdown, scaling_law_page
from tamis.report.scaling_report import NATS_PER_EXAMPLE
from tamis.scaling import accept_then_stop, fit_law, predict_full_loss

SIZES = [0, *(100 * 2**i for i in range(8))]


def _curve(floor, scale, seed, sizes=SIZES):
    noise = np.random.default_rng(seed).normal(0, 0.002, len(sizes))
    losses = (floor + scale / (30 + np.maximum(np.array(sizes, dtype=float), 0) ** 0.6)) * np.exp(noise)
    return list(sizes), losses.tolist()


@pytest.fixture(scope="module")
def curves():
    return {"small": _curve(1.2, 90, 1), "large": _curve(0.8, 80, 2)}


@pytest.fixture(scope="module")
def report(curves):
    return build_scaling_report(curves, 51_200, {"small": 2e9, "large": 6e9})


def test_predictions_are_those_of_the_package(report, curves):
    for multiple, place in ((1, 0), (2, 1), (4, 2)):
        expected = predict_full_loss(curves, 51_200 * multiple)
        for model in report.models:
            shown = model.predictions[place]
            found = expected[model.model]
            assert (shown.size, shown.loss, shown.low, shown.high) == (
                51_200 * multiple,
                found.loss,
                found.low,
                found.high,
            )
    small = report.models[0]
    stopped = accept_then_stop(*curves["small"], 51_200)
    assert small.at_target["ats"].loss == pytest.approx(stopped.loss)
    assert small.at_target["ats"].accepted == stopped.accepted
    assert small.next_doubling == small.predictions[0].loss - small.predictions[1].loss > 0


def test_laws_are_those_of_the_package(report, curves):
    fit = fit_law("rectified", *curves["large"])
    shown = report.models[1].laws["rectified"]
    assert shown.parameters == pytest.approx(fit.parameters)
    assert report.models[1].pre_learned_size == fit.parameters["D_l"]
    assert shown.grid_losses == pytest.approx(fit.predict(np.array(report.grid)))


def test_choice_and_cost(report):
    assert report.chosen == "large"
    assert "small" in report.why
    spent = sum(size for size in SIZES if size > 0)
    assert report.cost_share == pytest.approx(spent / 51_200)
    assert report.models[0].cost_spent == pytest.approx(2e9 * spent)


def test_backtest_hides_the_last_octave(report, curves):
    backtest = report.models[0].backtest
    assert backtest.size == 12_800
    assert backtest.measured == curves["small"][1][-1]
    assert backtest.sizes_used == 7
    cut = {name: (sizes[:-1], losses[:-1]) for name, (sizes, losses) in curves.items()}
    assert backtest.predictions["best"].loss == predict_full_loss(cut, 12_800)["small"].loss
    assert abs(backtest.error("best")) < 0.05


def test_the_page_says_it_all(report, read_page):
    text = read_page(scaling_law_page(report))
    for expected in ("Tune large", "51,200", "102,400", "204,800", "90 % interval", "D_l", "bits per byte"):
        assert expected in text
    assert "too few sizes" not in text


def test_json_has_no_nan(report):
    assert json.loads(json.dumps(report.to_json(), allow_nan=False))["chosen"] == "large"


def test_picture(report):
    png = curve_plot_png(report)
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert 3_000 < len(png) <= 60_000


def test_losses_of_labelled_texts_are_no_bits_per_byte(read_page):
    curves = {name: _curve(1.0, 50 + seed, seed, [0, 10, 20, 40, 80]) for seed, name in enumerate("ab")}
    costs = {"a": 1.0, "b": 3.0}
    text = read_page(scaling_law_page(build_scaling_report(curves, 160, costs, NATS_PER_EXAMPLE)))
    assert text.count("nats per example") >= 4
    assert "bits per byte" not in text
    usual = read_page(scaling_law_page(build_scaling_report(curves, 160, costs)))
    assert "nats per example" not in usual
    assert usual.count("bits per byte") == text.count("nats per example")


def test_four_sizes_are_said_to_be_few(read_page):
    curves = {name: _curve(1.0, 50 + seed, seed, [0, 10, 20, 40, 80]) for seed, name in enumerate("ab")}
    report = build_scaling_report(curves, 160, {"a": 1.0, "b": 3.0})
    assert math.isinf(report.models[0].laws["rectified"].aicc)
    assert report.models[0].backtest.sizes_used == 3
    text = read_page(scaling_law_page(report))
    assert "only 4 sizes" in text
    assert "too few sizes" in text


@pytest.mark.parametrize(
    ("curves", "chosen"),
    [
        ({"alone": ([0, 50], [3.0, 2.5])}, "alone"),
        ({"holes": ([0, 50, 100], [3.0, None, math.nan])}, None),
        ({"zero": ([0], [3.0]), "two": ([10, 20], [2.0, 1.9])}, "two"),
        ({}, None),
    ],
)
def test_hardly_any_points(curves, chosen, read_page):
    report = build_scaling_report(curves, 200, {})
    assert report.chosen == chosen
    read_page(scaling_law_page(report))
    assert curve_plot_png(report).startswith(b"\x89PNG")
    json.dumps(report.to_json(), allow_nan=False)


def test_names_are_escaped(hostile, read_page):
    report = build_scaling_report({hostile: ([10, 20, 40], [2.0, 1.9, 1.8])}, 80, {hostile: 1.0})
    assert hostile in read_page(scaling_law_page(report))


def test_defects_are_reported(read_page):
    copied = _curve(1.0, 60, 3)
    report = build_scaling_report({"a": copied, "b": copied}, 51_200, {"a": 1.0, "b": 1.0})
    assert "copied" in {defect["kind"] for defect in report.defects}
    assert "Oddities" in read_page(scaling_law_page(report))


def test_a_target_that_is_no_size_is_refused(curves):
    with pytest.raises(ValueError, match="target"):
        build_scaling_report(curves, 0, {})


def test_the_table_for_the_user_interface_has_a_row_a_model(report):
    lines = models_markdown(report).splitlines()
    assert len(lines) == 2 + len(report.models)
    assert {line.count("|") for line in lines} == {6}
    assert all(
        line.startswith(f"| {model.model} |") for line, model in zip(lines[2:], report.models, strict=True)
    )
