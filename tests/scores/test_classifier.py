"""Values of classifiers, against transformers' pipeline; long texts, bad folders."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from classifiers import SIZES, save_classifier, tokenizer
from transformers import AutoModelForSequenceClassification, pipeline

from tamis.scores.classifier import Classifier, UnfitClassifierError
from tamis.training.errors import NoTokenizerError, UnknownModelError

TEXTS = [
    "the cat ran up the clock.",
    "Water boils at 100 degrees, and the mouse struck one",
    "yes",
    "",
    "  ",
    "the [SEP] dog\n\nzebra quartz",
    "dogs, cats and a ø \ud800 b",
    "a " * 30,
]


def by_pipeline(folder, texts, label):
    """Value of transformers' pipeline for the label, one text at a time."""
    made = pipeline("text-classification", model=str(folder), device="cpu")
    answers = made([text.encode(errors="replace").decode() for text in texts], top_k=None, batch_size=1)
    return np.array([next(one["score"] for one in answer if one["label"] == label) for answer in answers])


@pytest.mark.parametrize("family", SIZES)
def test_values_are_those_of_the_pipeline(tmp_path, family):
    folder = save_classifier(tmp_path, family)
    values_n = Classifier(str(folder), "good").score(TEXTS)
    assert np.allclose(values_n, by_pipeline(folder, TEXTS, "good"), atol=1e-4)
    assert values_n.std() > 1e-3


@pytest.mark.parametrize("problem", ["regression", "multi_label_classification", None])
@pytest.mark.parametrize("labels", [("LABEL_0",), ("a", "b")])
def test_a_regressor_gives_its_number_and_other_models_a_probability(tmp_path, problem, labels):
    folder = save_classifier(tmp_path, labels=labels, problem=problem)
    label = labels[-1] if len(labels) > 1 else None
    values_n = Classifier(str(folder), label).score(TEXTS)
    assert np.allclose(values_n, by_pipeline(folder, TEXTS, labels[-1]), atol=1e-4)


def test_a_text_longer_than_the_window_has_the_mean_of_its_windows_weighted_by_tokens(tmp_path):
    folder = save_classifier(tmp_path)
    words = ["cat", "dog", "ran", "up", "the", "clock", "struck", "one", "of", "water", "a", "mouse"]
    long = " ".join(words[number % 12] for number in range(0, 500, 7))
    parts = [long.split()[start : start + 38] for start in range(0, 72, 38)]
    assert [len(part) for part in parts] == [38, 34]
    of_parts_p = by_pipeline(folder, [" ".join(part) for part in parts], "best")
    expected = np.average(of_parts_p, weights=[40, 36])
    assert Classifier(str(folder), "best").score([TEXTS[0], long])[1] == pytest.approx(expected, abs=1e-5)


def test_order_and_neighbours_change_no_value_and_another_process_loads_it_itself(tmp_path):
    folder = save_classifier(tmp_path, "roberta")
    scorer = pickle.loads(pickle.dumps(Classifier(str(folder), "bad")))
    together_n = scorer.score(TEXTS)
    alone_n = np.array([scorer.score([text])[0] for text in reversed(TEXTS)])[::-1]
    assert np.allclose(together_n, alone_n, atol=1e-6)
    assert scorer.score([]).shape == (0,)


def refused(folder, label=None):
    with pytest.raises((UnfitClassifierError, UnknownModelError, NoTokenizerError)) as error:
        Classifier(str(folder), label).score(["a cat"])
    return str(error.value)


def test_what_cannot_score_is_refused_with_what_would_be_right(tmp_path):
    folder = save_classifier(tmp_path / "model")
    assert "needs `label`, the one that counts: 'bad', 'good', 'best'" in refused(folder)
    assert "no label 'god'; its labels: 'bad', 'good', 'best'" in refused(folder, "god")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["BertForMaskedLM"]}))
    assert "it is a BertForMaskedLM, which gives no score of a text" in refused(folder, "good")
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").unlink()
    assert "tokenizer" in refused(folder, "good")
    tokenizer().save_pretrained(folder)
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    refused(folder, "good")
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    refused(folder, "good")
    refused("nowhere/model", "good")


def written(folder: Path, name: str, **changes: object) -> None:
    stated = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(stated | changes))


def indexed(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    shards = {"weight_map": {"classifier.bias": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(shards))


MALFORMED = {
    "another form than transformers expects": lambda folder: (folder / "config.json").write_text("[]"),
    "one of its JSON files has another form": indexed,
    "model_max_length in tokenizer_config.json is '64'; expected a whole number": lambda folder: written(
        folder, "tokenizer_config.json", model_max_length="64"
    ),
    "2 of its labels are 'good'; correct id2label": lambda folder: written(
        folder, "config.json", id2label={0: "good", 1: "good", 2: "best"}, label2id={"good": 0, "best": 2}
    ),
}


@pytest.mark.parametrize("said", MALFORMED)
def test_files_of_another_form_are_a_sentence(tmp_path, said):
    folder = save_classifier(tmp_path / "model")
    MALFORMED[said](folder)
    assert said in refused(folder, "good")


def test_code_of_a_model_never_runs(tmp_path):
    folder, marker = save_classifier(tmp_path / "model"), tmp_path / "ran"
    (folder / "own.py").write_text(f"open({str(marker)!r}, 'w')\n")
    own = {"AutoConfig": "own.Config", "AutoModelForSequenceClassification": "own.Model"}
    written(folder, "config.json", auto_map=own)
    written(folder, "tokenizer_config.json", auto_map={"AutoTokenizer": ["own.Slow", "own.Fast"]})
    assert np.isfinite(Classifier(str(folder), "good").score(["water"])).all()
    written(folder, "config.json", model_type="own")
    assert "custom code" in refused(folder, "good")
    assert not marker.exists()


def test_weights_that_are_not_finite_are_refused(tmp_path):
    folder = save_classifier(tmp_path)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():
        model.classifier.weight[0, 0] = torch.nan
    model.save_pretrained(folder)
    assert "NaN or infinite" in refused(folder, "good")
