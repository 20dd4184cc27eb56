"""A project whose compared samplers a program trains, with all that comes before the comparison made."""

import json
from pathlib import Path

import polars as pl
import pytest
from fake_trainer import FAKE
from projects import (
    CORPUS,
    SmallProject,
    base_model,
    corpus,
    plain_project,
    score,
    sentences,
    settings,
    target,
    write_jsonl,
)
from trainer_projects import write_model

BEFORE = CORPUS | {"target_examples", "contamination", "token_counts", "base_models", "column_scores"}
WANTED = BEFORE | {"sampler_trials"}
COMPARED = """
[sampler_trials]
model = "given"
target = "goal"
samplers = ["score:edu"]
budgets = [8]
data_seeds = 2
training_seeds = 1
tokens = 1_000
held_out = 10

[trainer]
command = ["python", "train.py", "{spec}"]
at_once = 2
"""
RUNS = 2 * 3
TEXT = settings(
    corpus(),
    target(train=8, held_out=4),
    score("edu", "edu"),
    base_model("given", preset=None, path="model"),
    COMPARED,
)


def make_begun(root: Path) -> SmallProject:
    """Make it in an empty folder."""
    made = plain_project(root, TEXT, {})
    write_model(root / "model")
    (root / "train.py").write_text(FAKE)
    write_pool(made, 60)
    write_jsonl(root / "target" / "a.jsonl", sentences("algebra", 20, 2))
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TAMIS_TRUST", "1")
        made.make(BEFORE)
    made.close()
    return made


def write_pool(project: SmallProject, count: int) -> None:
    rows = [{"text": text, "edu": place} for place, text in enumerate(sentences("cooking", count, 1))]
    folder = project.root / "documents"
    folder.mkdir(exist_ok=True)
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def calls(project: SmallProject) -> list[str]:
    path = project.root / "calls.txt"
    return path.read_text().split() if path.exists() else []


def runs_of(project: SmallProject) -> pl.DataFrame:
    return project.store.read("sampler_trials")
