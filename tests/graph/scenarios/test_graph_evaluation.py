"""The user's own evaluation in the graph: its scores, its failures, and what asks for it again."""

import pytest
from made_evaluations import FEW, MADE, MORE, calls
from projects import SmallProject

from tamis.base.trust import TRUST, UntrustedError
from tamis.corpus import document_id
from tamis.graph.plan import full_plan
from tamis.report.choices import choice_lines
from tamis.report.summary import trial_lines
from tamis.training.tracking import open_tracker
from tamis.trust import asked_by
from tamis.verbs.status import read_status


def due(project: SmallProject) -> list[tuple[str, str]]:
    plan = full_plan(project.snapshot, project.current)
    return [(one.asset, one.partition) for one in plan if one.asset in MADE]


def versions(project: SmallProject) -> dict[tuple[str, str], str]:
    names = ("trials", "control_losses")
    return {entry: one.manifest for entry, one in project.current.items() if entry[0] in names}


def test_scores_are_stored_in_pairs_with_the_model_before_training(evaluated):
    rows = evaluated.store.read("evaluations").sort("trial")
    assert rows.select("trial", "task", "examples", "pairs", "score", "start_score").rows() == [
        (FEW, "kitchen", 10, 10, 0.7, 0.5),
        (MORE, "kitchen", 10, 10, 0.8, 0.5),
    ]
    assert rows["difference"].to_list() == pytest.approx([0.2, 0.3])
    assert (rows["difference_low"] < rows["difference"]).all()
    scores = evaluated.store.read("evaluation_scores")
    assert len(scores) == 20
    assert scores.filter(trial=FEW, example="6").select("score", "start_score").row(0) == (1.0, 0.0)
    assert calls(evaluated) == sorted(["small", FEW, MORE]), "the base model once"
    assert due(evaluated) == []


def test_scores_are_shown_beside_the_target_and_the_control(evaluated):
    run = evaluated.store.read("trials", ["mlflow_run"], f"trial = '{MORE}'").item()
    metrics = open_tracker(evaluated.project.tracking_uri).get_run(run).data.metrics
    assert metrics["evaluation.kitchen"] == 0.8
    [line] = [line for line in trial_lines(evaluated.project) if " on more" in line]
    assert "kitchen 0.500 -> 0.800 (+0.300, 95 % interval:" in line
    assert "; on the pool " in line
    lines = choice_lines(evaluated.project)
    assert any(line.startswith(f"{MORE}: target loss ") and "kitchen" in line for line in lines)
    # Both selections are random: the later one is what the other is compared with.
    [compared] = [line for line in lines if line.startswith("  less ")]
    assert "the pool " in compared
    assert "kitchen -0.100 (95 % interval:" in compared
    page = (evaluated.home.reports / "trained_choices.html").read_text()
    assert page.count("kitchen") >= 2
    assert MORE in page


def test_what_the_command_wrote_is_erased_and_its_texts_are_nowhere(evaluated):
    assert not list((evaluated.home.cache / "evaluations").iterdir())
    files = [path for path in evaluated.home.root.rglob("*") if path.is_file()]
    assert not [path for path in files if b"A SECRET QUESTION" in path.read_bytes()]


def test_another_command_or_file_evaluates_again_and_trains_nothing(evaluated):
    evaluated.make(MADE)
    before, asked = versions(evaluated), asked_by(evaluated.project)
    script = evaluated.root / "evaluate.py"
    script.write_text(script.read_text() + "# a change\n")
    assert due(evaluated) == [("evaluations", FEW), ("evaluations", MORE), ("trained_choices", "")]
    assert {one.digest for one in asked_by(evaluated.project)}.isdisjoint(one.digest for one in asked)
    evaluated.make(MADE)
    assert versions(evaluated) == before
    assert calls(evaluated) == sorted(["small", FEW, MORE] * 2)
    evaluated.reconfigure("time_limit = 300", "time_limit = 200")
    assert due(evaluated) == [], "a limit changes no score"
    evaluated.reconfigure("time_limit = 200", 'metric = "acc"')
    assert ("evaluations", FEW) in due(evaluated)


