"""Judges that the tests share: the embedded one, loaded once, and tiny random ones saved as folders."""

import pytest

from tamis.quality import AskLLM


@pytest.fixture(scope="session")
def smollm():
    judge = AskLLM("smollm2-135m", max_tokens=48, batch_size=4)
    judge.local_judge()
    return judge


@pytest.fixture(scope="session")
def save_t5():
    """Saves a random T5 of two layers with a tokenizer as a transformers folder; returns the model."""
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    def save(folder, tokenizer):
        torch.manual_seed(0)
        config = T5Config(
            vocab_size=len(tokenizer),
            d_model=32,
            d_kv=8,
            d_ff=64,
            num_layers=2,
            num_heads=4,
            initializer_factor=3.0,
            decoder_start_token_id=0,
            pad_token_id=0,
            eos_token_id=3,
        )
        model = T5ForConditionalGeneration(config).eval()
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return model

    return save
