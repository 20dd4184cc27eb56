"""Runs of one trial, without a graph: chains of stages, seeds, room, and what was started is found again."""

import json
import math
import os
import signal
import time
from pathlib import Path

import psutil
import pytest
from fake_trainer import FAKE
from projects import base_model, plain_project, settings

from tamis.base.errors import TamisError
from tamis.base.own_command import PROCESS
from tamis.mixture.runs import read_run
from tamis.project import Project
from tamis.trainer.exchange import row_of
from tamis.trainer.runs import (
    Content,
    Invocation,
    NoCheckpointError,
    Rows,
    Run,
    TrainerFailedError,
    erase_naming,
    erase_unused,
    folders_naming,
    under_way,
)
from tamis.trainer.trials import Finished, TrialData, read_trial, trial_content, trial_run
from tamis.training.examples import Pair
from tamis.training.planned import Trial
from tamis.training.trainings import TrainingStage

TEXTS = [f"text number {number}" for number in range(40)]
HELD_OUT = [Pair(prompt=f"ask {number}", response="say " * (1 + number)) for number in range(5)]
KEY = "ab" * 32


def project_of(folder: Path, trainer: str = "at_once = 9\n", tuning: str = "") -> Project:
    command = 'command = ["python", "train.py", "{spec}"]\n'
    model = base_model("given", preset=None, path="org/model")
    made = plain_project(folder, settings(model, f"[trainer]\n{command}{trainer}{tuning}"))
    (folder / "train.py").write_text(FAKE)
    return made.project


@pytest.fixture(autouse=True)
def trusted(nowhere, monkeypatch):
    monkeypatch.setenv("TAMIS_TRUST", "1")


def data_of(*stages: list) -> TrialData:
    return TrialData(
        base="org/model",
        stages=[
            TrainingStage(data=f"data-{place}", digest="d", doc_ids=["x"], examples=examples)
            for place, examples in enumerate(stages)
        ],
        held_out=HELD_OUT,
        validation=[],
        zero_shot_key="zero",
        expected_tokens=None,
    )


def run_of(project: Project, kind: str = "law", key: str = KEY) -> Run:
    return trial_run(project, trial_of(f"{kind}__given"), key)


def trial_of(name: str) -> Trial:
    return Trial(name=name, model="given", kind=name.split("__")[0], data="goal", size=4)


def submit(run: Run, data: TrialData) -> None:
    run.submit(trial_content(run.project, trial_of(run.name), data))


def finish(run: Run, data: TrialData, folder: Path) -> Finished:
    return read_trial(run, trial_of(run.name), data, run.results(data.held_out), folder)


def invocations(run: Run) -> list[Invocation]:
    return [run.before, *(one for chain in run.chains for one in chain)]


def until(condition, what: str):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def calls(project: Project) -> list[str]:
    path = project.root / "calls.txt"
    return path.read_text().split() if path.exists() else []


def trained(run: Run, data: TrialData) -> None:
    deadline = time.monotonic() + 120
    while not run.has_ended:
        assert time.monotonic() < deadline
        submit(run, data)
        time.sleep(0.02)


def test_a_second_stage_starts_from_the_checkpoint_of_the_first_for_every_seed(tmp_path):
    project = project_of(tmp_path, tuning="[fine_tuning]\nseeds = 2\nbatch_size = 4\nepochs = 1\n")
    run, data = run_of(project, "two_stage"), data_of(TEXTS, HELD_OUT)
    trained(run, data)
    specs = [[one.spec for one in chain] for chain in run.chains]
    assert [[spec.seed for spec in chain] for chain in specs] == [[0, 0], [1, 1]]
    assert [chain[0].model for chain in specs] == ["org/model", "org/model"]
    assert [chain[1].model for chain in specs] == ["../seed-0-0/output", "../seed-1-0/output"]
    assert specs[0][1].steps == 2, "five pairs, four a batch"
    finished = finish(run, data, project.home.checkpoints / "trials" / "t" / KEY[:16])
    first, second = (
        (2.0 + seed / 100) / (1 + math.log1p(specs[0][0].steps * 40)) / math.log(2) for seed in (0, 1)
    )
    assert finished.values["zero_shot_bits_per_byte"] == pytest.approx(2.0 / math.log(2))
    assert finished.values["warm_up_bits_per_byte"] == pytest.approx((first + second) / 2)
    assert finished.values["held_out_low"] < finished.values["held_out_bits_per_byte"]
    assert (finished.values["seeds"], finished.values["seconds"]) == (2, 6.0)
    assert finished.values["parameters"] is finished.values["flops"] is None, "no file of the model is here"
    assert len(finished.results[0].outcomes.bits) == len(HELD_OUT)
    assert len(calls(project)) == 5
    run.erase()
    erase_unused(project.home)
    assert list((project.home.cache / "trainer").iterdir()) == []


