"""Pairs and labels through the whole graph: trials in two stages with two seeds, and their lineage."""

import json

import polars as pl
import pytest
from projects import ALGEBRA, SmallProject, make_project, sentences, small_settings
from soundness import assert_sound

from tamis.training.tracking import open_tracker

TRAINED = """
[[base_model]]
name = "small"
preset = "llama-0.8m"
{own}

[pretraining]
tokens = 8_000
vocabulary = 512
sequence_length = 32

[fine_tuning]
epochs = 2
seeds = 2
validation = 6
accumulation = 2
patience = 2

[scaling]
target = "algebra"
models = ["small"]
sizes = [8, 16]

[comparison]
model = "small"
selections = ["near-algebra"]
two_stage = true
"""
PAIRS = 'prompt_column = "question"\nresponse_column = "answer"\n'
LABELS = 'label_column = "topic"\n'
TRIALS = {
    "direct__small__algebra",
    "law__small__16",
    "law__small__8",
    "two-stage__small__near-algebra",
    "warm-up__small__near-algebra",
}


def rows(kind: str) -> list[dict]:
    """Sixty examples; of labelled ones the class is in the words."""
    if kind == "pairs":
        texts = sentences("algebra", 60, 2)
        return [{"question": text[:60], "answer": text[60:]} for text in texts]
    algebra, sailing = sentences("algebra", 30, 2), sentences("sailing", 30, 3)
    return [
        {"text": text, "topic": topic}
        for topic, texts in (("algebra", algebra), ("sailing", sailing))
        for text in texts
    ]


def made(tmp_path, encoder_cache, kind: str, own: str = "") -> SmallProject:
    columns = PAIRS if kind == "pairs" else LABELS
    text = small_settings(TRAINED.format(own=own), target=ALGEBRA + columns)
    project = make_project(tmp_path / "project", encoder_cache, text)
    file = project.root / "target" / "algebra.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows(kind)))
    project.tamis("materialize")
    return project


def trials_of(project: SmallProject) -> pl.DataFrame:
    found = project.store.read("trials").sort("trial")
    assert set(found["trial"]) == TRIALS
    return found


def test_pairs_with_an_adapter(tmp_path, encoder_cache):
    own = "lora_rank = 4\nlearning_rate = 1e-2"
    project = made(tmp_path, encoder_cache, "pairs", own)
    trials = trials_of(project)
    assert trials["seeds"].unique().to_list() == [2]
    assert (trials["trainable_parameters"] < trials["parameters"] / 10).all()
    assert (trials["held_out_low"] < trials["held_out_bits_per_byte"]).all()
    learnt = trials.filter(pl.col("kind") != "warm_up")
    assert (learnt["held_out_bits_per_byte"] < learnt["zero_shot_bits_per_byte"]).all()
    two = trials.filter(kind="two_stage").to_dicts()[0]
    warm_up = trials.filter(kind="warm_up").to_dicts()[0]
    assert two["warm_up_bits_per_byte"] == pytest.approx(warm_up["held_out_bits_per_byte"])
    assert two["held_out_bits_per_byte"] < two["warm_up_bits_per_byte"]
    assert two["size"] == 20 + 24
    assert_lineage(project)
    assert_tracked(project)
    assert_sound(project)
    assert list((project.home.cache / "training").iterdir()) == []


def assert_lineage(project: SmallProject) -> None:
    """Both inputs and both kinds of documents stand in what is said of a trial in two stages."""
    manifest = project.manifest("trials", "two-stage__small__near-algebra")
    inputs = {(entry.asset, entry.partition) for entry in manifest.inputs}
    expected = {("base_models", "small"), ("target_examples", "algebra"), ("selected_subset", "near-algebra")}
    assert inputs == expected
    seen = project.store.read("trained_on").filter(checkpoint="two-stage__small__near-algebra")
    assert dict(seen.group_by("data").len().iter_rows()) == {"near-algebra": 20, "algebra": 24}
    held_out = project.store.read("target_examples").filter(pl.col("split") == "held_out")["doc_id"]
    assert not set(seen["doc_id"]) & set(held_out)


def assert_tracked(project: SmallProject) -> None:
    """One run and one model version a trial; the version names the manifest of the event."""
    client = open_tracker(f"sqlite:///{project.home.root}/mlflow/mlflow.db")
    (experiment,) = client.search_experiments(filter_string="name = 'tamis'")
    runs = {run.data.tags["tamis.trial"]: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == TRIALS
    current = project.current
    for trial, run in runs.items():
        (version,) = client.search_model_versions(f"name = 'tamis.{trial}'")
        manifest = current[("trials", trial)].manifest
        assert version.tags["tamis.manifest"] == run.data.tags["tamis.manifest"] == manifest
        assert (project.home.root / version.source.removeprefix("tamis:///") / "model.safetensors").exists()
    data = {one.dataset.name for one in runs["two-stage__small__near-algebra"].inputs.dataset_inputs}
    assert data == {"near-algebra", "algebra"}
    parameters = runs["law__small__8"].data.params
    assert parameters["lora_rank"] == "4"
    assert parameters["accumulation"] == "2"


def test_labels(tmp_path, encoder_cache):
    project = made(tmp_path, encoder_cache, "labels", "learning_rate = 2e-3")
    trials = trials_of(project)
    warm_up = trials.filter(kind="warm_up").to_dicts()[0]
    classified = trials.filter(pl.col("kind") != "warm_up")
    assert (classified["accuracy"] > classified["majority_accuracy"]).any()
    assert classified["held_out_bits_per_byte"].null_count() == len(classified)
    assert (classified["accuracy_low"] <= classified["accuracy"]).all()
    assert (classified["macro_f1_high"] >= classified["macro_f1"]).all()
    assert warm_up["accuracy"] is None
    curves = project.store.read("loss_curves")
    assert set(curves["size"]) == {8, 16}, "a classifier has no loss before it is trained"
    answers = project.store.read("target_answers")
    assert set(answers["label"]) == {"algebra", "sailing"}
