"""Early stopping, accumulation and precision: the best weights win, and a kill changes none of it."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from families import PAIRS, labelled
from safetensors.torch import load_file

from tamis.training import FineTuningOptions, Runtime, evaluate, fine_tune
from tamis.training import loop as loop_module
from tamis.training.adapters import Adapter
from tamis.training.evaluation import evaluate_pairs
from tamis.training.loop import keep_newest, load_state

OPTIONS = FineTuningOptions(sequence_length=32, batch_size=4, epochs=12, seed=5, learning_rate=2e-3)
EARLY = dataclasses.replace(OPTIONS, patience=3, evaluations=2)
TEXTS = [f"the shape parameter test value {number} of the array" for number in range(12)]


def trained(tiny, folder: Path, options=EARLY, texts=TEXTS, validation=(), name="out", **changes):
    return fine_tune(
        tiny.model,
        texts,
        options,
        [],
        folder / name,
        folder / f"{name}-resume",
        validation=validation,
        **{"runtime": tiny.runtime, **changes},
    )


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_it_stops_at_the_best_weights_and_pays_for_no_more(tiny, tmp_path):
    # The base was trained on texts like these, so what it learns here makes them dearer again.
    validation = tiny.held_out
    full = trained(tiny, tmp_path, OPTIONS, name="full")
    early = trained(tiny, tmp_path, validation=validation, name="early")
    assert early.best_step is not None
    assert early.best_step < early.steps < full.steps
    assert early.tokens < full.tokens
    assert early.flops < full.flops
    assert len(early.losses) == early.steps
    assert early.losses == full.losses[: early.steps], "the steps themselves are those of the full run"
    loss = {
        name: evaluate(tmp_path / name, validation, sequence_length=32, device="cpu").bits_per_byte
        for name in ("full", "early")
    }
    assert loss["early"] < loss["full"]
    assert not (tmp_path / "early-resume").exists()


def test_without_a_turn_for_the_worse_it_runs_to_its_end(tiny, tmp_path):
    result = trained(tiny, tmp_path, dataclasses.replace(EARLY, epochs=2), validation=TEXTS)
    assert result.best_step == result.steps
    plain = trained(tiny, tmp_path, dataclasses.replace(OPTIONS, epochs=2), name="plain")
    assert weights(tmp_path / "out") == weights(tmp_path / "plain")
    assert plain.losses == result.losses


@pytest.mark.parametrize("texts", [TEXTS, PAIRS[:12], labelled(12)], ids=["text", "pairs", "labels"])
def test_accumulated_batches_are_one_large_batch(tiny, tmp_path, texts):
    large = dataclasses.replace(OPTIONS, epochs=2, batch_size=6)
    small = dataclasses.replace(large, batch_size=2, accumulation=3)
    one = trained(tiny, tmp_path, large, texts=texts, name="one")
    three = trained(tiny, tmp_path, small, texts=texts, name="three")
    assert (three.steps, three.tokens, three.flops) == (one.steps, one.tokens, one.flops)
    for (_, found), (_, expected) in zip(three.losses, one.losses, strict=True):
        assert found == pytest.approx(expected, rel=1e-4)
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "three"))
    for name, weight in first.items():
        torch.testing.assert_close(second[name], weight, rtol=2e-3, atol=2e-4)


def test_precisions_learn_alike_and_are_not_the_same(tiny, tmp_path):
    losses = {}
    for precision in ("float32", "bfloat16", "autocast"):
        options = dataclasses.replace(OPTIONS, epochs=2, precision=precision)
        losses[precision] = trained(tiny, tmp_path, options, name=precision).losses[-1][1]
        stored = load_file(tmp_path / precision / "model.safetensors")
        assert {one.dtype for one in stored.values()} == {torch.float32}
    assert len(set(losses.values())) == 3
    assert max(losses.values()) - min(losses.values()) < 0.1


EVERYTHING = dataclasses.replace(
    EARLY,
    epochs=16,
    batch_size=2,
    accumulation=2,
    learning_rate=3e-2,
    patience=6,
    adapter=Adapter(rank=4, dropout=0.1),
)
CASES = {
    "adapter, accumulation, validation": (EVERYTHING, PAIRS[:12], PAIRS[20:26]),
    "labels": (dataclasses.replace(EVERYTHING, adapter=None), labelled(12), labelled(8, 30)),
}


@pytest.mark.parametrize("case", CASES)
def test_a_run_stopped_at_any_step_ends_as_an_undisturbed_one(tiny, tmp_path, monkeypatch, case):
    class StopError(Exception):
        pass

    options, texts, validation = CASES[case]
    monkeypatch.setattr(loop_module, "REPORT_SECONDS", 0.0)
    seen: list[int] = []
    whole = trained(tiny, tmp_path, options, texts, validation, "whole", advance=seen.append)
    reports = len([tokens for tokens in seen if tokens])
    assert 0 < whole.best_step < whole.steps, "the case must stop early"

    def stop_after(count: int):
        left = count

        def stop(tokens: int) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise StopError

        return stop

    every = Runtime(device="cpu", save_seconds=0.0)
    rare = Runtime(device="cpu", save_seconds=0.05)
    # Inside an epoch, at its border, before and after the best weights; one life after the other.
    for place, runtime in ((2, every), (1, rare), (reports // 3, every), (3, rare), (1, every)):
        with pytest.raises(StopError):
            trained(
                tiny,
                tmp_path,
                options,
                texts,
                validation,
                "parts",
                runtime=runtime,
                advance=stop_after(place),
            )
    assert load_state(tmp_path / "parts-resume", "another") is None
    parts = trained(tiny, tmp_path, options, texts, validation, "parts")
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")
    assert (parts.losses, parts.best_step, parts.steps) == (whole.losses, whole.best_step, whole.steps)


RUN_AND_WAIT_TO_BE_KILLED = """
import sys
from pathlib import Path
from tamis.base.precision import computing_in
from tamis.training import FineTuningOptions, Runtime, fine_tune
from tamis.training.adapters import Adapter
from tamis.training.examples import Pair

