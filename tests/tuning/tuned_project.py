"""A project that searches for a recipe on a command whose losses follow from a surface in a file."""

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from projects import (
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

from tamis.graph.stages import ancestors

SURFACE = r"""
import hashlib, json, math, random, sys, time
from pathlib import Path

folder, root = Path(sys.argv[1]).parent, Path.cwd()
spec, surface = json.loads(Path(sys.argv[1]).read_text()), json.loads((root / "surface.json").read_text())
with (root / "calls.txt").open("a") as calls:
    calls.write(spec["run"] + "\n")
while (root / "hold").exists():
    time.sleep(0.05)
rows = [json.loads(line) for line in (folder / spec["train"]).read_text().splitlines()]
seen = hashlib.sha256("".join(row["id"] for row in rows).encode()).hexdigest()
draw = random.Random(f"{spec['seed']} {spec['learning_rate']} {seen}")
held_out = [json.loads(line) for line in (folder / spec["evaluate"]).read_text().splitlines()]
given = {"run": spec["run"], "train": [r["id"] for r in rows], "evaluate": [r["id"] for r in held_out]}
with (root / "given.jsonl").open("a") as file:
    file.write(json.dumps(given) + "\n")
mode = surface.get("mode", "")
if mode == "half" and int(hashlib.sha256(spec["run"].encode()).hexdigest(), 16) % 2:
    sys.exit(3)
if mode == "fail":
    sys.exit(3)
goal = set(surface["words"].split())
words = [word.lower() for row in rows for word in row["text"].split()]
useful = sum(word in goal for word in words) / max(len(words), 1)
tried = abs(math.log(spec["learning_rate"] / surface["rate"]))
loss = 3.0 - surface["effect"] * useful + surface["slope"] * tried
loss -= 0.1 * math.log(max(spec["tokens"], 1) / 1e5)
loss += surface["seeds"] * random.Random(spec["seed"]).gauss(0, 1) + surface["noise"] * draw.gauss(0, 1)
evaluations = []
for row in held_out:
    own = random.Random(f"{row['id']} {spec['seed']}").gauss(0, surface["examples"])
    bits = (loss + own) * len(row["text"].encode())
    evaluations.append(
        {"id": row["id"], "nats": bits * math.log(2), "tokens": 10, "bytes": len(row["text"].encode())}
    )
result = {
    "run": spec["run"], "seed": spec["seed"], "seconds": 4.0, "tokens": spec["tokens"],
    "evaluations": evaluations,
}
(folder / spec["result"]).write_text(json.dumps(result))
"""
FLAT = {
    "words": "matrix vector kernel group ring field proof lemma module basis tensor eigenvalue norm",
    "effect": 0.0,
    "slope": 0.0,
    "rate": 1e-3,
    "seeds": 0.02,
    "noise": 0.01,
    "examples": 0.02,
}
HELPFUL = FLAT | {"effect": 1.0, "slope": 0.05}
TUNE = """
[tune]
target = "goal"
models = ["given"]
samplers = ["got-d", "knn", "score:edu"]
shares = ["20%"]
learning_rates = [1e-3, 1e-2]
tokens = 20_000
recipes = 8

[trainer]
command = ["python", "train.py", "{spec}"]
at_once = 2
"""
TEXT = settings(
    corpus(),
    target(train=110, held_out=40),
    score("edu", "edu"),
    base_model("given", preset=None, path="model"),
    TUNE,
)
BEFORE = ancestors("recipe") - {"recipe"}
WANTED = BEFORE | {"recipe"}


def make_begun(root: Path, encoder_cache: Path | None = None) -> SmallProject:
    """Make it in an empty folder, with all that comes before the search.

    `encoder_cache`: the static encoder for its home; without it, it is distilled.
    """
    made = plain_project(root, TEXT, {})
    if encoder_cache is not None:
        shutil.copytree(encoder_cache, made.home.cache)
    write_model(root / "model")
    (root / "train.py").write_text(SURFACE)
    shape(made, FLAT)
    rows = [
        {"text": text, "edu": place}
        for topic, count in (("cooking", 120), ("algebra", 80))
        for place, text in enumerate(sentences(topic, count, 1))
    ]
    (root / "documents").mkdir(exist_ok=True)
    (root / "documents" / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_jsonl(root / "target" / "a.jsonl", sentences("algebra", 150, 2))
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TAMIS_TRUST", "1")
        made.make(BEFORE)
    made.close()
    return made


def shape(project: SmallProject, surface: dict[str, Any]) -> None:
    """Write what losses follow from."""
    (project.root / "surface.json").write_text(json.dumps(surface))


def calls(project: SmallProject) -> list[str]:
    path = project.root / "calls.txt"
    return path.read_text().split() if path.exists() else []


def rows_of(project: SmallProject, table: str = "tune_runs") -> pl.DataFrame:
    return project.store.read(table)


def answer_of(project: SmallProject) -> dict[str, Any]:
    (row,) = project.store.read("tune_answers").iter_rows(named=True)
    return row
