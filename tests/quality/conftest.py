"""Judges that the tests share: the embedded one, loaded once, and tiny random ones saved as folders."""

import pytest

from tamis.quality import AskLLM


@pytest.fixture(scope="session")
def smollm():
    judge = AskLLM("smollm2-135m", max_tokens=48, batch_size=4)
    judge.local_judge()
    return judge


BART_SIZES = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 512,
    "init_std": 0.5,
    "bos_token_id": 2,
    "forced_eos_token_id": None,
}
T5_SIZES = {
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 64,
    "num_layers": 2,
    "num_heads": 4,
    "initializer_factor": 3.0,
}


@pytest.fixture(scope="session")
def save_encoder_decoder():
    """Saves a random T5 (relative positions) or BART (absolute) with a tokenizer; returns the model."""
    import torch
    from transformers import BartConfig, BartForConditionalGeneration, T5Config, T5ForConditionalGeneration

    families = {
        "t5": (T5Config, T5ForConditionalGeneration, T5_SIZES),
        "bart": (BartConfig, BartForConditionalGeneration, BART_SIZES),
    }

    def save(folder, tokenizer, family):
        torch.manual_seed(0)
        config, model_class, sizes = families[family]
        ends = {"decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 3}
        model = model_class(config(vocab_size=len(tokenizer), **ends, **sizes)).eval()
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return model

    return save
