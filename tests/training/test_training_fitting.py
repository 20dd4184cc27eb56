"""Models, tokenizers and rows that do not fit each other: refused before the training, with both numbers."""

import pytest
import torch
from families import PAIRS, bert, gpt2, labelled, t5
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    GPTJConfig,
    GPTJForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    RobertaConfig,
    RobertaForMaskedLM,
)

from tamis.corpus.targets import OneLabelError
from tamis.training import fine_tune
from tamis.training.errors import (
    NoTokenizerError,
    TooFewPositionsError,
    UnfitTokenizerError,
    UnknownModelError,
)
from tamis.training.examples import Labelled
from tamis.training.models import load_model
from tamis.training.options import FineTuningOptions, Runtime
from tamis.training.tokenizer import load_tokenizer

CPU = torch.device("cpu")


def saved(family, config, tokenizer, folder):
    family(config).save_pretrained(folder)
    load_tokenizer(tokenizer).save_pretrained(folder)
    return folder


def opt(tokenizer, folder):
    shape = {"hidden_size": 16, "ffn_dim": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = OPTConfig(vocab_size=320, max_position_embeddings=64, word_embed_proj_dim=16, **shape)
    return saved(OPTForCausalLM, config, tokenizer, folder)


def gptj(tokenizer, folder):
    config = GPTJConfig(vocab_size=320, n_positions=64, n_embd=16, n_layer=1, n_head=2, rotary_dim=4)
    return saved(GPTJForCausalLM, config, tokenizer, folder)


def roberta(tokenizer, folder):
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = RobertaConfig(vocab_size=320, max_position_embeddings=66, pad_token_id=1, **shape)
    return saved(RobertaForMaskedLM, config, tokenizer, folder)


def bart(tokenizer, folder):
    layers = {"encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    config = BartConfig(vocab_size=320, d_model=16, max_position_embeddings=64, **layers, **heads)
    return saved(BartForConditionalGeneration, config, tokenizer, folder)


def tuned(base, examples, tmp_path, length):
    options = FineTuningOptions(sequence_length=length, batch_size=2, epochs=1)
    runtime, resume = Runtime(device="cpu"), tmp_path / "resume"
    train, held_out = examples[:-5], examples[-5:]
    return fine_tune(base, train, options, held_out, tmp_path / "out", resume, runtime=runtime)


@pytest.mark.parametrize(
    ("family", "examples"),
    [(gpt2, "texts"), (opt, "texts"), (gptj, "texts"), (gpt2, "pairs"), (bart, "pairs"), (gpt2, "labels"),
     (bert, "labels"), (roberta, "labels")],
)  # fmt: skip
def test_rows_longer_than_the_positions_are_refused_and_as_long_ones_are_not(
    tiny, tmp_path, family, examples
):
    base = family(tiny.tokenizer, tmp_path / "base")
    some = {"texts": tiny.texts, "pairs": PAIRS[:20], "labels": labelled(20)}[examples]
    some = [*some, Labelled(text="mean " * 90, label="none")] if examples == "labels" else some
    with pytest.raises(
        TooFewPositionsError, match=r"64 positions, but rows of 65 .*\[fine_tuning\]"
    ) as raised:
        tuned(base, some, tmp_path, 65)
    assert str(base) in str(raised.value)
    assert not (tmp_path / "out").exists()
    tuned(base, some, tmp_path, 64)


def test_positions_that_are_no_table_have_no_end(tiny, tmp_path):
    load_model(tiny.model, CPU, 4 * tiny.shape.maximum_positions)
    load_model(t5(tiny.tokenizer, tmp_path / "t5"), CPU, 2_000)


@pytest.mark.parametrize("family", [gpt2, t5, bert])
def test_a_tokenizer_with_more_tokens_than_the_model_has_rows_is_refused(tiny, tmp_path, family):
    base = family(tiny.tokenizer, tmp_path / "base")
    wider = load_tokenizer(tiny.tokenizer)
    wider.add_tokens(["eigenvalue"] + [f"word{number}" for number in range(10 + 320 - len(wider))])
    wider.save_pretrained(base)
    last = len(wider) - 1
    with pytest.raises(UnfitTokenizerError, match=rf"has the id {last}, but .* has 320 rows") as raised:
        load_model(base, CPU, 32, hiding=True)
    assert str(base) in str(raised.value)


def test_a_filling_token_without_a_row_is_refused_only_where_it_is_read(tiny, tmp_path):
    base = gpt2(tiny.tokenizer, tmp_path / "base")
    wider = load_tokenizer(tiny.tokenizer)
    wider.add_tokens([f"<{number}>" for number in range(320 - len(wider))], special_tokens=True)
    wider.add_special_tokens({"pad_token": "<filler>"})
    wider.save_pretrained(base)
    assert wider.pad_token_id == 320
    load_model(base, CPU, 32)
    with pytest.raises(UnfitTokenizerError, match="token '<filler>' has the id 320"):
        load_model(base, CPU, 32, classes=("no", "yes"))


@pytest.mark.parametrize(
    ("family", "file"), [(gpt2, "vocab.json"), (bert, "vocab.txt"), (t5, "spiece.model")]
)
def test_a_folder_without_a_tokenizer_names_the_files_that_are_sought_there(tiny, tmp_path, family, file):
    base = family(tiny.tokenizer, tmp_path / "base")
    (base / "tokenizer.json").unlink()
    for _ in range(2):  # with tokenizer_config.json, and with nothing at all
        with pytest.raises(NoTokenizerError, match=r"contains none of tokenizer\.json, .*; put") as raised:
            load_model(base, CPU, 32, hiding=True)
        assert file in str(raised.value)
        assert str(base) in str(raised.value)
        (base / "tokenizer_config.json").unlink(missing_ok=True)


@pytest.mark.parametrize("content", ["{", "{}", '{"model": {"type": "BPE"}}', ""])
def test_a_tokenizer_that_cannot_be_read_is_called_that(tiny, tmp_path, content):
    base = gpt2(tiny.tokenizer, tmp_path / "base")
    (base / "tokenizer.json").write_text(content)
    with pytest.raises(UnknownModelError, match="tokenizer cannot be read"):
        load_model(base, CPU, 32)


def test_one_label_alone_is_refused(tiny, tmp_path):
    same = [Labelled(text=one.text, label="all") for one in labelled(20)]
    with pytest.raises(OneLabelError, match="all 20 labelled examples have the same label"):
        tuned(gpt2(tiny.tokenizer, tmp_path / "base"), same, tmp_path, 32)


@pytest.mark.parametrize("classes", [(), ("no", "yes")])
def test_loading_reports_nothing_but_errors(tiny, tmp_path, capfd, classes):
    from transformers.utils import logging

    base = bert(tiny.tokenizer, tmp_path / "base")
    capfd.readouterr()
    load_model(base, CPU, 32, classes=classes, hiding=True)
    assert capfd.readouterr() == ("", "")
    (base / "model.safetensors").write_bytes(b"")
    before = logging.get_verbosity()
    with pytest.raises(UnknownModelError):
        load_model(base, CPU, 32, classes=classes, hiding=True)
    assert logging.get_verbosity() == before
