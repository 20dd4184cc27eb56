"""Scaling page: it says what the report holds, and few points are said to be few."""

import math

import pytest
from made_curves import HARDLY, SIZES, costing, curve, steep_and_level

from tamis.report.scaling import CLIPPED, curve_plot_png, loss_limits, models_markdown, scaling_law_page
from tamis.scaling.analysis import Study, build_scaling_report
from tamis.scaling.costs import Cost, FailedRun
from tamis.scaling.report_values import NATS_PER_EXAMPLE, WIDEST


@pytest.fixture(scope="module")
def curves():
    return steep_and_level()


@pytest.fixture(scope="module")
def report(curves):
    return build_scaling_report(curves, 51_200, costing({"small": 2e9, "large": 6e9}))


def test_the_page_says_it_all(report, read_page):
    text = read_page(scaling_law_page(report))
    now = report.models[1].predictions[0]
    answer = (
        f"Fine-tune large: predicted loss {now.loss:.3f} (90 % interval {now.low:.3f} to {now.high:.3f}) bits"
    )
    assert text.index(answer) < text.index("Several base models were tuned"), "the answer is first"
    for expected in ("51,200", "102,400", "204,800", "D_l", "bits per byte"):
        assert expected in text
    assert "too few sizes" not in text.lower()


def test_percentages_of_losses_have_one_basis(report, read_page):
    small, large = (model.predictions for model in report.models)
    basis = large[0].loss
    text = read_page(scaling_law_page(report))
    assert f"are relative to {basis:.3f} bits per byte, the predicted loss of large" in text
    gap = small[0].loss - basis
    assert text.count(f"{gap:.3f} ({100 * gap / basis:.1f} %)") == 1  # in the table
    assert f"{gap:.3f} bits per byte ({100 * gap / basis:.1f} %) below that of the next model, small" in text
    for now, double, _four in (small, large):
        assert f"{now.loss - double.loss:.3f} ({100 * (now.loss - double.loss) / basis:.1f} %)" in text


def test_alternatives_doublings_phases_and_costs_are_on_the_page(curves, read_page):
    seconds = {"small": 0.1, "large": 0.4}
    report = build_scaling_report(
        curves, 51_200, costing({"small": 2e9, "large": 6e9}, seconds), Study(target="algebra")
    )
    small, large = report.models
    text = read_page(scaling_law_page(report))
    assert "Scaling on algebra" in text
    assert "chosen" in text
    gap = small.predictions[0].loss - large.predictions[0].loss
    assert f"{gap:.3f} ({100 * gap / large.predictions[0].loss:.1f} %)" in text
    assert f"lower its loss by {large.next_doubling:.3f}" in text
    assert "A run on them takes 6.14e+14 FLOP and 11.4 hours, a run on 51,200 takes 3.07e+14 and 5.7" in text
    assert f"of {len(large.sizes)} sizes in the power phase" in text
    spent = sum(size for size in SIZES if size > 0)
    assert report.spent.examples == 2 * spent
    assert report.spent.seconds == pytest.approx(0.5 * spent)
    assert report.full.seconds == pytest.approx(0.5 * 51_200)
    assert f"{spent / 512:.1f} %" in text
    assert "By AICc the best law is:" in text
    assert "The prediction would have chosen large, which was right" in text


def test_evaluation_costs_a_run_and_not_an_example(curves, read_page):
    costs = costing({"small": 2e9, "large": 6e9}, {"small": 0.1, "large": 0.4}, run=10_000)
    report = build_scaling_report(curves, 51_200, costs)
    spent, runs = sum(size for size in SIZES if size > 0), len(SIZES) - 1
    assert report.spent.flops == pytest.approx(8e9 * (spent + 10_000 * runs))
    assert report.full.flops == pytest.approx(8e9 * (51_200 + 10_000))
    assert report.cost_share == pytest.approx((spent + 80_000) / 61_200)
    large = report.models[1]
    assert large.double.flops - large.full.flops == pytest.approx(6e9 * 51_200)
    text = read_page(scaling_law_page(report))
    assert f"{100 * (spent + 80_000) / 61_200:.0f} % of the operations" in text


