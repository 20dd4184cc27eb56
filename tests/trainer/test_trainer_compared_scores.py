"""Compared runs by the user's evaluation: scores of each run's checkpoint, in pairs with random."""

from collections.abc import Iterator

import pytest
from compared_project import RUNS, WANTED, calls, make_begun, runs_of
from projects import SmallProject

from tamis.comparison.analysis import stored_report
from tamis.comparison.claims import sentences
from tamis.report.comparison import comparison_text

EVALUATION = """
[evaluation]
command = ["python", "evaluate.py", "{checkpoint}", "{out}"]
"""
EVALUATE = """
import json, pathlib, sys

checkpoint, out = map(pathlib.Path, sys.argv[1:])
assert (checkpoint / "model.safetensors").stat().st_size
if pathlib.Path("broken").exists():
    sys.exit(4)
with pathlib.Path("evaluated").open("a") as file:
    file.write(checkpoint.name + "\\n")
runs = json.loads((checkpoint / "trainer.json").read_text())["runs"]
rows = [{"task": "quiz", "example": n, "score": n / 10 + runs[0]["spec"]["seed"] % 7} for n in range(6)]
(out / "scores.jsonl").write_text("".join(json.dumps(row) + "\\n" for row in rows))
"""


@pytest.fixture(scope="module")
def begun(tmp_path_factory) -> SmallProject:
    return make_begun(tmp_path_factory.mktemp("compared") / "project")


@pytest.fixture
def project(begun, tmp_path, nowhere, monkeypatch) -> Iterator[SmallProject]:
    monkeypatch.setenv("TAMIS_TRUST", "1")
    made = begun.copy(tmp_path / "project")
    (made.root / "evaluate.py").write_text(EVALUATE)
    made.configure(made.text + EVALUATION)
    yield made
    made.close()


def report(project: SmallProject):
    return stored_report(project.store, project.project.settings, 0)


def test_each_run_is_evaluated_once_and_compared_by_example(project):
    assert not project.make(WANTED).failed
    scores = project.store.read("sampler_trials_scores")
    assert set(scores["run"]) == set(runs_of(project)["run"])
    assert len(scores) == 6 * RUNS
    assert len((project.root / "evaluated").read_text().split()) == RUNS
    assert list((project.home.cache / "compared").glob("*")) == [], "checkpoints are erased"
    found = report(project)
    assert found.without_score == 0
    for one in found.scores["quiz"].contrasts:
        # Scores follow from the seed, which all samplers of a pair share: so in pairs nothing is left.
        assert one.difference == pytest.approx(0)
        assert one.pairs == 2
    lines = comparison_text(found)
    assert "quiz score" in lines[0]
    assert "No difference from random is proven in the scores on quiz." in lines


def test_an_evaluation_that_fails_loses_no_run_and_trains_nothing_again(project):
    (project.root / "broken").touch()
    failed = project.try_making(WANTED).failed
    assert "the command of [evaluation] ended with exit code 4" in failed["sampler_trials"]
    assert len(runs_of(project)) == RUNS
    (project.root / "broken").unlink()
    assert not project.make(WANTED).failed
    assert len(calls(project)) == RUNS
    assert project.store.count("sampler_trials_scores") == 6 * RUNS


def test_runs_of_before_an_evaluation_count_as_not_evaluated(project):
    project.reconfigure(EVALUATION, "")
    project.make(WANTED)
    project.configure(project.text + EVALUATION)
    project.make(WANTED)
    assert len(calls(project)) == RUNS
    found = report(project)
    assert (found.scores, found.without_score) == ({}, RUNS)
    assert any(line.startswith(f"Evaluation: {RUNS} runs of {RUNS} without") for line in sentences(found))