def test_at_once_bounds_all_trials_together(tmp_path):
    project = project_of(tmp_path, trainer="at_once = 2\n", tuning="[fine_tuning]\nseeds = 4\n")
    (tmp_path / "hold").touch()
    first, other = run_of(project), run_of(project, key="cd" * 32)
    for run in (first, other, first):
        submit(run, data_of(TEXTS))
        assert len(under_way(project.home)) == 2
    (tmp_path / "hold").unlink()
    most = 0
    while not (first.has_ended and other.has_ended):
        for run in (first, other):
            submit(run, data_of(TEXTS))
            most = max(most, len(under_way(project.home)))
        time.sleep(0.02)
    assert most <= 2
    assert len(calls(project)) == len(set(calls(project))) == 1 + 4 + 4


def test_a_first_stage_without_a_checkpoint_ends_the_trial(tmp_path):
    project = project_of(tmp_path)
    (tmp_path / "train.py").write_text(FAKE.replace('"checkpoint": spec["output"]', '"checkpoint": None'))
    run, data = run_of(project, "two_stage"), data_of(TEXTS, TEXTS)
    submit(run, data)
    until(lambda: not run.running, "it runs")
    with pytest.raises(NoCheckpointError, match="names no checkpoint"):
        submit(run, data)


def test_a_trial_of_one_stage_needs_no_checkpoint(tmp_path):
    project = project_of(tmp_path)
    (tmp_path / "train.py").write_text(FAKE.replace('"checkpoint": spec["output"]', '"checkpoint": None'))
    run, data = run_of(project), data_of(TEXTS)
    trained(run, data)
    folder = project.home.checkpoints / "trials" / "t" / KEY[:16]
    finish(run, data, folder)
    assert [path.name for path in folder.iterdir()] == ["trainer.json"]


def test_a_noted_failure_is_submitted_from_nothing_and_another_seed_is_stopped(tmp_path):
    project = project_of(tmp_path, tuning="[fine_tuning]\nseeds = 2\n")
    fails = 'if mode == "exit"'
    (tmp_path / "train.py").write_text(FAKE.replace(fails, f"{fails} and spec['seed'] == 0"))
    (tmp_path / "train.py").write_text(
        (tmp_path / "train.py").read_text().replace('if mode == "hang"', 'if mode and spec["seed"] == 1')
    )
    (tmp_path / "mode.txt").write_text("exit")
    run, data = run_of(project), data_of(TEXTS)
    submit(run, data)
    until(lambda: run.has_ended, "nothing failed")
    assert [one.seed for one in run.running if one.stage is not None] == [1]
    run.give_up()
    assert [one for one in run.running if one.stage is not None] == []
    assert not run.has_ended
    (tmp_path / "mode.txt").write_text("")
    trained(run, data)
    ids = {row_of(example)["id"] for example in HELD_OUT}
    assert {row.id for row in run.chains[1][0].result(data.held_out).evaluations} == ids


def interrupt(one: Invocation) -> None:
    """End a run of the command and its supervisor at once, as a machine that is switched off does."""
    named = json.loads((one.folder / PROCESS).read_bytes())
    for name in ("supervisor", "command"):
        number = int(named[name].rsplit(":", 2)[1])
        os.kill(number, signal.SIGKILL)
        until(lambda number=number: not is_alive(number), "it lives")


