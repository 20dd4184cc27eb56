"""Pre-training: the right arithmetic, the same weights again, and the same weights after kill -9."""

import dataclasses
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tamis.training import DivergedError, EmptyTextError, Runtime, evaluate, model_identity, pretrain
from tamis.training.loop import Schedule, checkpoint_folder, load_state, train
from tamis.training.models import prepared
from tamis.training.options import Session
from tamis.training.packing import pack
from tamis.training.plan import Plan
from tamis.training.shapes import new_model
from tamis.training.tokenizer import load_tokenizer

RUN_AND_WAIT_TO_BE_KILLED = """
import os, sys
from pathlib import Path
from tamis.base.precision import computing_in
from tamis.training import ModelShape, PretrainingOptions, Runtime, pretrain

folder, texts, tokenizer, shape, options = sys.argv[1:]
in_force = computing_in("float32")
in_force.__enter__()
pretrain(
    ModelShape(**eval(shape)), eval(texts), Path(tokenizer), PretrainingOptions(**eval(options)),
    Path(folder) / "model", Path(folder) / "resume", runtime=Runtime(device="cpu", save_seconds=0.0),
    advance=lambda tokens: print("advance", tokens, flush=True),
)
"""


def run(tiny, folder: Path, **changes):
    options = dataclasses.replace(tiny.options, **changes)
    return pretrain(
        tiny.shape,
        tiny.texts,
        tiny.tokenizer,
        options,
        folder / "model",
        folder / "resume",
        runtime=tiny.runtime,
    )


