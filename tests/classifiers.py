"""Tiny classifiers and regressors of several families, with random weights, saved as their users do."""

from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedTokenizerFast

WORDS = ["the", "a", "of", "water", "cat", "dog", "ran", "up", "clock", "struck", "one", "yes", "boils", "at"]
WORDS += ["degrees", "mouse", "and", "100", ".", ",", "##s", "##ed"]
LETTERS = [prefix + chr(letter) for letter in range(97, 123) for prefix in ("", "##")]
SIZES: dict[str, dict[str, Any]] = {
    "bert": {"max_position_embeddings": 40},
    "roberta": {"max_position_embeddings": 42},
    "distilbert": {"dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 2, "max_position_embeddings": 40},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 40},
    "llama": {"num_key_value_heads": 2, "max_position_embeddings": 40},
    "modernbert": {"max_position_embeddings": 64, "global_attn_every_n_layers": 2, "local_attention": 16},
    "xlnet": {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 48},
}
SIZE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}


@cache
def _vocabulary() -> dict[str, int]:
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *LETTERS]
    return {token: number for number, token in enumerate(dict.fromkeys(tokens))}


def tokenizer(frame: str = "[CLS] $A [SEP]", longest: int = 40) -> PreTrainedTokenizerFast:
    """Return a tokenizer of words and letters, which opens and closes a text as BERT's does."""
    vocabulary = _vocabulary()
    made = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = BertNormalizer(), BertPreTokenizer()
    special = [(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")]
    made.post_processor = TemplateProcessing(single=frame, pair="$A $B", special_tokens=special)
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=longest, **names)


def save_classifier(
    folder: Path,
    family: str = "bert",
    labels: tuple[str, ...] = ("bad", "good", "best"),
    problem: str | None = None,
    seed: int = 0,
) -> Path:
    """Save a model with these labels; one label is a regressor where `problem` says so."""
    torch.manual_seed(seed)
    config = AutoConfig.for_model(
        family,
        **(
            SIZES[family] if "d_model" in SIZES[family] or "n_embd" in SIZES[family] else SIZE | SIZES[family]
        ),
        vocab_size=len(_vocabulary()),
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=3,
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
        problem_type=problem,
    )
    model = AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():  # as drawn, they hardly tell texts apart
        for weight in model.parameters():
            weight.mul_(15.0 if weight.ndim > 1 else 1.0)
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder
