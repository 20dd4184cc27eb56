"""Faults of a trainer in the graph: what is recorded, what the audit and the status say, and the next run."""

import json
import re
import threading

import pytest
from faulty_trainer import FAULTS, RUN
from projects import SmallProject
from test_trainer_faults import none_left
from test_trainer_trials import TRIALS, WANTED, folders, project_of, submitted_by_hand, trainings, until

from tamis.graph.automation import next_groups
from tamis.graph.submissions import Submissions, wait_for_trainer
from tamis.store.home import writing
from tamis.trainer.runs import run_folders, under_way
from tamis.training.failures import failures_of
from tamis.verbs.status import read_status

CORE = ("erases its folder at once",)
OTHERS = (
    *("137", "hangs and hears no SIGTERM", "a pipe", "missing ids", "a loss of all that is too large"),
    *("changes the spec and answers it", "a folder that links elsewhere", "ends its supervisor and fails"),
)
"""Faults that end in different places; all others are tried without a graph (test_trainer_faults.py)."""


@pytest.fixture
def project(tmp_path, nowhere, monkeypatch) -> SmallProject:
    monkeypatch.setenv("TAMIS_TRUST", "1")
    project = project_of(tmp_path / "project")
    project.reconfigure("sizes = [4, 8]", "sizes = [4]")
    return project


def set_fault(project: SmallProject, name: str) -> None:
    (project.root / "fault.json").write_text(json.dumps({"code": FAULTS[name].code, "seed": 1}))


@pytest.mark.parametrize("name", [*CORE, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)])
def test_a_fault_leaves_a_reason_and_no_record(project, name):
    (project.root / "train.py").write_text(RUN)
    if FAULTS[name].permanent:
        project.reconfigure("at_once = 4", 'at_once = 4\ntime_limit = "1s"')
    set_fault(project, name)
    outcome = project.try_making(WANTED)
    assert re.search(FAULTS[name].says, outcome.failed["trials"])
    (failure,) = failures_of(project.store)
    assert failure.permanent is FAULTS[name].permanent
    assert project.store.read("trials").is_empty()
    assert project.store.read("trained_on").is_empty()
    assert failure.line in read_status(project.project).problems()
    assert project.audit().status == "green"
    assert under_way(project.home) == []
    none_left(project.project)
    with writing(project.home, "a test"):
        pass
    set_fault(project, "nothing")
    project.reconfigure('\ntime_limit = "1s"', "") if FAULTS[name].permanent else None
    assert project.try_making(WANTED, try_again=True).made == {"trials": 1}
    assert len(trainings(project)) == FAULTS[name].runs + 1
    assert folders(project) == []
    assert project.audit().status == "green"
    assert not project.make(WANTED).made


def test_a_run_that_ends_before_it_is_waited_for_is_not_missed(project):
    project.make(WANTED - {"trials"})
    snapshot, current = project.snapshot, project.current
    (group,) = next_groups(snapshot, current, {("trials", TRIALS[0])}, refit=False)
    submissions = Submissions(project=project.project, snapshot=snapshot, current=current)
    ended, running = submissions.first([group])
    assert ended is None
    assert sorted(running) == run_folders(project.home)
    until(lambda: not under_way(project.home), "they run on")
    waiting = threading.Thread(
        target=wait_for_trainer, args=(project.home, running, lambda line: None), daemon=True
    )
    waiting.start()
    waiting.join(timeout=60)
    assert not waiting.is_alive()
    assert submissions.first([group]) == (group, None)
    assert submissions.first([]) == (None, None)


def test_the_status_has_a_line_for_each_trial_in_training(tmp_path, nowhere, monkeypatch):
    monkeypatch.setenv("TAMIS_TRUST", "1")
    project = project_of(tmp_path / "project")
    assert read_status(project.project).in_training == []
    (project.root / "hold").touch()
    submitted_by_hand(project)
    status = read_status(project.project)
    assert [entry.name for entry in status.in_training] == [f"trial {trial}" for trial in sorted(TRIALS)]
    lines = "\n".join(status.lines())
    for trial in TRIALS:
        assert re.search(rf"trial {trial}: 1 run in training, submitted .* ago; time limit .*: 24 h", lines)
    assert {entry["running"] for entry in status.to_json()["in_training"]} == {1}
    (project.root / "hold").unlink()
    until(lambda: not under_way(project.home), "they run on")
    (first, other) = read_status(project.project).in_training
    assert "nothing of it trains now, and `tamis materialize`" in first.line
    assert (first.running, other.running) == (0, 0)
    assert len(run_folders(project.home)) == 3
    project.make(WANTED)
    assert read_status(project.project).in_training == []