def files(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_loop_equals_a_bare_one_in_float32(tiny, tmp_path):
    tokenizer = load_tokenizer(tiny.tokenizer)
    documents, options = pack(tokenizer, tiny.texts), tiny.options
    plan = Plan(documents=documents, steps=12, options=options, key="k")
    ours = prepared(new_model(tiny.shape, 0, tokenizer), tokenizer, torch.device("cpu"), 32)
    outcome = train(ours, plan, Session(resume=tmp_path, runtime=tiny.runtime))

    bare = new_model(tiny.shape, 0, tokenizer)
    norms = [weight for weight in bare.parameters() if weight.dim() < 2]
    rest = [weight for weight in bare.parameters() if weight.dim() >= 2]
    groups = [{"params": rest, "weight_decay": 0.1}, {"params": norms, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95))
    schedule = Schedule(peak=3e-3 * (256 / 32) ** 0.75, steps=12, warm_up_share=0.05)
    losses = []
    for step, (rows,) in enumerate(plan.batches(0)):
        batch = torch.tensor(rows.rows)
        logits = bare(input_ids=batch[:, :-1].clamp(min=0)).logits
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), batch[:, 1:].flatten(), ignore_index=-1
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(bare.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(step)
        optimizer.step()
        losses.append(loss.item())
    np.testing.assert_allclose(outcome.losses, losses, rtol=1e-4)
    for found, expected in zip(ours.model.parameters(), bare.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=2e-3, atol=2e-4)


def test_result_counts_what_was_done(tiny, tmp_path):
    advanced: list[int] = []
    result = pretrain(
        tiny.shape,
        tiny.texts,
        tiny.tokenizer,
        tiny.options,
        tmp_path / "model",
        tmp_path / "resume",
        held_out=tiny.held_out,
        runtime=tiny.runtime,
        advance=advanced.append,
    )
    per_step = 4 * 32
    assert result.steps == -(-3_000 // per_step)
    assert 3_000 <= result.tokens < 3_000 + per_step
    assert sum(advanced) == result.tokens
    assert result.parameters == tiny.shape.parameters
    evaluation = evaluate(tmp_path / "model", tiny.held_out, sequence_length=32, device="cpu")
    assert result.held_out_bits_per_byte == pytest.approx(evaluation.bits_per_byte, rel=1e-6)
    assert result.flops == result.parameters * (6 * result.tokens + 2 * evaluation.n_tokens)
    assert result.losses[-1][0] == result.steps
    assert result.losses[-1][1] < np.log(320) - 1 < result.losses[0][1]
    assert result.peak_memory_bytes > 50e6
    assert result.seconds > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_same_inputs_same_bytes_and_another_seed_differs(tiny, tmp_path):
    run(tiny, tmp_path / "again")
    assert files(tmp_path / "again" / "model") == files(tiny.model)
    run(tiny, tmp_path / "other", seed=4)
    assert model_identity(tmp_path / "other" / "model") != model_identity(tiny.model)


def test_checkpoint_holds_float32_and_no_path(tiny):
    weights = load_file(tiny.model / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    for path in tiny.model.iterdir():
        content = path.read_bytes()
        assert str(tiny.tokenizer.parent).encode() not in content
        assert b"tamis-plain" not in content


def test_killed_run_resumes_to_the_same_bytes(tiny, tmp_path):
    arguments = [tiny.texts, tiny.tokenizer, dataclasses.asdict(tiny.shape), dataclasses.asdict(tiny.options)]
    command = [sys.executable, "-c", RUN_AND_WAIT_TO_BE_KILLED, tmp_path, *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen([str(part) for part in command], env=environment, stdout=subprocess.DEVNULL)
    state = tmp_path / "resume" / "state.safetensors"
    deadline = time.monotonic() + 60
    while not state.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
    assert not (tmp_path / "model").exists()

    left = tmp_path / "resume"
    steps = int(_metadata(left)["step"])
    assert 0 < steps < -(-3_000 // 128)
    result = run(tiny, tmp_path)
    assert files(tmp_path / "model") == files(tiny.model)
    assert result.steps == -(-3_000 // 128)
    assert not left.exists()


def _metadata(folder: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(folder / "state.safetensors", framework="pt") as file:
        return file.metadata()


def test_state_of_another_run_is_ignored(tiny, tmp_path):
    class StopError(Exception):
        pass

    def stop(tokens: int) -> None:
        raise StopError

    with pytest.raises(StopError):
        pretrain(
            tiny.shape,
            tiny.texts,
            tiny.tokenizer,
            dataclasses.replace(tiny.options, seed=9, tokens=100_000),
            tmp_path / "model",
            tmp_path / "resume",
            runtime=Runtime(device="cpu", save_seconds=0.0),
            advance=stop,
        )
    assert (tmp_path / "resume" / "state.safetensors").exists()
    assert load_state(tmp_path / "resume", "another key") is None
    run(tiny, tmp_path)
    assert files(tmp_path / "model") == files(tiny.model)


def test_an_old_checkpoint_is_replaced_whole(tiny, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "stale.bin").write_text("old")
    (tmp_path / ".model.draft").mkdir()
    run(tiny, tmp_path)
    assert files(tmp_path / "model") == files(tiny.model)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_divergence_is_named(tiny, tmp_path):
    with pytest.raises(DivergedError, match="not finite at step") as caught:
        run(tiny, tmp_path, learning_rate=1e30)
    assert 0 < caught.value.step < 24
    assert not (tmp_path / "model").exists()


def test_tokenizer_must_fit_the_shape(tiny, tmp_path):
    small = dataclasses.replace(tiny.shape, vocabulary=319)
    with pytest.raises(ValueError, match="320 tokens; expected 319 at most"):
        pretrain(small, tiny.texts, tiny.tokenizer, tiny.options, tmp_path / "model", tmp_path / "resume")


def test_no_text(tiny, tmp_path):
    with pytest.raises(EmptyTextError):
        pretrain(tiny.shape, [], tiny.tokenizer, tiny.options, tmp_path / "model", tmp_path / "resume")


def test_a_model_is_kept_at_shares_of_its_training_and_the_end_is_the_same(tiny, tmp_path):
    arguments = (tiny.shape, tiny.texts, tiny.tokenizer, tiny.options)
    plain = pretrain(*arguments, tmp_path / "a", tmp_path / "resume", runtime=tiny.runtime)
    kept = pretrain(
        *arguments, tmp_path / "b", tmp_path / "resume", runtime=tiny.runtime, checkpoints=(0.25, 0.75)
    )
    assert kept.losses == plain.losses
    weights = load_file(tmp_path / "b" / "model.safetensors")
    assert all(
        (weights[name] == one).all() for name, one in load_file(tmp_path / "a" / "model.safetensors").items()
    )
    places = [
        tmp_path / "b",
        checkpoint_folder(tmp_path / "b", 0.75),
        checkpoint_folder(tmp_path / "b", 0.25),
    ]
    losses = [
        evaluate(place, tiny.held_out, sequence_length=32, device="cpu").bits_per_byte for place in places
    ]
    assert losses == sorted(losses)
    assert len(set(losses)) == 3
    assert not (tmp_path / "resume").exists()
