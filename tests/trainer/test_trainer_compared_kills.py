"""Kills and faults while compared runs and runs of mixtures are planned, trained and recorded."""

import json
import re
from collections.abc import Collection
from pathlib import Path

import pytest
from compared_project import RUNS, WANTED, make_begun
from faulty_trainer import FAULTS, RUN
from parts import in_parts
from projects import SmallProject
from test_trainer_faults import none_left
from test_trainer_kills import MOST_ATTEMPTS, TRAINER, killed_while_made, lines_of
from test_trainer_mixture import DESIGN, make_designed
from test_trainer_mixture import RUNS as MIXTURES


def check(project: SmallProject, wanted: Collection[str], part: int) -> None:
    """Kill what makes these assets, and then make them."""
    (project.root / "train.py").write_text(TRAINER)
    done, refused = killed_while_made(project, wanted, part)
    for _ in range(MOST_ATTEMPTS):
        outcome = project.try_making(wanted)
        if not outcome.failed:
            break
    assert not outcome.failed, (done, outcome.failed)
    answers = lines_of(project.root / "answers.txt")
    assert max(answers.count(name) for name in answers) <= 1 + refused, (done, answers)
    assert list((project.home.cache / "trainer").glob("*")) == []
    none_left(project.project)
    assert project.audit().status != "red"
    assert not project.make(wanted).made


@pytest.mark.slow
@in_parts(6)
def test_after_kills_compared_runs_are_whole_and_none_was_trained_twice(
    tmp_path: Path, nowhere, monkeypatch, part
):
    monkeypatch.setenv("TAMIS_TRUST", "1")
    project = make_begun(tmp_path / "begun").copy(tmp_path / "project")
    check(project, WANTED, part)
    rows = project.store.read("sampler_trials")
    assert len(rows) == rows["failure"].null_count() == RUNS


@pytest.mark.slow
@in_parts(4)
def test_after_kills_runs_of_a_mixture_are_whole_and_none_was_trained_twice(
    tmp_path: Path, nowhere, encoder_cache, monkeypatch, part
):
    monkeypatch.setenv("TAMIS_TRUST", "1")
    project = make_designed(tmp_path / "begun", encoder_cache).copy(tmp_path / "project")
    check(project, DESIGN | {"mixture_runs", "mixture_losses"}, part)
    losses = project.store.read("mixture_losses")
    assert len(losses) == MIXTURES
    assert losses["bits_per_byte"].null_count() == 0


ANYWHERE = (
    *("137", "hangs and hears no SIGTERM", "a pipe", "no ids", "changes the spec"),
    *("a folder that links elsewhere", "ends its supervisor and fails", "erases the folder around its own"),
    *(
        "erases the folder around its own at once",
        "erases the rows",
        "ends its supervisor",
        "a pipe for its log",
    ),
)
"""Faults that end in different places."""


@pytest.mark.slow
@pytest.mark.parametrize("name", ANYWHERE)
@pytest.mark.parametrize("stage", ["sampler_trials", "mixture_runs"])
def test_a_fault_leaves_a_reason_and_no_record(tmp_path, nowhere, encoder_cache, monkeypatch, stage, name):
    monkeypatch.setenv("TAMIS_TRUST", "1")
    fault, begun, count = FAULTS[name], tmp_path / "begun", RUNS
    if stage == "sampler_trials":
        wanted, project = WANTED, make_begun(begun).copy(tmp_path / "project")
    else:
        wanted, count = DESIGN | {"mixture_runs", "mixture_losses"}, MIXTURES
        project = make_designed(begun, encoder_cache).copy(tmp_path / "project")
    (project.root / "train.py").write_text(RUN)
    (project.root / "fault.json").write_text(json.dumps({"code": fault.code, "seed": 1}))
    if fault.permanent:
        project.reconfigure("at_once =", 'time_limit = "1s"\nat_once =')
    failed = project.try_making(wanted).failed
    none_left(project.project)
    if fault.says:
        assert re.search(fault.says, failed[stage]), failed
        assert project.store.read(stage).is_empty()
        assert project.audit().status != "red"
        (project.root / "fault.json").write_text(json.dumps({"code": "", "seed": 1}))
        if fault.permanent:
            project.reconfigure('time_limit = "1s"\n', "")
        failed = project.try_making(wanted).failed
    assert not failed
    assert len(project.store.read(stage)) == count
    assert list((project.home.cache / "trainer").glob("*")) == []
