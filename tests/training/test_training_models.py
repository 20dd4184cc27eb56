"""Loading and naming models: identities follow the bytes, unknown names say what would be right."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from families import bert, gpt2, t5
from safetensors.torch import load_file, save_file
from transformers import GraniteConfig, GraniteForCausalLM

from tamis.base import files
from tamis.training import UnknownModelError, count_parameters, evaluate, fine_tune, model_identity
from tamis.training.errors import NeedsPairsError
from tamis.training.models import load_model, prepared
from tamis.training.options import FineTuningOptions
from tamis.training.tokenizer import load_tokenizer


def test_importing_the_package_loads_nothing_heavy():
    heavy = ["torch", "transformers", "mlflow", "tokenizers", "huggingface_hub", "safetensors", "sqlalchemy"]
    program = f"import sys, tamis.training; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_identity_follows_names_and_bytes(tiny, tmp_path):
    shutil.copytree(tiny.model, tmp_path / "copy")
    original = model_identity(tiny.model)
    assert model_identity(tmp_path / "copy") == original
    (tmp_path / "copy" / "config.json").rename(tmp_path / "copy" / "renamed.json")
    renamed = model_identity(tmp_path / "copy")
    weights = tmp_path / "copy" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert len({original, renamed, model_identity(tmp_path / "copy")}) == 3


def test_a_model_that_settled_is_read_once_until_its_files_change(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "SETTLED_SECONDS", 0.0)
    shutil.copytree(tiny.model, tmp_path / "copy")
    weights = tmp_path / "copy" / "model.safetensors"
    original, reads = model_identity(tmp_path / "copy"), files.digest_of.cache_info().misses
    assert model_identity(tmp_path / "copy") == original
    assert files.digest_of.cache_info().misses == reads
    before, content = weights.stat(), bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))  # only the time of its status shows it
    assert model_identity(tmp_path / "copy") != original


def test_unknown_models(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnknownModelError, match="empty"):
        model_identity(tmp_path / "empty")
    with pytest.raises(UnknownModelError, match="local hub cache contains no model"):
        model_identity("no-such-organization/no-such-model")
    with pytest.raises(UnknownModelError, match=r"config\.json"):
        load_model(tmp_path / "empty", torch.device("cpu"), 32)


def test_scaled_logits_take_the_general_path(tiny, tmp_path):
    tokenizer = load_tokenizer(tiny.tokenizer)
    torch.manual_seed(0)
    config = GraniteConfig(
        vocab_size=320,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        logits_scaling=4.0,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    model = GraniteForCausalLM(config)
    assert not prepared(model, tokenizer, torch.device("cpu"), 32).plain_head
    model.save_pretrained(tmp_path / "granite")
    tokenizer.save_pretrained(tmp_path / "granite")

    ids = tokenizer(tiny.texts[0], add_special_tokens=False)["input_ids"][:20]
    text = tokenizer.decode(ids)
    with torch.no_grad():
        logits = model.eval()(torch.tensor([[0, *ids[:-1]]])).logits[0]
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor(ids), reduction="sum").item()
    found = evaluate(tmp_path / "granite", [text], sequence_length=32, device="cpu", dtype="float32")
    assert found.nats == pytest.approx(expected, rel=1e-5)

    options = FineTuningOptions(sequence_length=32, batch_size=4, learning_rate=3e-3)
    result = fine_tune(
        tmp_path / "granite",
        tiny.texts[:40],
        options,
        tiny.held_out,
        tmp_path / "tuned",
        tmp_path / "resume",
        runtime=tiny.runtime,
    )
    assert result.held_out_bits_per_byte < result.zero_shot_bits_per_byte - 0.3


@pytest.mark.slow
def test_embedded_model_scores_english_well():
    pytest.importorskip("gguf")
    text = "The mean of a sample is the sum of its values divided by how many there are."
    assert len(model_identity("smollm2-135m")) == 64
    assert evaluate("smollm2-135m", [text], device="cpu").bits_per_byte < 1.5


@pytest.fixture
def folder(tiny, tmp_path):
    return gpt2(tiny.tokenizer, tmp_path / "model")


def refused(folder, match, classes=()):
    with pytest.raises(UnknownModelError, match=match) as refused:
        load_model(folder, torch.device("cpu"), 32, classes=classes)
    assert str(folder) in str(refused.value)


def test_weights_cut_off_are_named_and_not_counted(folder):
    weights = folder / "model.safetensors"
    for kept in (weights.stat().st_size // 2, 20, 0):
        weights.write_bytes(weights.read_bytes()[:kept])
        refused(folder, "header")
        with pytest.raises(UnknownModelError, match=r"model\.safetensors"):
            count_parameters(folder)


@pytest.mark.parametrize("classes", [(), ("no", "yes")])
@pytest.mark.parametrize(("key", "other"), [("n_layer", 4), ("n_embd", 64)])
def test_weights_that_files_lack_are_not_drawn_at_random(folder, key, other, classes):
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {key: other}))
    refused(folder, r"\d+ of the weights that config\.json requires .*transformer\.h\.", classes)


@pytest.mark.parametrize("classes", [(), ("no", "yes")])
def test_weights_that_are_no_numbers_are_named(folder, classes):
    weights = load_file(folder / "model.safetensors")
    weights["transformer.h.1.ln_1.weight"][0] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    refused(folder, r"NaN or infinite values: transformer\.h\.1\.ln_1\.weight", classes)


def test_a_new_output_layer_is_no_missing_weight(tiny, tmp_path):
    encoder = bert(tiny.tokenizer, tmp_path / "bert")
    cpu = torch.device("cpu")
    assert load_model(encoder, cpu, 32, classes=("no", "yes")).classes == ("no", "yes")
    load_model(encoder, cpu, 32, classes=("a", "b", "c")).model.save_pretrained(tmp_path / "three")
    load_tokenizer(tiny.tokenizer).save_pretrained(tmp_path / "three")
    assert load_model(tmp_path / "three", cpu, 32, classes=("no", "yes")).model.config.num_labels == 2


def test_an_encoder_decoder_learns_no_labels(tiny, tmp_path):
    with pytest.raises(NeedsPairsError, match="use a causal model for plain text, labels and warm-ups"):
        load_model(t5(tiny.tokenizer, tmp_path / "t5"), torch.device("cpu"), 32, classes=("no", "yes"))
