"""Kills while compared runs and runs of mixtures are planned, submitted, train and are recorded."""

from collections.abc import Collection
from pathlib import Path

import pytest
from compared_project import RUNS, WANTED, make_begun
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
    project = make_begun(tmp_path / "project")
    check(project, WANTED, part)
    rows = project.store.read("sampler_trials")
    assert len(rows) == rows["failure"].null_count() == RUNS


@pytest.mark.slow
@in_parts(4)
def test_after_kills_runs_of_a_mixture_are_whole_and_none_was_trained_twice(
    tmp_path: Path, nowhere, encoder_cache, monkeypatch, part
):
    monkeypatch.setenv("TAMIS_TRUST", "1")
    project = make_designed(tmp_path / "project", encoder_cache)
    check(project, DESIGN | {"mixture_runs", "mixture_losses"}, part)
    losses = project.store.read("mixture_losses")
    assert len(losses) == MIXTURES
    assert losses["bits_per_byte"].null_count() == 0
