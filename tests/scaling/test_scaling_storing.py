"""Curves, reports and the choice from a real store: one report a target, costs in three currencies."""

import json
import math

import pytest
from projects import base_model, plain_project, rows_of, settings, target

from tamis.report.scaling import scaling_law_page
from tamis.scaling import predict_full_loss
from tamis.scaling.searched import Search
from tamis.scaling.storing import NoPredictionError, choose_models, curves_table, reports_of_curves
from tamis.store.schemas import schema_of
from tamis.training.failures import note_failure

SCALING = """
[scaling]
target = ["algebra", "cooking"]
models = ["small", "large"]
sizes = [25, 50, 100, 200]
"""
SETTINGS = settings(
    target("algebra", train=300),
    target("cooking", train=500),
    base_model(),
    base_model("large", "llama-2.5m"),
    SCALING,
)
FALL = {
    ("small", "algebra"): 0.05,
    ("large", "algebra"): 0.09,
    ("small", "cooking"): 0.08,
    ("large", "cooking"): 0.02,
}
EVALUATION = 40  # what evaluating a run costs, in examples
FLOPS, SECONDS = {"small": 1e9, "large": 4e9}, {"small": 0.1, "large": 0.3}


def trial(target, model, size, loss=None):
    return {
        "trial": f"law__{model}__{size}__{target}",
        "model": model,
        "kind": "law",
        "data": target,
        "size": size,
        "seed": 0,
        "zero_shot_bits_per_byte": 2.5,
        "held_out_bits_per_byte": loss or 2.0 * (size / 25) ** -FALL[model, target],
        "steps": size,
        "tokens": 100 * size,
        "flops": FLOPS[model] * (size + EVALUATION),
        "seconds": SECONDS[model] * (size + EVALUATION),
        "evaluation_flops": FLOPS[model] * EVALUATION,
        "evaluation_seconds": SECONDS[model] * EVALUATION,
        "peak_memory_bytes": 1,
        "parameters": 1,
        "checkpoint": "",
        "mlflow_run": "",
    }


@pytest.fixture
def project(tmp_path):
    return plain_project(tmp_path, SETTINGS, {}).project


def stored(project, trials):
    """The store with these trials and their curves; the defects found."""
    store = project.home.store
    store.overwrite("trials", rows_of("trials", trials))
    frame, defects = curves_table(store, [one["trial"] for one in trials])
    schema = schema_of("loss_curves")
    store.overwrite("loss_curves", frame.select(schema.names).to_arrow().cast(schema))
    return store, defects


def grid(*targets):
    return [trial(t, m, n) for t in targets for m in ("small", "large") for n in (25, 50, 100, 200)]


def test_each_target_has_a_report_and_a_page_of_its_own(project):
    store, defects = stored(project, grid("algebra", "cooking"))
    assert defects == []
    algebra, cooking = reports_of_curves(store, project)
    assert (algebra.target, algebra.target_size, algebra.chosen) == ("algebra", 300, "large")
    assert (cooking.target, cooking.target_size, cooking.chosen) == ("cooking", 500, "small")
    assert "Scaling on cooking" in scaling_law_page(cooking)
    assert {model.zero_shot for model in cooking.models} == {2.5}


def test_costs_are_those_of_the_trials(project):
    store, _defects = stored(project, grid("algebra", "cooking"))
    (report, _other) = reports_of_curves(store, project)
    assert report.spent.examples == 2 * 375
    assert report.spent.flops == pytest.approx((375 + 4 * EVALUATION) * 5e9)
    assert report.spent.seconds == pytest.approx((375 + 4 * EVALUATION) * 0.4)
    assert report.full.examples == 2 * 300
    assert report.full.seconds == pytest.approx((300 + EVALUATION) * 0.4)
    assert report.cost_share == pytest.approx((375 + 160) / 340)
    large = report.models[0]
    assert large.double.flops - large.full.flops == pytest.approx(300 * 4e9)  # no evaluation among the added


def test_unequal_runs_have_another_share_of_each_currency(project):
    """One model ran in full, the other once: its share of the operations is not that of the examples."""
    few = [trial("algebra", "small", 25), *(trial("algebra", "large", n) for n in (25, 50, 100, 200))]
    store, _defects = stored(project, few)
    (report,) = reports_of_curves(store, project)
    (choice,) = choose_models(store, project)
    assert report.spent.examples / report.full.examples == pytest.approx(400 / 600)
    flops = (65 * 1e9 + 535 * 4e9) / (340 * 5e9)
    seconds = (65 * 0.1 + 535 * 0.3) / (340 * 0.4)
    assert report.cost_share == pytest.approx(flops) == pytest.approx(choice["cost_share"])
    assert report.spent.seconds / report.full.seconds == pytest.approx(seconds)
    assert choice["time_share"] == pytest.approx(seconds)
    assert choice["examples_share"] == pytest.approx(400 / 600)