def is_alive(number: int) -> bool:
    try:
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_an_interrupted_run_is_submitted_again_once_and_alone(tmp_path):
    project = project_of(tmp_path, tuning="[fine_tuning]\nseeds = 2\n")
    (tmp_path / "train.py").write_text(FAKE.replace('(root / "hold")', "(root / f\"hold-{spec['seed']}\")"))
    (tmp_path / "hold-1").touch()
    run, data = run_of(project), data_of(TEXTS)
    submit(run, data)
    ((first,), (other,)) = run.chains
    until(lambda: other.is_submitted and first.ended and run.before.ended, "they run on")
    interrupt(other)
    assert other.is_interrupted
    assert (other.has_failed, run.has_ended, run.waiting) == (False, False, [other])
    (other.folder / "output").mkdir()
    (other.folder / "output" / "half way").touch()
    submit(run, data)
    assert (other.folder / "output" / "half way").exists()
    assert run.running == [other]
    interrupt(other)
    assert other.has_failed
    assert run.has_ended
    with pytest.raises(TrainerFailedError, match="ended without an exit code"):
        run.results(data.held_out)
    assert calls(project).count(first.name) == 1
    run.give_up()
    (tmp_path / "hold-1").unlink()
    trained(run, data)
    assert [len(of_seed) for of_seed in run.results(data.held_out)] == [1, 1]


def test_a_run_of_the_base_model_that_was_interrupted_is_submitted_again(tmp_path):
    project = project_of(tmp_path)
    (tmp_path / "train.py").write_text(
        FAKE.replace('(root / "hold").exists()', '(root / "hold").exists() and not rows')
    )
    (tmp_path / "hold").touch()
    run, data = run_of(project), data_of(TEXTS)
    submit(run, data)
    until(lambda: run.chains[0][0].ended, "it runs on")
    interrupt(run.before)
    (tmp_path / "hold").unlink()
    trained(run, data)
    folder = project.home.checkpoints / "t"
    assert finish(run, data, folder).values["zero_shot_bits_per_byte"] > 0
    assert calls(project).count(run.chains[0][0].name) == 1


def test_a_result_counts_though_nobody_saw_the_end_of_its_run(tmp_path):
    project = project_of(tmp_path)
    (tmp_path / "train.py").write_text(f"{FAKE}\ntime.sleep(600)\n")
    run, data = run_of(project), data_of(TEXTS)
    submit(run, data)
    for one in invocations(run):
        until((one.folder / "result.json").exists, "no result")
        until(lambda one=one: (one.folder / "result.json").stat().st_size, "no result")
        interrupt(one)
    assert run.has_ended
    assert len(run.results(data.held_out)) == 1
    assert calls(project).count(run.chains[0][0].name) == 1


def test_a_run_that_erased_its_rows_may_have_copied_any_document(tmp_path):
    project = project_of(tmp_path)
    run, data = run_of(project), data_of(TEXTS)
    trained(run, data)
    given, unknown = row_of(TEXTS[0])["id"], "f" * 32
    assert list(folders_naming(project.home, [unknown])) == []
    assert list(folders_naming(project.home, [given])) == [run.folder]
    (run.chains[0][0].folder / "train.jsonl").unlink()
    assert list(erase_naming(project.home, [unknown])) == [run.folder]
    assert not run.folder.exists()


REWRITES = """
rows = (folder / "evaluate.jsonl").read_text().splitlines()
(folder / "evaluate.jsonl").write_text(rows[0])
answer = json.loads((folder / "result.json").read_text())
answer["evaluations"] = answer["evaluations"][:1]
(folder / "result.json").write_text(json.dumps(answer))
"""
PIPES = """
(folder / "evaluate.jsonl").unlink()
os.mkfifo(folder / "evaluate.jsonl")
"""


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (REWRITES, "2 of 3 ids are missing"),
        (PIPES, ""),
        ("import shutil; shutil.rmtree(folder)", "the folder of its spec"),
        ("(folder / 'evaluate.jsonl').unlink(); sys.exit(3)", "exit code 3"),
    ],
)
def test_what_a_single_run_is_measured_on_is_what_it_was_given(tmp_path, code, says):
    project = project_of(tmp_path)
    (tmp_path / "train.py").write_text(FAKE + code)
    one = Run(project=project, input_key=KEY, stage="mixture_runs", name="mix", seeds=[0])
    rows = Rows(examples=TEXTS[3:], tokens=9, steps=2)
    one.submit(Content(model="org/model", learning_rate=1e-3, held_out=TEXTS[:3], stages=[rows]))
    until(lambda: one.has_ended, "it does not end")
    if not says:
        assert read_run(one, tmp_path / "kept").outcomes.n_bytes == [len(text) for text in TEXTS[:3]]
        return
    with pytest.raises(TamisError, match=says):
        read_run(one, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()
