"""Names of judges and fingerprints of what they would answer."""

import subprocess
import sys

import pytest

from tamis.base.errors import UnknownNameError
from tamis.quality import AskLLM, Endpoint, JudgeModelError, identity, judge_identity
from tamis.quality.identity import judge_prompt, judge_source


def test_a_fingerprint_is_known_without_torch():
    code = (
        "import sys; from tamis.quality import judge_identity, AskLLM;"
        "print(judge_identity('smollm2-135m', max_tokens=48)); AskLLM('smollm2-135m').fingerprint;"
        "assert not {'torch', 'transformers', 'sklearn', 'gguf'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == AskLLM("smollm2-135m", max_tokens=48).fingerprint


def test_everything_that_moves_a_score_moves_the_fingerprint(tmp_path, word_tokenizer, save_llama):
    save_llama(tmp_path, word_tokenizer())
    folder = str(tmp_path)
    settings = [
        {},
        {"prompt": "ask-llm"},
        {"max_tokens": 64},
        {"dtype": "bfloat16"},
    ]
    found = [judge_identity(folder, **changed) for changed in settings]
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    found.append(judge_identity(folder))
    found.append(judge_identity("org/name"))
    found.append(judge_identity("org/name@v2"))
    found.append(judge_identity(Endpoint("http://localhost:1/v1", "m")))
    found.append(judge_identity(Endpoint("http://localhost:1/v1", "n")))
    assert len(set(found)) == len(found)
    assert judge_identity(folder, prompt="examples") == judge_identity(folder)
    assert AskLLM(folder, batch_size=1).fingerprint == AskLLM(folder, batch_size=8).fingerprint


def test_only_encoders_with_absolute_positions_depend_on_where_they_are_padded(
    tmp_path, word_tokenizer, save_llama, save_encoder_decoder, monkeypatch
):
    save_llama(tmp_path / "llama", word_tokenizer())
    for family in ("t5", "bart"):
        save_encoder_decoder(tmp_path / family, word_tokenizer(), family)
    folders = ("llama", "t5", "bart")
    now = {name: judge_identity(str(tmp_path / name)) for name in folders}
    monkeypatch.setattr(identity, "PADDED_AT_THE_END", "padded otherwise")
    assert [name for name in folders if judge_identity(str(tmp_path / name)) != now[name]] == ["bart"]


def test_the_prompt_follows_the_size_of_the_model(tmp_path, word_tokenizer, save_llama, save_encoder_decoder):
    save_llama(tmp_path / "llama", word_tokenizer())
    save_encoder_decoder(tmp_path / "t5", word_tokenizer(), "t5")
    expected = {
        "smollm2-135m": "examples",
        str(tmp_path / "llama"): "examples",
        str(tmp_path / "t5"): "ask-llm",
        "google/flan-t5-xl": "ask-llm",
        "Qwen/Qwen2.5-0.5B-Instruct": "examples",
        "Qwen/Qwen2.5-7B-Instruct": "ask-llm",
        "HuggingFaceTB/SmolLM2-360M": "examples",
    }
    assert {model: judge_prompt(model).name for model in expected} == expected
    assert judge_prompt(Endpoint("http://localhost:1", "m")).name == "ask-llm"


def test_what_is_no_judge_is_named(tmp_path):
    with pytest.raises(JudgeModelError, match=r"no config\.json"):
        judge_source(str(tmp_path))
    with pytest.raises(JudgeModelError, match="neither"):
        judge_source("/no/such/folder/anywhere")
    with pytest.raises(UnknownNameError, match="examples"):
        judge_identity("smollm2-135m", prompt="verbatim")
    assert judge_source("org/name@v2").revision == "v2"
