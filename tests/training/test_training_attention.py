"""Plain attention gives what transformers' own attention gives, shared key heads included."""

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

from tamis.training.attention import LONGEST_ROW, NAME, choose_attention
from tamis.training.models import Kind, LoadedModel
from tamis.training.objective import backward
from tamis.training.packing import IGNORED, Batch


def small_llama(family=LlamaForCausalLM, **changes):
    torch.manual_seed(0)
    values = {
        "vocab_size": 50,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
    }
    return family(LlamaConfig(**{**values, **changes}))


@pytest.mark.parametrize("key_heads", [4, 2])
def test_same_logits_and_gradients(key_heads):
    model = small_llama(num_key_value_heads=key_heads)
    tokens = torch.randint(0, 50, (3, 17))

    def outcome() -> list[torch.Tensor]:
        model.zero_grad()
        logits = model(input_ids=tokens, use_cache=False).logits
        logits.square().mean().backward()
        return [logits.detach(), *(parameter.grad.clone() for parameter in model.parameters())]

    expected = outcome()
    choose_attention(model, 17)
    assert model.config._attn_implementation == NAME
    for found, wanted in zip(outcome(), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


def test_a_classifier_of_rows_of_unequal_length_is_the_same_without_a_mask():
    model = small_llama(LlamaForSequenceClassification, num_labels=3, pad_token_id=49)
    loaded = LoadedModel(
        model=model, tokenizer=None, plain_head=False, kind=Kind.CLASSIFIER, classes=("a", "b", "c")
    )
    rows = np.random.default_rng(0).integers(0, 49, (4, 12))
    for row, length in enumerate((12, 3, 7, 1)):
        rows[row, length:] = IGNORED
    batch = Batch(rows=rows, classes=np.array([0, 2, 1, 1]))

    def outcome() -> list[torch.Tensor]:
        model.zero_grad()
        loss = backward(loaded, batch)
        return [loss, *(parameter.grad.clone() for parameter in model.parameters())]

    expected = outcome()
    choose_attention(model, 12)
    assert model.config._attn_implementation == NAME
    for found, wanted in zip(outcome(), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


def test_other_cases_keep_their_attention():
    long, dropping = small_llama(), small_llama(attention_dropout=0.1)
    choose_attention(long, LONGEST_ROW + 1)
    choose_attention(dropping, 16)
    assert NAME not in (long.config._attn_implementation, dropping.config._attn_implementation)
