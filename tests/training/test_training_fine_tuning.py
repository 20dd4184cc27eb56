"""Fine-tuning: better than the base on its own kind of text, the same every time, exact after a stop."""

import dataclasses
import hashlib

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from tamis.training import FineTuningOptions, Runtime, evaluate, fine_tune
from tamis.training import loop as loop_module
from tamis.training.tokenizer import load_tokenizer

OPTIONS = FineTuningOptions(sequence_length=32, batch_size=4, epochs=2, seed=5)
TARGET = [f"the shape parameter test value {number} of the array" for number in range(40)]


def test_trial_improves_on_zero_shot_and_accounts_for_itself(tiny, tmp_path):
    def trial(name: str, **known):
        return fine_tune(
            tiny.model,
            TARGET[:30],
            OPTIONS,
            TARGET[30:],
            tmp_path / name,
            tmp_path / "resume",
            runtime=tiny.runtime,
            **known,
        )

    first = trial("first")
    before = evaluate(tiny.model, TARGET[30:], sequence_length=32, device="cpu")
    after = evaluate(tmp_path / "first", TARGET[30:], sequence_length=32, device="cpu")
    assert first.zero_shot_bits_per_byte == pytest.approx(before.bits_per_byte, rel=1e-6)
    assert first.held_out_bits_per_byte == pytest.approx(after.bits_per_byte, rel=1e-6)
    assert after.bits_per_byte < before.bits_per_byte - 0.3
    assert first.flops == first.parameters * (6 * first.tokens + 4 * before.n_tokens)
    assert first.evaluation_flops == first.parameters * 4 * before.n_tokens
    assert 0 < first.evaluation_seconds < first.seconds

    again = trial("again", zero_shot=1.25)
    assert again.zero_shot_bits_per_byte == 1.25
    assert again.flops == first.flops - 2 * first.parameters * before.n_tokens
    assert _digest(tmp_path / "again") == _digest(tmp_path / "first")
    assert again.losses == first.losses


def _digest(folder) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


@pytest.fixture
def gpt2(tiny, tmp_path):
    """A model of another family, with dropout."""
    torch.manual_seed(0)
    tokenizer = load_tokenizer(tiny.tokenizer)
    config = GPT2Config(
        vocab_size=320, n_embd=32, n_layer=2, n_head=2, n_positions=64, bos_token_id=0, eos_token_id=1
    )
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt2")
    tokenizer.save_pretrained(tmp_path / "gpt2")
    return tmp_path / "gpt2"


def test_stopped_run_with_dropout_resumes_exactly(gpt2, tiny, tmp_path, monkeypatch):
    class StopError(Exception):
        pass

    def trial(name: str, runtime: Runtime, advance=lambda tokens: None):
        return fine_tune(
            gpt2,
            tiny.texts[:40],
            OPTIONS,
            [],
            tmp_path / name,
            tmp_path / f"{name}-resume",
            runtime=runtime,
            advance=advance,
        )

    whole = trial("whole", tiny.runtime)
    assert whole.held_out_bits_per_byte is None
    seen = 0

    def stop(tokens: int) -> None:
        nonlocal seen
        seen += tokens
        if seen > whole.tokens // 2:
            raise StopError

    monkeypatch.setattr(loop_module, "REPORT_SECONDS", 0.0)
    with pytest.raises(StopError):
        trial("parts", Runtime(device="cpu", save_seconds=0.0), stop)
    assert (tmp_path / "parts-resume" / "state.safetensors").exists()
    rest: list[int] = []
    parts = trial("parts", tiny.runtime, rest.append)
    assert _digest(tmp_path / "parts") == _digest(tmp_path / "whole")
    assert parts.losses == whole.losses
    assert sum(rest) == whole.tokens
    assert rest[0] > whole.tokens // 4, "the run began again from nothing"


def test_epochs_and_size_decide_the_tokens(tiny, tmp_path):
    def tokens(count: int, epochs: int) -> int:
        return fine_tune(
            tiny.model,
            TARGET[:count],
            dataclasses.replace(OPTIONS, epochs=epochs),
            [],
            tmp_path / "out",
            tmp_path / "resume",
            runtime=tiny.runtime,
        ).tokens

    assert tokens(10, 2) == 2 * tokens(10, 1)
    assert tokens(20, 1) > 1.8 * tokens(10, 1)