def test_runs_that_failed_are_counted_and_named(curves, read_page):
    costs = costing({"small": 2e9, "large": 6e9}, {"small": 0.1, "large": 0.4})
    gone, some = Cost(examples=100.0, flops=9e11, seconds=3.5), Cost(examples=200.0, flops=4e11, seconds=7.0)
    lost = [
        FailedRun(model="gone", size=100, reason="<b>no weights", cost=gone),
        FailedRun(model="small", size=200, reason="out of memory", cost=some),
    ]
    plain = build_scaling_report(curves, 51_200, costs, Study(missing=["late"]))
    assert "they are not compared: late." in plain.caveats[0]
    report = build_scaling_report(curves, 51_200, costs, Study(failed=lost))
    assert report.spent.flops == pytest.approx(plain.spent.flops + 13e11)
    assert report.spent.seconds == pytest.approx(plain.spent.seconds + 10.5)
    assert report.cost_share > plain.cost_share
    text = read_page(scaling_law_page(report))
    for expected in (
        "Runs that failed",
        "<b>no weights",
        "nothing is known about them: gone.",
        "so sizes are missing from their curves: small.",
    ):
        assert expected in text
    assert "Runs that failed" not in read_page(scaling_law_page(plain))


def test_picture(report):
    png = curve_plot_png(report)
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert 3_000 < len(png) <= 60_000


def test_losses_of_labelled_texts_are_no_bits_per_byte(read_page):
    curves = {name: curve(1.0, 50 + seed, seed, [0, 10, 20, 40, 80]) for seed, name in enumerate("ab")}
    costs = costing({"a": 1.0, "b": 3.0})
    text = read_page(scaling_law_page(build_scaling_report(curves, 160, costs, Study(unit=NATS_PER_EXAMPLE))))
    assert text.count("nats per example") >= 4
    assert "bits per byte" not in text
    usual = read_page(scaling_law_page(build_scaling_report(curves, 160, costs)))
    assert "nats per example" not in usual
    assert usual.count("bits per byte") == text.count("nats per example")


def test_one_size_says_nothing_of_a_doubling(read_page):
    report = build_scaling_report({"a": ([0, 100], [2.5, 1.9])}, 160, costing({"a": 1.0}))
    text = read_page(scaling_law_page(report))
    assert "Nothing can be said yet about what twice the data would do." in text
    assert "Twice the data" not in text
    assert "0.000 (0.0 %)" not in text
    assert "at only 1 size: too few to fit a law" in text
    assert text.lower().count("too few sizes") == 1


def test_four_sizes_are_said_to_be_few(read_page):
    curves = {name: curve(1.0, 50 + seed, seed, [0, 10, 20, 40, 80]) for seed, name in enumerate("ab")}
    report = build_scaling_report(curves, 160, costing({"a": 1.0, "b": 3.0}))
    assert math.isinf(report.models[0].laws["rectified"].aicc)
    assert report.models[0].backtest.sizes_used == 3
    text = read_page(scaling_law_page(report))
    assert "only 4 sizes" in text
    assert "A dash in a table means that too few sizes were measured: 4 for a, b." in text
    assert text.lower().count("too few sizes") == 1


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


def test_names_are_escaped(hostile, read_page):
    measured = curve(1.0, 60, 3)
    lost = FailedRun(
        model=hostile, size=200, reason=hostile, cost=Cost(examples=200.0, flops=4e11, seconds=7.0)
    )
    report = build_scaling_report(
        {hostile: measured, "other": measured},
        51_200,
        costing({hostile: 1.0, "other": 1.0}),
        Study(target=hostile, failed=[lost], missing=[hostile]),
    )
    text = read_page(scaling_law_page(report))
    assert text.count(f"Scaling on {hostile}: which model") == 2
    assert f"failed, so sizes are missing from their curves: {hostile}." in text
    assert f"they are not compared: {hostile}." in text
    assert f"other: copied, equals {hostile} at 100" in text
    assert f"{hostile} 200 7 seconds {hostile}" in text  # a run that failed
    tables = text[text.index("The models against each other") :]
    assert tables.count(hostile) == 9 + 2 + 1  # in each of nine, of laws thrice, of failures with the reason


def test_defects_are_reported(read_page):
    copied = curve(1.0, 60, 3)
    report = build_scaling_report({"a": copied, "b": copied}, 51_200, costing({"a": 1.0, "b": 1.0}))
    assert "copied" in {defect["kind"] for defect in report.defects}
    assert "Oddities" in read_page(scaling_law_page(report))


