"""Controls: the loss of trained choices on texts off the goal, in the graph, its pages and MLflow."""

import polars as pl
import pytest
from made_evaluations import FEW, MORE, TRAINED
from projects import SmallProject, sentences, write_jsonl

from tamis.comparison.analysis import ComparisonReport, analyse
from tamis.comparison.runs import losses_on_controls
from tamis.graph.plan import full_plan
from tamis.report.comparison import comparison_text
from tamis.report.summary import trial_lines
from tamis.training.tracking import open_tracker

CHOICES = [FEW, MORE]
CONTROL = '\n[[control]]\nname = "general"\npath = "general"\n'
MEASURED = TRAINED | {"control_losses"}


def due(project: SmallProject) -> list[str]:
    return [one.asset for one in full_plan(project.snapshot, project.current) if one.asset in MEASURED]


def test_choices_are_measured_on_documents_that_no_model_trained_on(evaluated):
    rows = evaluated.store.read("control_losses").sort("trial")
    assert rows["trial"].to_list() == CHOICES
    assert rows["control"].to_list() == ["pool", "pool"]
    for row in rows.iter_rows(named=True):
        total = sum(row["document_bytes"])
        assert row["bits_per_byte"] == pytest.approx(sum(row["document_bits"]) / total)
        assert row["start_bits_per_byte"] == pytest.approx(sum(row["start_document_bits"]) / total)
        assert row["difference"] == pytest.approx(row["bits_per_byte"] - row["start_bits_per_byte"])
        assert row["difference_low"] < row["difference"] < row["difference_high"]
        assert len(row["document_bits"]) == row["documents"] >= 20


def test_the_summary_and_mlflow_show_it_beside_the_loss_on_the_target(evaluated):
    row = evaluated.store.read("control_losses").sort("trial").row(0, named=True)
    line = next(line for line in trial_lines(evaluated.project) if " on few" in line)
    shown = f"on the pool {row['start_bits_per_byte']:.3f} -> {row['bits_per_byte']:.3f}"
    assert shown in line
    assert f"({row['difference']:+.3f}, 95 % interval:" in line
    client = open_tracker(evaluated.project.tracking_uri)
    run = evaluated.store.read("trials", ["mlflow_run"], f"trial = '{CHOICES[0]}'").item()
    metrics = client.get_run(run).data.metrics
    assert metrics["control.pool.bits_per_byte"] == row["bits_per_byte"]
    assert metrics["control.pool.difference"] == row["difference"]
    assert due(evaluated) == []


def test_a_control_of_files_takes_the_place_of_the_pool_without_training(evaluated, capsys):
    evaluated.make(MEASURED)
    trained = {name: evaluated.current[("trials", name)] for name in CHOICES}
    write_jsonl(evaluated.root / "general" / "a.jsonl", sentences("algebra", 6, 9))
    evaluated.configure(evaluated.text + CONTROL)
    assert due(evaluated) == ["control_losses"]
    evaluated.make(MEASURED)
    rows = evaluated.store.read("control_losses").sort("trial")
    assert rows.select("trial", "control", "documents").rows() == [(name, "general", 6) for name in CHOICES]
    assert {name: evaluated.current[("trials", name)] for name in CHOICES} == trained
    [line] = [line for line in trial_lines(evaluated.project) if " on few" in line]
    assert "on control general" in line
    # Other texts of the same control are measured again; the same are not.
    before = rows["measurement"].to_list()
    write_jsonl(evaluated.root / "general" / "b.jsonl", sentences("algebra", 1, 11))
    evaluated.make(MEASURED)
    after = evaluated.store.read("control_losses").sort("trial")
    assert after["documents"].to_list() == [7, 7]
    # A text that the pool has, too, may be chosen: it is measured, and said.
    assert "in the pool" not in capsys.readouterr().err
    (chosen,) = evaluated.store.read("documents", ["text"]).head(1)["text"]
    write_jsonl(evaluated.root / "general" / "c.jsonl", [chosen])
    evaluated.make(MEASURED)
    assert evaluated.store.read("control_losses")["documents"].to_list() == [8, 8]
    assert "control general: 1 of 8 texts in the pool, too" in capsys.readouterr().err
    assert not set(after["measurement"]) & set(before)


def test_a_control_without_texts_is_refused_by_name(evaluated):
    (evaluated.root / "general").mkdir()
    (evaluated.root / "general" / "b.jsonl").write_text('{"body": "no text"}\n')
    evaluated.configure(evaluated.text + CONTROL)
    failed = evaluated.try_making(MEASURED).failed
    assert list(failed) == ["control_losses"]
    said = "control 'general' of [[control]]: none of its 1 row (general) has a text to measure on"
    assert said in failed["control_losses"]
    assert evaluated.store.count("control_losses") == 2, "what was measured before stays"


COMPARED = """
[sampler_trials]
model = "small"
target = "algebra"
samplers = ["random"]
budgets = [10]
data_seeds = 1
training_seeds = 1
tokens = 1_000
evaluations = 2
held_out = 10
"""


def test_compared_runs_are_measured_on_controls_without_training_the_earlier_again(evaluated):
    stages = TRAINED | {"sampler_trials"}
    evaluated.configure(evaluated.text + COMPARED)
    evaluated.make(stages)
    before = evaluated.store.read("sampler_trials").sort("run")
    assert len(before) == 2
    assert evaluated.store.count("sampler_trials_controls") == 0
    write_jsonl(evaluated.root / "general" / "a.jsonl", sentences("algebra", 6, 9))
    evaluated.configure(evaluated.text + CONTROL)
    evaluated.make(stages)
    assert evaluated.store.read("sampler_trials").sort("run").equals(before), "no run is trained again"
    found = analysed(evaluated)
    assert (found.controls, found.without_control) == ({}, {"general": 2})
    (line,) = [one for one in comparison_text(found) if "Control general: 2 runs of 2 without a loss" in one]
    assert line.endswith("To measure all, change tokens in [sampler_trials]: it trains all 2 again.")
    evaluated.reconfigure("training_seeds = 1", "training_seeds = 2")
    evaluated.make(stages)
    rows = evaluated.store.read("sampler_trials_controls")
    assert set(rows["run"]) == set(evaluated.store.read("sampler_trials")["run"]) - set(before["run"])
    for row in rows.iter_rows(named=True):
        assert row["bits_per_byte"] == pytest.approx(sum(row["document_bits"]) / sum(row["document_bytes"]))
    found = analysed(evaluated)
    assert found.without_control == {"general": 2}
    assert found.controls["general"].arms[0].loss == pytest.approx(
        rows.filter(run=full_run(evaluated))["bits_per_byte"].item()
    )
    kept = evaluated.store.read("sampler_trials").filter(pl.col("run").is_in(before["run"].to_list()))
    assert kept.sort("run").equals(before)


def analysed(project: SmallProject) -> ComparisonReport:
    rows = project.store.read("sampler_trials")
    return analyse(rows, 0, losses_on_controls(project.store, ["general"]))


def full_run(project: SmallProject) -> str:
    rows = project.store.read("sampler_trials", ["run", "sampler", "training_seed"])
    return rows.filter(sampler="full", training_seed=1)["run"].item()
