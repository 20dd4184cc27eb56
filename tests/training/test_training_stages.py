"""Trials of one or two stages and several seeds: measured after each, done once, resumed where they were."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from families import PAIRS, labelled, t5

from tamis.store.digests import folder_digests
from tamis.training import FineTuningOptions, Runtime, evaluate
from tamis.training import loop as loop_module
from tamis.training.evaluation import classify, evaluate_pairs
from tamis.training.intervals import estimates
from tamis.training.options import Session
from tamis.training.trainings import Schooling, TrainingStage, school

OPTIONS = FineTuningOptions(sequence_length=32, batch_size=4, epochs=1, seed=5, learning_rate=5e-3)


def stage(examples, data="data") -> TrainingStage:
    ids = [f"{number:032x}" for number in range(len(examples))]
    return TrainingStage(data=data, digest="ab" * 32, doc_ids=ids, examples=examples)


def schooled(tiny, folder: Path, stages, held_out, seeds=1, name="out", options=OPTIONS, **changes):
    schooling = Schooling(base=tiny.model, stages=stages, held_out=held_out)
    session = Session(resume=folder / f"{name}-state", **{"runtime": tiny.runtime, **changes})
    return school(schooling, options, seeds, folder / name, session)


def test_both_stages_are_measured_and_the_second_begins_with_the_first(tiny, tmp_path):
    warm_up, target = stage(tiny.texts[:20], "selection"), stage(PAIRS[:20], "target")
    ((first, second),) = schooled(tiny, tmp_path, [warm_up, target], PAIRS[30:])
    before = evaluate_pairs(tiny.model, PAIRS[30:], sequence_length=32, device="cpu")
    between = evaluate_pairs(tmp_path / "out-state" / "run-0" / "stage-0", PAIRS[30:], sequence_length=32)
    after = evaluate_pairs(tmp_path / "out", PAIRS[30:], sequence_length=32, device="cpu")
    assert first.zero_shot_bits_per_byte == pytest.approx(before.bits_per_byte, rel=1e-6)
    assert first.held_out_bits_per_byte == pytest.approx(between.bits_per_byte, rel=1e-6)
    assert second.zero_shot_bits_per_byte == first.held_out_bits_per_byte
    assert second.held_out_bits_per_byte == pytest.approx(after.bits_per_byte, rel=1e-6)
    ((alone,),) = schooled(tiny, tmp_path, [target], PAIRS[30:], name="alone")
    assert alone.losses != second.losses, "the warm-up left no trace"


def test_a_warm_up_on_text_and_then_labels(tiny, tmp_path):
    options = dataclasses.replace(OPTIONS, epochs=6, learning_rate=2e-3)
    stages = [stage(tiny.texts[:20]), stage(labelled(40))]
    ((first, second),) = schooled(tiny, tmp_path, stages, labelled(16, 40), options=options)
    assert first.held_out_bits_per_byte is None
    assert first.accuracy is None
    found = classify(tmp_path / "out", labelled(16, 40), sequence_length=32, device="cpu")
    assert second.accuracy == found.accuracy > 0.8


def test_seeds_differ_and_the_first_is_the_checkpoint(tiny, tmp_path):
    held_out = tiny.held_out
    results = schooled(tiny, tmp_path, [stage(tiny.texts[:20])], held_out, seeds=3)
    losses = [one.held_out_bits_per_byte for (one,) in results]
    assert len(set(losses)) == 3
    stored = evaluate(tmp_path / "out", held_out, sequence_length=32, device="cpu")
    assert losses[0] == pytest.approx(stored.bits_per_byte, rel=1e-6)
    found = estimates([one for (one,) in results])["bits_per_byte"]
    assert found.mean == pytest.approx(sum(losses) / 3)
    assert found.low < min(losses) <= max(losses) < found.high


def test_a_killed_trial_repeats_nothing_that_is_finished(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(loop_module, "REPORT_SECONDS", 0.0)
    stages = [stage(tiny.texts[:20]), stage(tiny.texts[20:40])]
    whole = schooled(tiny, tmp_path, stages, tiny.held_out, seeds=2, name="whole")
    lives = 0
    while True:
        left = 7

        def stop(tokens: int) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt

        lives += 1
        try:
            parts = schooled(
                tiny,
                tmp_path,
                stages,
                tiny.held_out,
                seeds=2,
                runtime=Runtime(device="cpu", save_seconds=0.0),
                advance=stop,
            )
            break
        except KeyboardInterrupt:
            assert lives < 60, "it gets nowhere"
    assert lives > 3
    for found, expected in zip(parts, whole, strict=True):
        for one, other in zip(found, expected, strict=True):
            assert (one.losses, one.held_out_bits_per_byte) == (other.losses, other.held_out_bits_per_byte)
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("out", "whole")]
    assert files[0] == files[1]
    kept = json.loads((tmp_path / "out-state" / "run-1" / "result-1.json").read_text())
    assert kept["tokens"] == whole[1][1].tokens


TRAIN_AND_WAIT_TO_BE_KILLED = """
from tamis.base.precision import computing_in
in_force = computing_in("float32")
in_force.__enter__()
import sys
from pathlib import Path
from tamis.training.examples import Labelled, Pair
from tamis.training.options import FineTuningOptions, Runtime, Session
from tamis.training.trainings import Schooling, TrainingStage, school

base, stages, held_out, options, output, state = sys.argv[1:]
schooling = Schooling(base=Path(base), stages=eval(stages), held_out=eval(held_out))
runtime = Runtime(device="cpu", save_seconds=0.0)
school(schooling, eval(options), 1, Path(output), Session(resume=Path(state), runtime=runtime))
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["labels in two stages", "encoder-decoder"])
def test_sigkill_and_again_leaves_the_bytes_of_an_undisturbed_trial(tiny, tmp_path, kind):
    """Pairs with an adapter are killed in test_training_stopping.py, whole runs in tests/end_to_end."""
    base, stages, held_out = tiny.model, [stage(tiny.texts[:30]), stage(labelled(40))], labelled(10, 40)
    if kind == "encoder-decoder":
        base, stages, held_out = t5(tiny.tokenizer, tmp_path / "t5"), [stage(PAIRS[:30])], PAIRS[30:]
    options, state = dataclasses.replace(OPTIONS, epochs=3), tmp_path / "out-state"
    schooling = Schooling(base=base, stages=stages, held_out=held_out)
    undisturbed = Session(resume=tmp_path / "whole-state", runtime=tiny.runtime)
    whole = school(schooling, options, 1, tmp_path / "whole", undisturbed)
    arguments = [base, repr(stages), repr(held_out), repr(options), tmp_path / "out", state]
    command = [sys.executable, "-c", TRAIN_AND_WAIT_TO_BE_KILLED, *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    last = state / "run-0" / f"training-{len(stages) - 1}"
    while not list(last.glob("state*")) and process.poll() is None:
        time.sleep(0.001)
    process.kill()
    assert process.wait() == -signal.SIGKILL, "the trial ended before it could be killed"
    assert not (tmp_path / "out").exists()
    parts = school(schooling, options, 1, tmp_path / "out", Session(resume=state, runtime=tiny.runtime))
    assert folder_digests(tmp_path / "out") == folder_digests(tmp_path / "whole")
    assert [one.losses for one in parts[0]] == [one.losses for one in whole[0]]
