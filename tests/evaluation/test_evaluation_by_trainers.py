"""Models that a user's command trained: of any kind, or without a checkpoint at all."""

import json

import pytest
from projects import plain_project, settings

from tamis.evaluation.controls import Control
from tamis.evaluation.losses import OF_TRAINER, MeasuredModel, update_control_losses
from tamis.evaluation.running import Evaluated, NothingToEvaluateError, evaluate_checkpoint
from tamis.training.errors import NoTokenizerError, UnknownModelError

EVALUATION = '[evaluation]\ncommand = ["false", "{checkpoint}", "{out}"]\n'


@pytest.fixture
def project(tmp_path, nowhere):
    return plain_project(tmp_path, settings(EVALUATION)).project


def write_checkpoint(folder, *names: str):
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_text("{}")
    return folder


@pytest.mark.parametrize("names", [["trainer.json"], ["trainer.json", "counts.npy", "config.json"]])
def test_a_model_that_transformers_cannot_load_has_no_loss_on_controls_and_fails_nothing(
    project, tmp_path, names
):
    start, trained = (write_checkpoint(tmp_path / name, *names) for name in ("start", "trained"))
    control = Control(name="general", texts=["a text", "another"], digest="d")

    def measured(by_command: bool) -> list[dict]:
        model = MeasuredModel(
            trial="t",
            start=start,
            start_version="1",
            trained=trained,
            trained_version="2",
            answers_labels=False,
            by_command=by_command,
        )
        return update_control_losses(project.home.store, [model], [control], 64).to_dicts()

    with pytest.raises((UnknownModelError, NoTokenizerError)):
        measured(by_command=False)
    (row,) = measured(by_command=True)
    assert row["not_measured"] == OF_TRAINER
    assert row["bits_per_byte"] is None
    assert measured(by_command=True) == [row]


def test_an_evaluation_of_no_checkpoint_says_so_and_starts_nothing(project, tmp_path):
    folder = write_checkpoint(tmp_path / "checkpoint", "trainer.json")
    asked = Evaluated(name="t", checkpoint=str(folder), key=json.dumps("k" * 64))
    with pytest.raises(NothingToEvaluateError, match="trial t has no checkpoint to evaluate"):
        evaluate_checkpoint(project, asked)
    assert not (project.home.cache / "evaluations").exists()
