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


@pytest.fixture(scope="session")
def save_bart():
    """Saves a random BART of two layers, which has absolute positions, as `save_t5`."""
    import torch
    from transformers import BartConfig, BartForConditionalGeneration

    def save(folder, tokenizer):
        torch.manual_seed(0)
        config = BartConfig(
            vocab_size=len(tokenizer),
            d_model=32,
            encoder_layers=2,
            decoder_layers=2,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            encoder_ffn_dim=64,
            decoder_ffn_dim=64,
            max_position_embeddings=512,
            init_std=0.5,
            decoder_start_token_id=0,
            pad_token_id=0,
            bos_token_id=2,
            eos_token_id=3,
            forced_eos_token_id=None,
        )
        model = BartForConditionalGeneration(config).eval()
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return model

    return save
