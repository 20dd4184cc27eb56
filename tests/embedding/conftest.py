"""A tiny model in sentence-transformers format, and the real static encoder, distilled once."""

import random

import pytest

LETTERS = "abcdefghij"


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """Folder of a BERT with random weights: 2 layers of 32, a window of 12 tokens, 400 word pieces."""
    import torch
    from sentence_transformers import SentenceTransformer, models
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("tiny")
    words = sorted({"".join(random.Random(seed).choices(LETTERS, k=3)) for seed in range(400)})
    special = ["[PAD]", *(f"[unused{number}]" for number in range(5)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = [*special, *LETTERS, *(f"##{letter}" for letter in LETTERS), *words, "."]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        initializer_range=0.5,
    )
    BertModel(config).save_pretrained(folder / "bert")
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder / "bert")
    transformer = models.Transformer(str(folder / "bert"), max_seq_length=12)
    model = SentenceTransformer(modules=[transformer, models.Pooling(32), models.Normalize()], device="cpu")
    model.save(str(folder / "model"))
    return folder / "model"


@pytest.fixture(scope="session")
def static(request, tmp_path_factory):
    """The real static encoder; pytest's cache keeps what was distilled for the next session."""
    from tamis.embedding import load_encoder

    kept = getattr(request.config, "cache", None)
    return load_encoder("static", cache=kept.mkdir("tamis") if kept else tmp_path_factory.mktemp("cache"))