TROUBLES = {
    "import sys; print(rows); sys.exit(3)": "the command of [evaluation] ended with exit code 3; its",
    "sys.exit(0)": "the command wrote no file that ends with .jsonl or .json",
    "text = text[:-20]": "scores.jsonl, line 10: the line is no JSON; perhaps the file was not",
}


def test_trouble_with_one_checkpoint_is_said_and_holds_nothing_else_back(evaluated):
    script, trouble = evaluated.root / "evaluate.py", evaluated.root / "trouble"
    evaluated.make(MADE)
    before = versions(evaluated)
    for number, (code, said) in enumerate(TROUBLES.items()):
        script.write_text(f"{script.read_text()}# {number}\n")
        trouble.write_text(code)
        failed = evaluated.try_making(MADE).failed
        assert list(failed) == ["evaluations"]
        assert said in failed["evaluations"], code
        assert "SECRET" not in failed["evaluations"]
        assert due(evaluated) == [("evaluations", MORE), ("trained_choices", "")]
        assert len(evaluated.store.read("evaluation_scores").filter(trial=MORE)) == 10, "the last scores stay"
    assert read_status(evaluated.project).problems()
    trouble.unlink()
    evaluated.make(MADE)
    assert due(evaluated) == []
    assert versions(evaluated) == before, "nothing was trained again"
    assert not list((evaluated.home.cache / "evaluations").iterdir())


def test_a_command_that_hangs_is_ended_at_its_limit(evaluated):
    evaluated.reconfigure("time_limit = 300", "time_limit = 1")
    evaluated.reconfigure('"evaluate.py"', '"evaluate.py", "-v"')
    script = evaluated.root / "evaluate.py"
    script.write_text(script.read_text().replace("sys.argv[1:]", "sys.argv[2:]"))
    (evaluated.root / "trouble").write_text("time.sleep(600)")
    failed = evaluated.try_making(MADE, partitions={MORE}).failed
    assert "the command of [evaluation] was stopped at its time limit of 1 s" in failed["evaluations"]


def test_a_withdrawal_erases_what_a_failed_command_left(evaluated):
    evaluated.make(MADE)
    (evaluated.root / "trouble").write_text("(out / 'scores.jsonl').write_text(text); sys.exit(1)")
    script = evaluated.root / "evaluate.py"
    script.write_text(script.read_text() + "# a change\n")
    evaluated.try_making(MADE)
    left = [path for path in (evaluated.home.cache / "evaluations").rglob("*") if path.is_file()]
    assert any(b"A SECRET QUESTION" in path.read_bytes() for path in left)
    text = evaluated.store.read("documents", ["text"])["text"][0]
    evaluated.withdraw([document_id(text)])
    assert not [path for path in left if path.exists()]


def test_a_command_that_nobody_accepted_is_never_run(evaluated, tmp_path, monkeypatch):
    evaluated.make(MADE)
    monkeypatch.delenv(TRUST)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    script = evaluated.root / "evaluate.py"
    script.write_text(script.read_text() + "# a change\n")
    before = calls(evaluated)
    with pytest.raises(UntrustedError, match=r"runs `python evaluate\.py .* on this machine"):
        evaluated.try_making(MADE)
    for verb in ("plan", "status"):
        evaluated.tamis(verb, code=None)
    assert calls(evaluated) == before
    evaluated.tamis("trust")
    evaluated.make(MADE)
    assert len(calls(evaluated)) == len(before) + 3


def test_a_project_that_drops_its_evaluation_keeps_no_scores(evaluated):
    text = evaluated.text
    evaluated.configure(text[: text.index("[evaluation]")])
    evaluated.make(MADE - {"evaluations"})
    evaluated.make({"trials"})
    assert evaluated.store.count("evaluation_scores") == 0
    assert not any("kitchen" in line for line in choice_lines(evaluated.project))