folder, base, texts, validation, options = sys.argv[1:]
in_force = computing_in("float32")
in_force.__enter__()
fine_tune(
    Path(base), eval(texts), eval(options), [], Path(folder) / "out", Path(folder) / "out-resume",
    validation=eval(validation), runtime=Runtime(device="cpu", save_seconds=0.0),
)
"""


@pytest.mark.slow
def test_sigkill_with_every_option_on(tiny, tmp_path):
    options, texts, validation = CASES["adapter, accumulation, validation"]
    whole = trained(tiny, tmp_path, options, texts, validation, "whole")
    arguments = [tmp_path, tiny.model, repr(texts), repr(validation), repr(options)]
    command = [sys.executable, "-c", RUN_AND_WAIT_TO_BE_KILLED, *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    best = tmp_path / "out-resume"
    deadline = time.monotonic() + 60
    while not list(best.glob("best-*")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
    assert not (tmp_path / "out").exists()
    result = trained(tiny, tmp_path, options, texts, validation)
    assert weights(tmp_path / "out") == weights(tmp_path / "whole")
    assert (result.losses, result.best_step) == (whole.losses, whole.best_step)


def test_other_validation_examples_are_another_run(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(loop_module, "REPORT_SECONDS", 0.0)

    def stop(tokens: int) -> None:
        raise KeyboardInterrupt

    now = Runtime(device="cpu", save_seconds=0.0)
    options, texts, validation = CASES["adapter, accumulation, validation"]
    for some in (validation, PAIRS[30:36]):
        with pytest.raises(KeyboardInterrupt):
            trained(tiny, tmp_path, options, texts, some, runtime=now, advance=stop)
    result = trained(tiny, tmp_path, options, texts, validation)
    assert result.losses == trained(tiny, tmp_path, options, texts, validation, "whole").losses


def test_a_damaged_state_is_no_state(tiny, tmp_path):
    (tmp_path / "out-resume").mkdir()
    (tmp_path / "out-resume" / "state.safetensors").write_bytes(b"\x00" * 100)
    short = dataclasses.replace(OPTIONS, epochs=1)
    trained(tiny, tmp_path, short)
    trained(tiny, tmp_path, short, name="whole")
    assert weights(tmp_path / "out") == weights(tmp_path / "whole")


def test_only_the_newest_unfinished_runs_stay(tmp_path):
    for name, written in (("old", 200), ("older", 100), ("new", 300)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "state.safetensors").write_bytes(b"x")
        for path in (tmp_path / name / "state.safetensors", tmp_path / name):
            os.utime(path, (written, written))
    assert [path.name for path in keep_newest(tmp_path, 2)] == ["older"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "old"]
    assert keep_newest(tmp_path / "nothing", 2) == []


def test_pairs_can_be_validated_on(tiny, tmp_path):
    result = trained(tiny, tmp_path, dataclasses.replace(EARLY, epochs=2), PAIRS[:12], PAIRS[20:26])
    assert result.best_step == result.steps
    before = evaluate_pairs(tiny.model, PAIRS[20:26], sequence_length=32, device="cpu").bits_per_byte
    assert (
        evaluate_pairs(tmp_path / "out", PAIRS[20:26], sequence_length=32, device="cpu").bits_per_byte
        < before
    )
