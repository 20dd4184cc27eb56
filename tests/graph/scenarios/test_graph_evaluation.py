"""The user's own evaluation in the graph: its scores, its failures, and what asks for it again."""

from collections.abc import Iterator

import pytest
from projects import (
    SmallProject,
    base_model,
    corpus,
    plain_project,
    selection,
    sentences,
    settings,
    target,
    write_jsonl,
)

from tamis.base.trust import TRUST
from tamis.graph.plan import full_plan
from tamis.report.summary import trial_lines
from tamis.training.tracking import open_tracker

RECIPE = """
[pretraining]
tokens = 1_000
vocabulary = 512
sequence_length = 32

[fine_tuning]
epochs = 1
sequence_length = 32

[comparison]
model = "small"
selections = ["few", "more"]

[evaluation]
command = ["python", "evaluate.py", "{checkpoint}", "{out}"]
time_limit = 300
"""
EVALUATE = """
import json, pathlib, sys
checkpoint, out = map(pathlib.Path, sys.argv[1:])
size = (checkpoint / "model.safetensors").stat().st_size
assert size and (checkpoint / "tokenizer.json").is_file()
assert not list(out.iterdir())
with pathlib.Path("calls").open("a") as calls:
    calls.write(f"{checkpoint.parent.name}\\n")
is_trained = checkpoint.parent.parent.name == "trials"
more = "more" in checkpoint.parent.name
with (out / "scores.jsonl").open("w") as file:
    for number in range(10):
        score = float(number < (5 + 2 * is_trained + more))
        row = {"task": "kitchen", "example": number, "score": score, "text": "A SECRET QUESTION"}
        file.write(json.dumps(row) + "\\n")
"""
TEXT = settings(
    corpus(),
    target("algebra", train=10, held_out=10),
    selection("few", "random", 10),
    selection("more", "random", 20),
    base_model(preset="llama-0.3m"),
    RECIPE,
)
TRAINED = {
    *("raw_shards", "documents", "near_duplicates", "target_examples", "contamination", "selected_subset"),
    *("tokenizer", "base_models", "trials"),
}
MADE = TRAINED | {"evaluations", "control_losses", "trained_choices"}
FEW, MORE = "warm-up__small__few", "warm-up__small__more"


def due(project: SmallProject) -> list[tuple[str, str]]:
    plan = full_plan(project.snapshot, project.current)
    return [(one.asset, one.partition) for one in plan if one.asset in MADE]


def calls(project: SmallProject) -> list[str]:
    file = project.root / "calls"
    return file.read_text().split() if file.exists() else []


@pytest.fixture(autouse=True)
def _accepted(monkeypatch):
    monkeypatch.setenv(TRUST, "1")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Iterator[SmallProject]:
    project = plain_project(tmp_path_factory.mktemp("evaluation") / "project", TEXT, {})
    pool = sentences("cooking", 40, 1) + sentences("sailing", 40, 2)
    write_jsonl(project.root / "documents" / "a.jsonl", pool)
    write_jsonl(project.root / "target" / "a.jsonl", sentences("algebra", 30, 3))
    (project.root / "evaluate.py").write_text(EVALUATE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(TRUST, "1")
        project.make(MADE)
    print(project.said)
    yield project
    project.close()


@pytest.fixture
def project(made, tmp_path, nowhere) -> Iterator[SmallProject]:
    copied = made.copy(tmp_path / "copied")
    yield copied
    copied.close()


def test_scores_are_stored_in_pairs_with_the_model_before_training(made):
    rows = made.store.read("evaluations").sort("trial")
    assert rows.select("trial", "task", "examples", "pairs", "score", "start_score").rows() == [
        (FEW, "kitchen", 10, 10, 0.7, 0.5),
        (MORE, "kitchen", 10, 10, 0.8, 0.5),
    ]
    assert rows["difference"].to_list() == pytest.approx([0.2, 0.3])
    assert (rows["difference_low"] < rows["difference"]).all()
    scores = made.store.read("evaluation_scores")
    assert len(scores) == 20
    assert scores.filter(trial=FEW, example="6").select("score", "start_score").row(0) == (1.0, 0.0)
    assert sorted(calls(made)) == sorted(["small", FEW, MORE]), "the base model once"
    assert due(made) == []


def test_mlflow_and_the_summary_show_them(made):
    run = made.store.read("trials", ["mlflow_run"], f"trial = '{MORE}'").item()
    metrics = open_tracker(made.project.tracking_uri).get_run(run).data.metrics
    assert metrics["evaluation.kitchen"] == 0.8
    [line] = [line for line in trial_lines(made.project) if " on more" in line]
    assert "kitchen 0.500 -> 0.800 (+0.300, 95 % interval:" in line


def test_what_the_command_wrote_is_erased_and_its_texts_are_nowhere(made):
    assert not list((made.home.cache / "evaluations").iterdir())
    files = [path for path in made.home.root.rglob("*") if path.is_file()]
    assert not [path for path in files if b"A SECRET QUESTION" in path.read_bytes()]
