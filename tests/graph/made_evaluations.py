"""A project with two trained choices, a control from the pool and an evaluation of its own."""

from pathlib import Path

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
import json, pathlib, sys, time

checkpoint, out = map(pathlib.Path, sys.argv[1:])
assert (checkpoint / "model.safetensors").stat().st_size
assert not list(out.iterdir())
with pathlib.Path("calls").open("a") as calls:
    calls.write(f"{checkpoint.parent.name}\\n")
is_trained, is_more = checkpoint.parent.parent.name == "trials", "more" in checkpoint.parent.name
rows = [
    {"task": "kitchen", "example": number, "score": float(number < 5 + 2 * is_trained + is_more)}
    for number in range(10)
]
text = "".join(json.dumps(row | {"text": "A SECRET QUESTION"}) + "\\n" for row in rows)
trouble = pathlib.Path("trouble")
if is_more and trouble.exists():
    exec(trouble.read_text())
(out / "scores.jsonl").write_text(text)
"""
"""Beside it, a file `trouble` with code: what goes wrong with one of the two choices."""
TEXT = settings(
    corpus(),
    target("algebra", train=10, held_out=10),
    selection("few", "random", 10),
    selection("more", "random", 20),
    base_model(preset="llama-0.3m"),
    RECIPE,
)
TRAINED = frozenset({
    *("raw_shards", "documents", "near_duplicates", "target_examples", "contamination", "selected_subset"),
    *("tokenizer", "base_models", "trials"),
})  # fmt: skip
MADE = TRAINED | {"control_losses", "evaluations", "trained_choices"}
FEW, MORE = "warm-up__small__few", "warm-up__small__more"


def make(root: Path) -> None:
    """Make it in an empty folder."""
    project = plain_project(root, TEXT, {})
    pool = sentences("cooking", 40, 1) + sentences("sailing", 40, 2)
    write_jsonl(root / "documents" / "a.jsonl", pool)
    write_jsonl(root / "target" / "a.jsonl", sentences("algebra", 30, 3))
    (root / "evaluate.py").write_text(EVALUATE)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv(TRUST, "1")
        project.make(MADE)
    project.close()


def calls(project: SmallProject) -> list[str]:
    """Return the models that the command was run on, sorted."""
    return sorted((project.root / "calls").read_text().split())
