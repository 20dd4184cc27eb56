"""Low-rank adaptation: few weights move, the checkpoint is whole, and its cost follows the formula."""

import dataclasses
import json
import warnings

import pytest
import torch
from families import PAIRS, bert, gpt2, labelled, t5
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification

from tamis.base.errors import MissingPackageError
from tamis.training import FineTuningOptions, evaluate, fine_tune
from tamis.training import adapters as module
from tamis.training.adapters import Adapter, save_adapter, with_adapter
from tamis.training.errors import UnfitLayersError
from tamis.training.models import SMOLLM2, load_model

OPTIONS = FineTuningOptions(
    sequence_length=32, batch_size=4, epochs=3, learning_rate=1e-2, seed=5, adapter=Adapter(rank=4)
)
TARGET = [f"the shape parameter test value {number} of the array" for number in range(40)]


def trained(base, tiny, folder, name="out", options=OPTIONS, texts=TARGET[:30], held_out=TARGET[30:]):
    return fine_tune(base, texts, options, held_out, folder / name, folder / "resume", runtime=tiny.runtime)


def test_the_checkpoint_is_merged_and_counts_by_the_formula(tiny, tmp_path):
    result = trained(tiny.model, tiny, tmp_path)
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    base = AutoModelForCausalLM.from_pretrained(tiny.model, dtype=torch.float32)
    total = sum(one.numel() for one in base.parameters())
    linear = [one for one in base.model.modules() if isinstance(one, torch.nn.Linear)]
    added = sum(4 * (layer.in_features + layer.out_features) for layer in linear)
    assert (result.parameters, result.trainable_parameters) == (total, added)
    moved = {name for name, one in whole.named_parameters() if not torch.equal(one, base.get_parameter(name))}
    assert moved
    assert all("proj" in name for name in moved), "only linear layers may move"
    held_out = evaluate(tmp_path / "out", TARGET[30:], sequence_length=32, device="cpu")
    assert held_out.bits_per_byte == pytest.approx(result.held_out_bits_per_byte, rel=1e-6)
    assert result.held_out_bits_per_byte < result.zero_shot_bits_per_byte - 0.2
    training = 4 * total * result.tokens + 6 * added * result.tokens
    assert result.flops == training + 2 * 2 * total * held_out.n_tokens


def test_the_adapter_alone_gives_the_same_model_and_names_no_path(tiny, tmp_path):
    from peft import PeftModel

    trained(tiny.model, tiny, tmp_path)
    base = AutoModelForCausalLM.from_pretrained(tiny.model, dtype=torch.float32)
    joined = PeftModel.from_pretrained(base, tmp_path / "out" / "adapter").merge_and_unload()
    whole = load_file(tmp_path / "out" / "model.safetensors")
    for name, one in joined.state_dict().items():
        if name in whole:
            torch.testing.assert_close(one, whole[name], rtol=0, atol=1e-6)
    configuration = json.loads((tmp_path / "out" / "adapter" / "adapter_config.json").read_text())
    assert configuration["r"] == 4
    named = configuration["target_modules"]
    assert named == sorted(named), (
        "the order of a set is another in each process, and so is the file's digest"
    )
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert str(tmp_path).encode() not in content, path
            assert str(tiny.model).encode() not in content, path


def test_no_hub_is_asked_for_a_model_whose_name_could_be_an_id(tiny, tmp_path, monkeypatch):
    asked: list[str] = []
    monkeypatch.setattr(
        "peft.utils.save_and_load.check_file_exists_on_hf_hub",
        lambda name, *_more, **_named: asked.append(name),
    )
    loaded = load_model(tiny.model, torch.device("cpu"), 32)
    loaded.model.name_or_path = SMOLLM2
    save_adapter(with_adapter(loaded, Adapter(rank=4), seed=0), tmp_path)
    assert list(tmp_path.rglob("adapter_model.safetensors"))
    assert not asked


def test_the_same_every_time_and_another_seed_is_another_adapter(tiny, tmp_path):
    first, again = trained(tiny.model, tiny, tmp_path, "a"), trained(tiny.model, tiny, tmp_path, "b")
    other = trained(tiny.model, tiny, tmp_path, "c", dataclasses.replace(OPTIONS, seed=6))
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in "abc"]
    assert files[0] == files[1] != files[2]
    assert first.losses == again.losses != other.losses


def reloaded(family, folder):
    kinds = {gpt2: AutoModelForCausalLM, t5: AutoModelForSeq2SeqLM, bert: AutoModelForSequenceClassification}
    return kinds[family].from_pretrained(folder)


@pytest.mark.parametrize("family", [gpt2, t5, bert])
def test_other_families(tiny, tmp_path, family):
    base = family(tiny.tokenizer, tmp_path / "base")
    data = {gpt2: TARGET, t5: PAIRS, bert: labelled(40)}[family]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "fan_in_fan_out")
        result = trained(base, tiny, tmp_path, texts=data[:30], held_out=data[30:])
    assert result.trainable_parameters < result.parameters / 2
    assert result.parameters == sum(one.numel() for one in reloaded(family, tmp_path / "out").parameters())
    assert result.losses[-1][1] < result.losses[0][1]


def test_layers_by_name(tiny, tmp_path):
    chosen = dataclasses.replace(OPTIONS, adapter=Adapter(rank=2, targets=("q_proj",)))
    assert trained(tiny.model, tiny, tmp_path, options=chosen).trainable_parameters == 2 * 2 * (32 + 32)


@pytest.mark.parametrize("name", ["nope", "lm_head", "embed_tokens"])
def test_layers_that_cannot_have_one_are_named(tiny, tmp_path, name):
    chosen = dataclasses.replace(OPTIONS, adapter=Adapter(rank=2, targets=("q_proj", name)))
    with pytest.raises(UnfitLayersError, match=f"lora_targets.*'{name}'"):
        trained(tiny.model, tiny, tmp_path, options=chosen)


def test_without_peft_the_command_is_named(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"\[lora\]"):
        trained(tiny.model, tiny, tmp_path)
