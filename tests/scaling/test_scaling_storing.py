"""Curves, reports and the choice from a real store: one report a target, costs in three currencies."""

import json

import pyarrow as pa
import pytest

from tamis.project import open_project
from tamis.report import scaling_law_page
from tamis.scaling import predict_full_loss
from tamis.scaling.storing import NoPredictionError, choose_model, curves_table, reports_of_curves
from tamis.store.schemas import schema_of

SETTINGS = """
[[corpus]]
name = "texts"
kind = "files"
path = "landing"

[[target]]
name = "algebra"
kind = "files"
path = "target"
train = 300

[[target]]
name = "cooking"
kind = "files"
path = "target"
train = 500

[[base_model]]
name = "small"
preset = "llama-0.8m"

[[base_model]]
name = "large"
preset = "llama-2.5m"

[scaling]
target = "algebra"
models = ["small", "large"]
sizes = [25, 50, 100, 200]
"""
FALL = {
    ("small", "algebra"): 0.05,
    ("large", "algebra"): 0.09,
    ("small", "cooking"): 0.08,
    ("large", "cooking"): 0.02,
}
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
        "flops": FLOPS[model] * size,
        "seconds": SECONDS[model] * size,
        "peak_memory_bytes": 1,
        "parameters": 1,
        "checkpoint": "",
        "mlflow_run": "",
    }


@pytest.fixture
def project(tmp_path):
    (tmp_path / "tamis.toml").write_text(SETTINGS)
    return open_project(tmp_path)


def stored(project, trials):
    """The store with these trials and their curves; the defects found."""
    store = project.home.store
    store.overwrite("trials", pa.Table.from_pylist(trials, schema=schema_of("trials")))
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
    assert report.spent.flops == pytest.approx(375 * 5e9)
    assert report.spent.seconds == pytest.approx(375 * 0.4)
    assert report.full.seconds == pytest.approx(300 * 0.4)
    assert report.cost_share == pytest.approx(1.25)


def test_the_choice_is_that_of_the_configured_target(project):
    store, _defects = stored(project, grid("algebra", "cooking"))
    choice = choose_model(store, project)
    assert (choice["target"], choice["model"], choice["predict_at"]) == ("algebra", "large", 300)
    curves = {
        model: ([25, 50, 100, 200], [2.0 * (n / 25) ** -FALL[model, "algebra"] for n in (25, 50, 100, 200)])
        for model in ("large", "small")
    }
    assert choice["predicted_loss"] == pytest.approx(predict_full_loss(curves, 300)["large"].loss)
    assert choice["cost_share"] == pytest.approx(1.25)
    json.dumps(choice, allow_nan=False)


def test_defects_name_their_target(project):
    trials = [one for one in grid("algebra", "cooking") if one["trial"] != "law__large__200__cooking"]
    _store, defects = stored(project, [*trials, trial("cooking", "large", 200, 2.4)])
    assert [(d["target"], d["model"], d["kind"]) for d in defects] == [("cooking", "large", "non_monotone")]


def test_trials_that_are_not_named_are_left_out(project):
    store, _defects = stored(project, grid("algebra"))
    frame, _ = curves_table(store, ["law__small__25__algebra"])
    assert frame["size"].to_list() == [0, 25]


def test_no_usable_curve_is_said(project):
    store, _defects = stored(project, [trial("cooking", "small", 25)])
    with pytest.raises(NoPredictionError, match="no loss curve predicts anything"):
        choose_model(store, project)
