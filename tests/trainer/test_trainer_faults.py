"""Runs of a trainer that fails in any way: a sentence, nothing recorded, room for the next, nothing left."""

import json
import math
import random
import re
import shutil
import time
from dataclasses import replace
from functools import partial

import psutil
import pytest
from faulty_trainer import FAULTS, RUN, Fault
from parts import in_parts
from projects import base_model, plain_project, settings

from tamis.base.errors import PermanentError, TamisError
from tamis.base.own_command.supervisor import MARK
from tamis.project import Project
from tamis.trainer import runs
from tamis.trainer.runs import Run, erase_unused, room, trainer_folder, under_way
from tamis.trainer.trials import TrialData, read_trial, trial_content, trial_run
from tamis.training.examples import Pair
from tamis.training.planned import Trial
from tamis.training.trainings import TrainingStage

AT_ONCE = 3
KEY = "ab" * 32
EXAMPLES = [Pair(prompt=f"ask {number}", response="say " * (1 + number)) for number in range(9)]
DATA = TrialData(
    base="org/model",
    stages=[TrainingStage(data="data", digest="d", doc_ids=["x"], examples=EXAMPLES[:4])],
    held_out=EXAMPLES[4:],
    validation=[],
    zero_shot_key="zero",
    expected_tokens=None,
)
CORE = (
    "nothing",
    "137",
    "a crash after it has answered",
    "hangs and hears no SIGTERM",
    "a daemon outlives it",
    "ends its supervisor",
    "part of the result",
    "a pipe",
    "missing ids",
    "a loss that is no number",
    "a checkpoint elsewhere",
    "weights that are cut off",
    "erases its folder",
    "erases the folder around its own",
    "a pipe for its log",
    "changes the spec and answers it",
    "locks its folder",
)
"""Faults of `make test`; the long suite has all of them."""
FAST = [pytest.param(name, marks=() if name in CORE else pytest.mark.slow) for name in FAULTS]


@pytest.fixture
def project(tmp_path, nowhere, monkeypatch) -> Project:
    monkeypatch.setenv("TAMIS_TRUST", "1")
    monkeypatch.setattr(runs, "start", partial(runs.start, grace=0.3))
    model = base_model("given", preset=None, path="org/model")
    trainer = f'[trainer]\ncommand = ["python", "train.py", "{{spec}}"]\nat_once = {AT_ONCE}\n'
    (tmp_path / "train.py").write_text(RUN)
    return plain_project(tmp_path, settings(model, trainer)).project


TRIAL = Trial(name="law__given__4", model="given", kind="law", data="goal", size=4)


def run_of(project: Project) -> Run:
    return trial_run(project, TRIAL, KEY)


def set_fault(project: Project, fault: Fault, seed: int = 0) -> None:
    (project.root / "fault.json").write_text(json.dumps({"code": fault.code, "seed": seed}))


def ended(run: Run) -> None:
    deadline = time.monotonic() + 120
    while not run.has_ended:
        assert time.monotonic() < deadline, "it does not end"
        run.submit(trial_content(run.project, TRIAL, DATA))
        time.sleep(0.02)


def left_over(project: Project) -> list[psutil.Process]:
    """Processes of the runs of a project: those that name its folder, and those that a run has marked."""
    processes = []
    for process in psutil.process_iter():
        try:
            is_of = any(str(project.root) in word for word in process.cmdline())
            is_of |= MARK in process.environ() and process.environ().get("PWD") == str(project.root)
            is_of |= str(project.root) in process.environ().get("TMPDIR", "")
            if is_of and process.status() != psutil.STATUS_ZOMBIE:
                processes.append(process)
        except (psutil.Error, OSError):
            continue
    return processes


def none_left(project: Project) -> None:
    deadline = time.monotonic() + 60
    while processes := left_over(project):
        assert time.monotonic() < deadline, processes
        time.sleep(0.05)


def calls(project: Project) -> list[str]:
    return [name for name in (project.root / "calls.txt").read_text().split() if "before" not in name]


def check(project: Project, fault: Fault, seed: int) -> None:
    """Run a trainer with a fault, and then one without it."""
    folder = project.home.checkpoints / "trials" / "t" / KEY[:16]
    run = run_of(project)
    set_fault(project, fault, seed)
    if fault.permanent:
        # The time limit is for the run that hangs; others may be slow on a busy machine.
        section = project.settings.trainer.model_copy(update={"time_limit": 1.0})
        limited = project.settings.model_copy(update={"trainer": section})
        run = run_of(replace(project, settings=limited))
    ended(run)
    if fault.says:
        with pytest.raises(TamisError) as raised:
            run.results(DATA.held_out)
        reason = str(raised.value)
        assert re.search(fault.says, reason), reason
        assert isinstance(raised.value, PermanentError) is fault.permanent
        assert "say say" not in reason
        assert not folder.exists()
        run.give_up()
        assert not run.is_submitted
        none_left(project)
        assert room(project) == AT_ONCE
        set_fault(project, FAULTS["nothing"])
        run = run_of(project)
        ended(run)
    finished = read_trial(run, TRIAL, DATA, run.results(DATA.held_out), folder)
    none_left(project)
    assert len(calls(project)) == (fault.runs + 1 if fault.says else 1)
    assert finished.values["held_out_bits_per_byte"] == pytest.approx(_expected(run))
    assert [path.name for path in sorted(folder.iterdir()) if path.name != "x"] == [
        *("config.json", "model.safetensors", "trainer.json")
    ]
    assert not any(path.is_symlink() for path in folder.rglob("*"))
    run.erase()
    erase_unused(project.home)
    assert list(trainer_folder(project.home).iterdir()) == []
    assert under_way(project.home) == []
    none_left(project)


def _expected(run: Run) -> float:
    return 1 / (1 + math.log1p(run.chains[0][0].spec.steps * 4)) / math.log(2)


@pytest.mark.parametrize("name", FAST)
def test_a_fault_costs_its_run_and_no_other(project, name):
    check(project, FAULTS[name], seed=list(FAULTS).index(name))


@pytest.mark.slow
@in_parts(20)
def test_faults_drawn_by_seed_cost_their_runs_and_no_others(project, part):
    draw = random.Random(part)
    for name in draw.sample(sorted(FAULTS), 4):
        check(project, FAULTS[name], seed=draw.randrange(10**6))
        (project.root / "calls.txt").unlink()
        for path in (project.home.checkpoints, project.home.cache / "zero_shot"):
            shutil.rmtree(path, ignore_errors=True)
