"""What the curves say: numbers are those of the package; which model is chosen, and what to doubt."""

import math

import numpy as np
import pytest
from made_curves import HARDLY, SIZES, costing, curve, steep_and_level

from tamis.scaling import accept_then_stop, fit_law, predict_full_loss
from tamis.scaling.analysis import Study, build_scaling_report
from tamis.scaling.choice import best_model, could_be_as_good, trust
from tamis.scaling.costs import Cost, FailedRun


@pytest.fixture(scope="module")
def curves():
    return steep_and_level()


@pytest.fixture(scope="module")
def report(curves):
    return build_scaling_report(curves, 51_200, costing({"small": 2e9, "large": 6e9}))


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
    assert report.models[1].pre_learned.examples == pytest.approx(fit.pre_learned_examples)
    assert shown.grid_losses == pytest.approx(fit.predict(np.array(report.grid)))


def test_a_backtest_is_measured_by_all_seeds_of_the_largest_size():
    sizes = [100, 200, 400, 800, 1600, 1600]
    for last in ([1.8, 2.0], [2.0, 1.8]):
        found = build_scaling_report({"a": (sizes, [3, 2.6, 2.3, 2.1, *last])}, 3200, {})
        assert found.models[0].backtest.measured == pytest.approx(3.6**0.5)


def test_choice_and_cost(report):
    assert report.chosen == "large"
    assert "small" in report.why
    spent = sum(size for size in SIZES if size > 0)
    assert report.cost_share == pytest.approx(spent / 51_200)
    assert report.models[0].spent.flops == pytest.approx(2e9 * spent)


def test_backtest_hides_the_last_octave(report, curves):
    backtest = report.models[0].backtest
    assert backtest.size == 12_800
    assert backtest.measured == curves["small"][1][-1]
    assert backtest.sizes_used == 7
    cut = {name: (sizes[:-1], losses[:-1]) for name, (sizes, losses) in curves.items()}
    assert backtest.predictions["best"].loss == predict_full_loss(cut, 12_800)["small"].loss
    assert abs(backtest.error("best")) < 0.05


def test_chances_follow_the_gap_and_the_intervals(report):
    small, large = report.models
    assert math.isnan(large.chance_better)
    now, best = small.predictions[0], large.predictions[0]
    spread = math.hypot(*(math.log(one.high / one.low) / 3.2897 for one in (now, best)))
    expected = 0.5 * math.erfc(math.log(now.loss / best.loss) / spread / math.sqrt(2))
    assert small.chance_better == pytest.approx(expected, rel=1e-3)
    twin = build_scaling_report({"a": curve(1.2, 90, 1), "b": curve(1.2, 90, 1)}, 51_200, {})
    assert twin.chosen == "a"
    assert twin.models[1].chance_better == pytest.approx(0.5)


def test_a_backtest_that_chose_wrongly_says_so():
    crossing = {"late": curve(0.2, 90, 1), "early": curve(1.0, 20, 2)}
    sizes, losses = crossing["late"]
    crossing["late"] = (sizes, [*losses[:-1], losses[-1] * 3])
    report = build_scaling_report(crossing, 51_200, {})
    assert "The prediction would have chosen late," in trust(report.models, report.unit)
    assert "above that of the best model, early" in trust(report.models, report.unit)
    assert any("outside the 90 % interval for: late" in caveat for caveat in report.caveats)


def test_pre_learned_data_are_those_of_the_law_with_an_interval(curves):
    report = build_scaling_report(curves, 51_200, {})
    for model in report.models:
        found = model.pre_learned
        assert found.low <= found.examples <= found.high
        law = model.laws["rectified"].parameters
        assert found.examples == pytest.approx(law["D_l"] ** (1 / law["beta"]))
        at_turn = law["E"] + law["B"] / (2 * law["D_l"])
        assert found.loss == pytest.approx(at_turn)
        assert model.best_law in model.laws


def test_what_a_search_chose_stands_and_says_so():
    curves = {name: curve(1.0, 50, seed, [0, 10, 20, 40, 80]) for seed, name in enumerate("ab")}
    plain = build_scaling_report(curves, 160, costing({"a": 1.0, "b": 3.0}))
    other = next(name for name in curves if name != plain.chosen)
    report = build_scaling_report(curves, 160, costing({"a": 1.0, "b": 3.0}), Study(searched=other))
    assert report.chosen == other
    assert "The search under the trial budget kept this model" in report.why
    same = build_scaling_report(curves, 160, costing({"a": 1.0}), Study(searched=plain.chosen))
    assert same.why == plain.why


def test_a_target_that_is_no_size_is_refused(curves):
    with pytest.raises(ValueError, match="target"):
        build_scaling_report(curves, 0, {})


def test_the_sizes_that_would_tell_do():
    curves = {name: (HARDLY, [4.1, low, 3.0]) for name, low in (("a", 3.9), ("b", 3.8))}
    report = build_scaling_report(curves, 1_000, {})
    most = max(report.models[0].telling_sizes)
    for examples, sizes in ((most - 1, ()), (most, report.models[0].telling_sizes)):
        found = build_scaling_report(curves, 1_000, {}, Study(examples=examples))
        assert found.models[0].telling_sizes == sizes
    for size in report.models[0].telling_sizes:
        assert build_scaling_report(curves, 1_000, {}).models[0].predictions[1].says_nothing
        found = predict_full_loss(curves, size)
        curves = {name: ([*curves[name][0], size], [*curves[name][1], found[name].loss]) for name in curves}
    report = build_scaling_report(curves, 1_000, {}).models[0]
    assert not report.predictions[1].says_nothing
    assert report.telling_sizes == ()


@pytest.mark.parametrize(
    ("losses", "searched", "expected"),
    [
        ({"a": 2.0, "b": 1.5}, None, "b"),
        ({"a": 2.0, "b": 1.5}, "a", "a"),
        ({"a": math.nan, "b": 1.5}, "a", "b"),
        ({"a": 2.0, "b": 1.5}, "gone", "b"),
        ({"b": 1.5, "a": 1.5}, None, "a"),
        ({"a": math.nan}, "a", None),
        ({}, None, None),
    ],
)
def test_the_smallest_loss_is_chosen_unless_a_search_chose(losses, searched, expected):
    assert best_model(losses, searched) == expected


def test_a_model_could_be_as_good_where_its_interval_begins_below_the_end_of_the_others():
    intervals = {"best": (1.0, 1.5), "near": (1.4, 2.0), "at": (1.5, 2.0), "few": (None, None)}
    assert could_be_as_good("best", intervals) == ["near"]
    assert could_be_as_good("few", intervals) == []


def test_runs_that_failed_and_models_without_a_run_are_named_first(curves):
    lost = [
        FailedRun(model=name, size=100, reason="", cost=Cost(examples=100.0, flops=1.0, seconds=1.0))
        for name in ("gone", "small")
    ]
    failing = build_scaling_report(curves, 51_200, {}, Study(failed=lost)).caveats
    assert "nothing is known about them: gone." in failing[0]
    assert "so sizes are missing from their curves: small." in failing[1]
    waiting = build_scaling_report(curves, 51_200, {}, Study(missing=["late"])).caveats
    assert "they are not compared: late." in waiting[0]


def test_an_order_is_settled_where_the_intervals_do_not_overlap():
    alike = build_scaling_report({"a": curve(1.2, 90, 1), "b": curve(1.2, 90, 1)}, 51_200, {})
    assert "not settled" in alike.why
    apart = build_scaling_report({"a": curve(1.2, 90, 1), "b": curve(0.1, 20, 1)}, 51_200, {})
    assert "the difference is clear" in apart.why
