"""A trial: settings reach it, its row holds figures with intervals, and a retry repeats nothing."""

import os

import pytest
from families import labelled
from projects import base_model, plain_project, selection, settings, target

from tamis.settings.config import FineTuningSection
from tamis.trainer.runs import Run
from tamis.trainer.trials import TrialData, train_trial, training_options, trial_run
from tamis.training.loop import resume_folder
from tamis.training.planned import Trial, planned_trials
from tamis.training.trainings import TrainingStage

FINE_TUNING = """
[fine_tuning]
epochs = 1
sequence_length = 32
accumulation = 2
kept_states = 2
"""
ADAPTED = {"learning_rate": 1e-2, "lora_rank": 4, "lora_targets": ["q_proj"]}
SETTINGS = settings(
    target(),
    base_model("plain", None, path="plain"),
    base_model("adapted", None, path="adapted", **ADAPTED),
    FINE_TUNING,
)
KEY = "ab" * 32
TRIAL = Trial(name="law__plain__20", model="plain", kind="law", data="goal", size=20)


@pytest.fixture
def project(tmp_path):
    return plain_project(tmp_path, SETTINGS, {}).project


def stage(examples, data="goal") -> TrainingStage:
    ids = [f"{number:032x}" for number in range(len(examples))]
    return TrainingStage(data=data, digest="cd" * 32, doc_ids=ids, examples=examples)


def made(project, tiny, examples, held_out, key=KEY, advance=lambda tokens: None, validation=()):
    data = TrialData(
        base=tiny.model,
        stages=[stage(examples)],
        held_out=held_out,
        validation=validation,
        zero_shot_key="ef" * 32,
        expected_tokens=None,
    )
    folder = project.home.checkpoints / "trials" / TRIAL.name / key[:16]
    return train_trial(run_of(project, key), TRIAL, data, folder, advance), folder


def run_of(project, key=KEY) -> Run:
    return trial_run(project, TRIAL, key)


def test_keys_that_nobody_uses_are_no_part_of_a_recipe():
    first = {"epochs": 3, "sequence_length": 256, "batch_size": 4, "learning_rate": 2e-3}
    assert FineTuningSection().recipe() == first
    assert FineTuningSection(patience=7, kept_states=9).recipe() == first
    chosen = FineTuningSection(validation=5, patience=7, precision="float32")
    assert chosen.recipe() == first | {"validation": 5, "patience": 7, "precision": "float32"}


def test_a_model_has_its_own_training(project):
    plain, adapted = (training_options(project, name) for name in ("plain", "adapted"))
    assert (plain.learning_rate, plain.accumulation, plain.patience, plain.adapter) == (2e-3, 2, 0, None)
    assert adapted.learning_rate == 1e-2
    assert (adapted.adapter.rank, adapted.adapter.alpha, adapted.adapter.targets) == (4, None, ("q_proj",))
    assert project.settings.base_model[0].recipe() == {}


def test_a_finished_trial_is_not_trained_again_before_it_is_recorded(project, tiny):
    tokens: list[int] = []
    first, folder = made(project, tiny, tiny.texts[:20], tiny.held_out, advance=tokens.append)
    row = first.row("run").to_pylist()[0]
    assert sum(tokens) == row["tokens"] > 0
    assert row["held_out_low"] < row["held_out_bits_per_byte"] < row["held_out_high"]
    assert (row["size"], row["seeds"], row["accuracy"]) == (20, 1, None)
    assert first.improved == (row["held_out_bits_per_byte"] < row["zero_shot_bits_per_byte"])
    assert (folder / "model.safetensors").is_file()

    tokens.clear()
    again, _ = made(project, tiny, tiny.texts[:20], tiny.held_out, advance=tokens.append)
    assert tokens == []
    assert again.row("run").to_pylist() == first.row("run").to_pylist()
    run_of(project).erase()
    assert not run_of(project, KEY).state.exists()


def test_labels_beat_the_most_frequent_one_or_do_not_improve(project, tiny):
    finished, _ = made(project, tiny, labelled(24), labelled(20, 40))
    row = finished.row("run").to_pylist()[0]
    assert row["held_out_bits_per_byte"] is None
    assert row["zero_shot_bits_per_byte"] is None
    assert row["majority_accuracy"] == 0.5
    assert row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"]
    assert finished.improved == (row["accuracy"] > 0.5)


def test_states_of_other_trials_are_bounded_and_its_own_stays(project, tiny):
    keys = [f"{number:x}" * 64 for number in range(1, 5)]
    for written, key in enumerate(keys):
        folder = run_of(project, key).state
        folder.mkdir(parents=True)
        (folder / "note").write_text("state")
        for path in (folder / "note", folder):
            os.utime(path, (1_000 + written, 1_000 + written))
    others = [
        resume_folder(project.home.cache, kind, f"{number + 8:x}" * 16)
        for kind in ("base_models", "sampler_trials")
        for number in range(1, 5)
    ]
    for folder in others:
        folder.mkdir()
        os.utime(folder, (1, 1))
    made(project, tiny, tiny.texts[:8], tiny.held_out, key=keys[0])  # the one that has waited longest
    left = set(run_of(project, keys[0]).state.parent.iterdir())
    assert left == {run_of(project, keys[0]).state, run_of(project, keys[3]).state, *others}
    assert (run_of(project, keys[0]).state / "note").exists()


def test_two_stages_bring_the_second_alone_for_comparison(tmp_path):
    comparison = """
[comparison]
model = "plain"
selections = ["near", "any"]
two_stage = true
"""
    both = selection("near", "got-d", target="goal"), selection("any")
    text = "\n".join([SETTINGS, *both, comparison])
    planned = planned_trials(plain_project(tmp_path, text, {}).project)
    assert [(trial.name, trial.kind, trial.data) for trial in planned] == [
        ("warm-up__plain__near", "warm_up", "near"),
        ("warm-up__plain__any", "warm_up", "any"),
        ("direct__plain__goal", "direct", "goal"),
        ("two-stage__plain__near", "two_stage", "near"),
        ("two-stage__plain__any", "two_stage", "any"),
    ]