def test_trials_made_before_evaluation_was_told_apart_count_it_as_training(project):
    old = [one | {"evaluation_flops": None, "evaluation_seconds": None} for one in grid("algebra")]
    store, _defects = stored(project, old)
    (report,) = reports_of_curves(store, project)
    assert report.spent.flops == pytest.approx((375 + 160) * 5e9)
    assert report.full.flops == pytest.approx(300 * (375 + 160) / 375 * 5e9)


def test_what_a_search_left_out_is_part_of_the_cost(project):
    trials = [one for one in grid("algebra") if one["trial"] != "law__small__200"]
    store, _defects = stored(project, trials)
    note_failure(store, "law__small__200", "k", "out of memory", permanent=True, seconds=2.0)
    note_failure(store, "law__small__200", "k", "out of memory", permanent=True, seconds=5.0)
    left_out = {"law__small__200": "out of memory", "law__gone__25": "no weights"}
    searched = Search(
        budget_share=1.0, left_out=left_out, choice="small", costs={"small": 1.0, "large": 4.0, "gone": 2.0}
    )
    text = SETTINGS.replace('["small", "large"]', '["small", "large", "gone"]')
    project = plain_project(project.root, text + base_model("gone", None, path="weights"), {}).project
    (plain,), (report,) = (
        reports_of_curves(store, project),
        reports_of_curves(store, project, {"algebra": searched}),
    )
    small, gone = report.failed
    assert (small.cost.examples, small.cost.seconds) == (200, 7.0)
    assert small.cost.flops == pytest.approx((200 + EVALUATION) * 1e9)
    assert gone.cost.flops == pytest.approx(25 * 2e9), "by its parameters: none of its runs reported any"
    assert report.spent.flops == pytest.approx(plain.spent.flops + small.cost.flops + gone.cost.flops)
    (choice,) = choose_models(store, project, {"algebra": searched})
    assert choice["model"] == "small"
    assert choice["cost_share"] == pytest.approx(report.cost_share)


def test_each_target_has_a_choice(project):
    store, _defects = stored(project, grid("algebra", "cooking"))
    algebra, cooking = choose_models(store, project)
    assert (algebra["target"], algebra["model"], algebra["predict_at"]) == ("algebra", "large", 300)
    assert (cooking["target"], cooking["model"], cooking["predict_at"]) == ("cooking", "small", 500)
    curves = {
        model: ([25, 50, 100, 200], [2.0 * (n / 25) ** -FALL[model, "algebra"] for n in (25, 50, 100, 200)])
        for model in ("large", "small")
    }
    assert algebra["predicted_loss"] == pytest.approx(predict_full_loss(curves, 300)["large"].loss)
    json.dumps([algebra, cooking], allow_nan=False)


def test_a_target_without_a_prediction_keeps_none_from_the_other(project):
    failed = [one | {"held_out_bits_per_byte": math.nan} for one in grid("cooking")]
    store, _defects = stored(project, [*grid("algebra"), *failed])
    algebra, cooking = choose_models(store, project)
    assert algebra["model"] == "large"
    assert (cooking["model"], cooking["predicted_loss"]) == (None, None)
    json.dumps([algebra, cooking], allow_nan=False)


def test_defects_name_their_target(project):
    trials = [one for one in grid("algebra", "cooking") if one["trial"] != "law__large__200__cooking"]
    _store, defects = stored(project, [*trials, trial("cooking", "large", 200, 2.4)])
    assert [(d["target"], d["model"], d["kind"]) for d in defects] == [("cooking", "large", "non_monotone")]


def test_trials_that_are_not_named_are_left_out(project):
    store, _defects = stored(project, grid("algebra"))
    frame, _ = curves_table(store, ["law__small__25__algebra"])
    assert frame["size"].to_list() == [0, 25]


def test_no_usable_curve_is_said(project):
    store, _defects = stored(project, [trial("cooking", "small", 25) | {"held_out_bits_per_byte": math.nan}])
    with pytest.raises(NoPredictionError, match=r"no loss curve gives a prediction .*small on cooking: 2"):
        choose_models(store, project)
