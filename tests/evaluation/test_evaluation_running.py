"""Running the command of [evaluation] on a checkpoint: what it is given, and what makes its answer count."""

from pathlib import Path

import pytest
from projects import corpus, plain_project, settings

from tamis.evaluation.running import (
    Evaluated,
    EvaluationChangedError,
    evaluate_checkpoint,
    forget_evaluation,
)
from tamis.plugins.commands import command_files
from tamis.project import Project

COMMAND = '\n[evaluation]\ncommand = ["python", "evaluate.py", "{checkpoint}", "{out}"]\n'
EVALUATE = """
import json, pathlib, sys

score = 1
out = pathlib.Path(sys.argv[2])
(out / "scores.jsonl").write_text(json.dumps({"task": "a", "example": 1, "score": score}))
"""
EDITS = 'script = pathlib.Path("evaluate.py"); script.write_text(script.read_text() + "# edited")\n'


@pytest.fixture
def project(tmp_path, nowhere) -> Project:
    made = plain_project(tmp_path, settings(corpus(), COMMAND))
    (tmp_path / "evaluate.py").write_text(EVALUATE)
    return made.project


def evaluated(project: Project, checkpoint: Path) -> Evaluated:
    files = command_files(project.settings.evaluation.command, project.root)
    return Evaluated(name="trial", checkpoint=str(checkpoint), key="f" * 64, files=files)


def test_a_command_is_run_once_until_its_scores_are_recorded(project, tmp_path):
    asked = evaluated(project, tmp_path)
    for _ in range(2):
        assert evaluate_checkpoint(project, asked).rows() == [("a", "1", 1.0)]
    (log,) = (project.home.cache / "evaluations").rglob("log.txt")
    forget_evaluation(project, asked)
    assert not log.exists()


def test_a_file_that_changed_since_the_step_began_is_not_run(project, tmp_path):
    asked = evaluated(project, tmp_path)
    script = tmp_path / "evaluate.py"
    script.write_text(EVALUATE.replace("score = 1", "score = 2"))
    with pytest.raises(EvaluationChangedError, match=r"evaluate\.py changed while the run went on; run it"):
        evaluate_checkpoint(project, asked)
    assert not (project.home.cache / "evaluations").exists()
    script.unlink()
    with pytest.raises(EvaluationChangedError):
        evaluate_checkpoint(project, asked)


def test_scores_of_a_file_that_changes_while_it_runs_do_not_count(project, tmp_path):
    (tmp_path / "evaluate.py").write_text(EVALUATE + EDITS)
    asked = evaluated(project, tmp_path)
    with pytest.raises(EvaluationChangedError):
        evaluate_checkpoint(project, asked)
    (tmp_path / "evaluate.py").write_text(EVALUATE.replace("score = 1", "score = 2"))
    assert evaluate_checkpoint(project, evaluated(project, tmp_path)).rows() == [("a", "1", 2.0)]
