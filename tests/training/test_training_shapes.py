"""Shapes: the parameter count is exact, initial weights follow from the seed."""

import pytest
import torch

from tamis.training import PRESETS, preset_shape
from tamis.training.shapes import new_model
from tamis.training.tokenizer import load_tokenizer


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("llama-0.3m", 344_384),
        ("llama-0.8m", 852_608),
        ("llama-2.5m", 2_508_032),
        ("llama-6m", 5_851_328),
        ("llama-22m", 22_290_944),
    ],
)
def test_parameters_of_presets(tiny, name, count):
    model = new_model(PRESETS[name], 0, load_tokenizer(tiny.tokenizer))
    assert sum(parameter.numel() for parameter in model.parameters()) == count
    assert PRESETS[name].parameters == count
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_seed_fixes_weights_and_leaves_the_global_state(tiny):
    tokenizer = load_tokenizer(tiny.tokenizer)
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    first, again, other = (new_model(PRESETS["llama-0.8m"], seed, tokenizer) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.lm_head.weight, other.lm_head.weight)
    assert first.lm_head.weight.std().item() == pytest.approx(0.8 / 128**0.5, rel=0.02)


def test_a_small_vocabulary_leaves_the_shape_and_a_large_one_fits_into_it():
    assert preset_shape("llama-0.8m", 512) == PRESETS["llama-0.8m"]
    assert preset_shape("llama-0.8m", 8_192).vocabulary == 8_192
