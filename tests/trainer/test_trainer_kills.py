"""Kills while trials are submitted, train, are recorded and erased: nothing lost, nothing trained twice."""

import contextlib
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Collection
from pathlib import Path

import psutil
import pytest
from parts import in_parts
from projects import SmallProject
from test_trainer_faults import none_left
from test_trainer_trials import TRIALS, WANTED, project_of

from tamis.base.own_command import PROCESS
from tamis.store.home import writing
from tamis.trainer.runs import under_way
from tamis.training.failures import failures_of

TRAINER = r"""
import json, sys, time
from pathlib import Path

path = Path(sys.argv[1])
folder, spec = path.parent, json.loads(path.read_text())
with open("calls.txt", "a") as calls:
    calls.write(spec["run"] + "\n")
time.sleep(0.3)
evaluations = []
for line in (folder / spec["evaluate"]).read_text().splitlines():
    row = json.loads(line)
    size = len(row["text"].encode())
    evaluations.append({"id": row["id"], "nats": size / (1 + spec["steps"]), "tokens": size, "bytes": size})
(folder / spec["output"]).mkdir(exist_ok=True)
(folder / spec["output"] / "model.bin").write_bytes(b"weights")
answer = {"run": spec["run"], "seed": spec["seed"], "seconds": 0.3, "tokens": spec["tokens"]}
answer |= {"checkpoint": spec["output"], "evaluations": evaluations}
draft = folder / "result.draft"
draft.write_text(json.dumps(answer))
draft.replace(folder / spec["result"])
with open("answers.txt", "a") as answers:
    answers.write(spec["run"] + "\n")
"""
KINDS = ("tamis", "tamis", "supervisor", "command", "all")
KILLS = 4
MOST_ATTEMPTS = 3
"""Of the commands after the kills: one that notes a failure, one that trains again, and one more."""


def kill(numbers: list[int]) -> None:
    for number in numbers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    for number in numbers:
        with contextlib.suppress(psutil.Error):
            while psutil.Process(number).status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.01)


def of_runs(project: SmallProject, name: str) -> list[int]:
    """Return the supervisors, or the commands, of the runs under way."""
    numbers = []
    for folder in under_way(project.home):
        with contextlib.suppress(OSError, ValueError, KeyError):
            numbers.append(int(json.loads((folder / PROCESS).read_bytes())[name].rsplit(":", 2)[1]))
    return numbers


def lines_of(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def killed_while_made(project: SmallProject, wanted: Collection[str], part: int) -> tuple[list[str], int]:
    """Begin `tamis materialize` again and again, each time with a kill.

    Return what was killed, and how often a command that its supervisor saw: its result is refused.
    """
    draw = random.Random(part)
    command = project.command("materialize", "--only", *sorted(wanted))
    done, refused = [], 0
    for _ in range(KILLS):
        before = len(lines_of(project.root / "calls.txt"))
        with (project.root.parent / "said.txt").open("ab") as said:
            process = subprocess.Popen(
                command, cwd=project.root, env=project.environment, stdout=said, stderr=said
            )
            # Half of the kills come after a run has begun: most of the time before is that of imports.
            waits = draw.random() < 0.5
            while waits and process.poll() is None and len(lines_of(project.root / "calls.txt")) == before:
                time.sleep(0.01)
            time.sleep(draw.uniform(0, 1.5 if waits else 6))
            kind = draw.choice(KINDS)
            done.append(kind)
            if kind in ("tamis", "all"):
                kill([process.pid])
            if kind in ("supervisor", "all"):
                kill(of_runs(project, "supervisor"))
            if kind in ("command", "all"):
                commands = of_runs(project, "command")
                refused += kind == "command" and bool(commands)
                kill(commands)
            process.wait()
    return done, refused


@pytest.mark.slow
@in_parts(8)
def test_after_kills_at_any_moment_nothing_is_lost_and_none_trained_twice(
    tmp_path, nowhere, monkeypatch, part
):
    monkeypatch.setenv("TAMIS_TRUST", "1")
    project = project_of(tmp_path / "project")
    (project.root / "train.py").write_text(TRAINER)
    project.make(WANTED - {"trials"})
    done, refused = killed_while_made(project, WANTED, part)
    for _ in range(MOST_ATTEMPTS):
        outcome = project.try_making(WANTED)
        if not outcome.failed:
            break
    assert not outcome.failed, (done, outcome.failed)
    rows = {row["trial"]: row for row in project.store.read("trials").iter_rows(named=True)}
    assert sorted(rows) == sorted(TRIALS), done
    answers = lines_of(project.root / "answers.txt")
    assert max(answers.count(name) for name in answers) <= 1 + refused, (done, answers)
    for row in rows.values():
        assert (project.home.root / row["checkpoint"] / "trainer.json").is_file()
    assert list((project.home.cache / "trainer").glob("*")) == []
    with writing(project.home, "a test"):
        assert failures_of(project.store) == [] or refused or "supervisor" in done or "all" in done
    none_left(project.project)
    assert project.audit().status != "red"
    assert not project.make(WANTED).made
