"""Tiny models of other families, with random weights and the tests' tokenizer, and examples to learn."""

from pathlib import Path

import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    T5Config,
    T5ForConditionalGeneration,
)

from tamis.training.examples import Labelled, Pair
from tamis.training.tokenizer import load_tokenizer

PAIRS = [
    Pair(prompt=f"shape of the array {number}", response=f"returns the mean value {number % 5}")
    for number in range(40)
]
WORDS = {"positive": "mean value of the sample", "negative": "shape scale test", "none": "array returns"}


def labelled(count: int, start: int = 0) -> list[Labelled]:
    """Texts whose class is in their words; `positive` is every second of them."""
    labels = ["positive", "negative", "positive", "none"]
    chosen = [labels[number % 4] for number in range(start, start + count)]
    return [
        Labelled(text=f"{WORDS[label]} {number} the of an", label=label)
        for number, label in enumerate(chosen, start=start)
    ]


def gpt2(tokenizer: Path, folder: Path) -> Path:
    """A causal model with dropout and a tied output layer."""
    config = GPT2Config(
        vocab_size=320, n_embd=32, n_layer=2, n_head=2, n_positions=64, bos_token_id=0, eos_token_id=1
    )
    return saved(GPT2LMHeadModel, config, tokenizer, folder)


def t5(tokenizer: Path, folder: Path) -> Path:
    """An encoder-decoder."""
    config = T5Config(
        vocab_size=320,
        d_model=32,
        d_kv=16,
        d_ff=64,
        num_layers=2,
        num_heads=2,
        decoder_start_token_id=2,
        pad_token_id=2,
        eos_token_id=1,
    )
    return saved(T5ForConditionalGeneration, config, tokenizer, folder)


def bert(tokenizer: Path, folder: Path) -> Path:
    """An encoder."""
    config = BertConfig(
        vocab_size=320,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        pad_token_id=2,
    )
    return saved(BertForMaskedLM, config, tokenizer, folder)


def saved(family, config, tokenizer: Path, folder: Path) -> Path:
    torch.manual_seed(0)
    family(config).save_pretrained(folder)
    load_tokenizer(tokenizer).save_pretrained(folder)
    return folder