def test_the_table_for_the_user_interface_has_a_row_a_model(report):
    lines = models_markdown(report).splitlines()
    assert len(lines) == 2 + len(report.models)
    assert {line.count("|") for line in lines} == {6}
    assert all(
        line.startswith(f"| {model.model} |") for line, model in zip(lines[2:], report.models, strict=True)
    )


def test_an_interval_that_says_nothing_is_no_gain(read_page):
    curves = {name: (HARDLY, [4.1, low, 3.0]) for name, low in (("a", 3.9), ("b", 3.8))}
    report = build_scaling_report(curves, 1_000, costing({"a": 1.0, "b": 3.0}))
    best = next(model for model in report.models if model.model == report.chosen)
    double = best.predictions[1]
    assert double.high > WIDEST * double.low
    text = read_page(scaling_law_page(report))
    assert "Nothing can be said about what twice the data, 2,000 examples, would do" in text
    assert f"{double.low:.3f} to " in text
    assert "should lower" not in text
    assert f"{best.next_doubling:.3f}" not in text
    sizes = best.telling_sizes
    assert sizes[:2] == (48.0, 96.0)
    assert f"at least {len(sizes)} more sizes to [scaling] sizes, such as 48, 96 and" in text


def test_a_gain_is_said_with_its_interval(report, read_page):
    large = report.models[1]
    double = large.predictions[1]
    text = read_page(scaling_law_page(report))
    assert f"to {double.loss:.3f}, 90 % interval {double.low:.3f} to {double.high:.3f}" in text
    assert ("contains the present prediction" in text) == (double.high >= large.predictions[0].loss)
    assert large.telling_sizes == ()


def test_intervals_do_not_squeeze_the_curves(report):
    curves = {name: (HARDLY, [4.1, low, 3.0]) for name, low in (("a", 3.9), ("b", 3.8))}
    wide = build_scaling_report(curves, 1_000, {})
    assert max(p.high for p in wide.models[0].predictions) > 4.1 * 4
    assert loss_limits(wide) == (pytest.approx(3.0 / CLIPPED * 0.97), pytest.approx(4.1 * CLIPPED * 1.03))
    low, high = loss_limits(report)
    ends = [v for m in report.models for p in m.predictions for v in (p.low, p.high)]
    ends += [v for m in report.models for v in m.losses]
    assert (low, high) == (pytest.approx(min(ends) * 0.97), pytest.approx(max(ends) * 1.03))


@pytest.mark.parametrize("known", [3, 5, 6, 7, 8])
def test_only_laws_that_have_an_aicc_are_compared(known, read_page):
    curves = {name: curve(1.0, 50 + seed, seed, SIZES[: known + 1]) for seed, name in enumerate("ab")}
    report = build_scaling_report(curves, 51_200, {})
    text = read_page(scaling_law_page(report))
    lacking = "rectified needs 7, vanilla needs 7"
    if known >= 7:
        assert "By AICc the best law is:" in text
        assert "has an AICc" not in text
        assert report.models[0].compared == tuple(report.models[0].laws)
        return
    assert "By AICc the best law is" not in text
    assert "No two laws can be compared yet." in text
    if known == 6:
        assert f"With 6 sizes (a, b) only power3 has an AICc: {lacking}." in text
        assert "none to compare with" in text
    else:
        assert f"With {known} sizes (a, b) no law has an AICc: {lacking}, power3 needs 6." in text
    for law in report.models[0].laws.values():
        assert math.isfinite(law.aicc) == (known >= law.least_sizes)


def test_a_model_with_fewer_sizes_is_named_beside_those_compared(read_page):
    curves = {"long": curve(1.0, 50, 1), "short": curve(1.2, 50, 2, SIZES[:7])}
    text = read_page(scaling_law_page(build_scaling_report(curves, 51_200, {})))
    assert " of 1 model. With 6 sizes (short) only power3 has an AICc: rectified needs 7" in text


def test_an_order_that_is_not_settled_names_the_settings_that_settle_it(read_page):
    twin = build_scaling_report({"a": curve(1.2, 90, 1), "b": curve(1.2, 90, 1)}, 51_200, {})
    text = read_page(scaling_law_page(twin))
    assert "not settled" in text
    assert "add larger sizes to [scaling] in tamis.toml" in text
    assert "raise the share in [trial_budget] if tamis.toml has that section" in text
    clear = build_scaling_report({"a": curve(1.2, 90, 1), "b": curve(0.1, 20, 1)}, 51_200, {})
    assert "the difference is clear" in clear.why
    assert "[trial_budget]" not in clear.why
