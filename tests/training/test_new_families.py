"""Families that transformers 5.3 lacks: Tamis names no family, and so trains and embeds with all of them."""

import numpy as np
import pytest
import torch
import transformers
from families import labelled, saved
from packaging.version import Version
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM

from tamis.embedding import load_encoder
from tamis.training import FineTuningOptions, evaluate, fine_tune
from tamis.training.models import Kind, load_model
from tamis.training.tokenizer import load_tokenizer

SIZES = {
    "vocab_size": 320,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
HEADS = {"num_key_value_heads": 2, "head_dim": 16}
CAUSAL = {
    # Sliding windows of attention, and embeddings of each layer.
    "gemma4_text": HEADS
    | {
        "layer_types": ["sliding_attention", "full_attention"],
        "sliding_window": 16,
        "vocab_size_per_layer_input": 320,
        "hidden_size_per_layer_input": 8,
    },
    # A mixture of experts.
    "hy_v3": HEADS
    | {
        "mlp_layer_types": ["dense", "sparse"],
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
    },
    # Convolutions and attention in turn.
    "lfm3": HEADS | {"layer_types": ["conv", "full_attention"], "sliding_window": 16},
    # Latent attention, scaled embeddings and logits.
    "minicpm3": {
        "kv_lora_rank": 8,
        "q_lora_rank": 8,
        "qk_nope_head_dim": 8,
        "qk_rope_head_dim": 8,
        "dim_model_base": 16,
    },
}
ENCODERS = {"gte": {}, "nomic_bert": {"head_dim": 16}}
WITH_ALL = "5.24"  # version of transformers
OPTIONS = FineTuningOptions(sequence_length=32, batch_size=4, learning_rate=3e-3)


def drawn(family, sizes, model_class, tokenizer, folder):
    """Save a model with random weights and the tests' tokenizer."""
    installed = transformers.__version__
    if family not in transformers.CONFIG_MAPPING and Version(installed) < Version(WITH_ALL):
        pytest.skip(f"transformers {installed} has no family {family}")
    config = AutoConfig.for_model(family, **SIZES | sizes)
    return saved(model_class.from_config, config, tokenizer, folder)


def learns(base, tiny, tmp_path, examples, held_out):
    result = fine_tune(
        base, examples, OPTIONS, held_out, tmp_path / "tuned", tmp_path / "resume", runtime=tiny.runtime
    )
    assert result.losses[-1][1] < 0.7 * result.losses[0][1]


@pytest.mark.parametrize("family", CAUSAL)
def test_a_causal_model_is_measured_and_learns(tiny, tmp_path, family):
    base = drawn(family, CAUSAL[family], AutoModelForCausalLM, tiny.tokenizer, tmp_path / "base")
    tokenizer = load_tokenizer(tiny.tokenizer)
    ids = tokenizer(tiny.texts[0], add_special_tokens=False)["input_ids"][:20]
    with torch.no_grad():
        model = AutoModelForCausalLM.from_pretrained(base).eval()
        logits = model(torch.tensor([[0, *ids[:-1]]])).logits[0]
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor(ids), reduction="sum").item()
    text = tokenizer.decode(ids)
    assert evaluate(base, [text], sequence_length=32, device="cpu", dtype="float32").nats == pytest.approx(
        expected, rel=1e-5
    )
    learns(base, tiny, tmp_path, tiny.texts[:40], tiny.held_out)


@pytest.mark.parametrize("family", ENCODERS)
def test_an_encoder_learns_labels_and_embeds(tiny, tmp_path, family):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules

    base = drawn(family, ENCODERS[family], AutoModelForMaskedLM, tiny.tokenizer, tmp_path / "base")
    assert load_model(base, torch.device("cpu"), 32, hiding=True).kind == Kind.MASKED
    learns(base, tiny, tmp_path, labelled(40), labelled(12, start=40))

    layers = [modules.Transformer(str(base), max_seq_length=32), modules.Pooling(32)]
    SentenceTransformer(modules=layers, device="cpu").save(str(tmp_path / "encoder"))
    model, tokenizer = AutoModel.from_pretrained(base).eval(), load_tokenizer(tiny.tokenizer)
    texts = [text[:40] for text in tiny.texts[:8]]
    with torch.no_grad():
        means = [
            model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(dim=0) for text in texts
        ]
    expected_nd = torch.nn.functional.normalize(torch.stack(means)).numpy()
    encoder = load_encoder(str(tmp_path / "encoder"), cache=tmp_path, device="cpu")
    np.testing.assert_allclose(encoder.encode(texts), expected_nd, atol=1e-5)
