"""Models that a user's command trained: of any kind, or without a checkpoint at all."""

import pytest
from projects import plain_project, settings

from tamis.evaluation.controls import Control
from tamis.evaluation.losses import OF_TRAINER, MeasuredModel, update_control_losses
from tamis.trainer.runs import NothingToEvaluateError, require_checkpoint
from tamis.training.errors import NoTokenizerError, UnknownModelError


@pytest.fixture
def project(tmp_path, nowhere):
    return plain_project(tmp_path, settings()).project


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


def test_an_evaluation_of_no_checkpoint_says_so(tmp_path):
    folder = write_checkpoint(tmp_path / "checkpoint", "trainer.json")
    with pytest.raises(NothingToEvaluateError, match="trial t has no checkpoint to evaluate"):
        require_checkpoint("t", folder)
    (folder / "counts.npy").touch()
    require_checkpoint("t", folder)
