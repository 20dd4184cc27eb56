"""Overhead of a trainer's run: what submitting, polling and recording cost beyond the command itself.

    python -m benchmarks.own_trainer
    python -m benchmarks.own_trainer --runs 20

A project of --runs trials is materialized with a command that trains nothing, one run after the other. The
base model is measured by one run more. overhead_seconds: wall-clock time of `tamis materialize` a run,
without the time of the commands, and without a materialization that has nothing to do. It has no rival.
Wanted: under 2 s and one poll. Exit code 1 where that is missed. A minute on two cores.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks._flags import at_least, begin
from tamis.graph.submissions import LOOK_SECONDS

WANTED_SECONDS = 2.0
TRAINER = """
import json, sys, time
from pathlib import Path
began = time.time()
path = Path(sys.argv[1])
folder, spec = path.parent, json.loads(path.read_text())
rows = [json.loads(line) for line in (folder / spec["evaluate"]).read_text().splitlines()]
losses = [{"id": row["id"], "nats": 1.0, "tokens": 1, "bytes": len(row["text"].encode())} for row in rows]
answer = {"run": spec["run"], "seed": spec["seed"], "seconds": 0.0, "tokens": 0, "evaluations": losses}
(folder / spec["result"]).write_text(json.dumps(answer))
with open("times.jsonl", "a") as times:
    print(time.time() - began, file=times)
"""
SETTINGS = """
[project]
name = "own-trainer"
precision = "float32"
[automation]
settle_seconds = 0.0
[[corpus]]
name = "web"
kind = "files"
path = "documents"
[[target]]
name = "goal"
kind = "files"
path = "target"
train = 200
held_out = 100
[[base_model]]
name = "given"
path = "model"
[scaling]
target = "goal"
models = ["given"]
sizes = {sizes}
[trainer]
command = ["python", "train.py", "{{spec}}"]
"""
STAGES = ("raw_shards", "documents", "near_duplicates", "target_examples", "base_models")


def write_project(root: Path, runs: int) -> None:
    """Write a project of so many trials, whose model is a folder without weights that anyone reads."""
    words = [
        "matrix",
        "vector",
        "kernel",
        "group",
        "ring",
        "field",
        "proof",
        "lemma",
        "module",
        "basis",
        "tensor",
        "norm",
    ]
    texts = [
        " ".join([f"document {number}", *words[number % 7 :], words[number % 11]]) for number in range(400)
    ]
    for name, some in (("documents", texts[:40]), ("target", texts[40:])):
        (root / name).mkdir()
        rows = "".join(f"{json.dumps({'text': text})}\n" for text in some)
        (root / name / "a.jsonl").write_text(rows)
    (root / "model").mkdir()
    (root / "model" / "config.json").write_text('{"model_type": "llama"}')
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    weights = len(header).to_bytes(8, "little") + header + bytes(4)
    (root / "model" / "model.safetensors").write_bytes(weights)
    (root / "train.py").write_text(TRAINER)
    (root / "tamis.toml").write_text(SETTINGS.format(sizes=[10 + number for number in range(runs)]))


def materialize(root: Path, *stages: str) -> float:
    """Materialize these stages; return the wall-clock seconds."""
    began = time.monotonic()
    command = [sys.executable, "-m", "tamis.cli", "--quiet", "materialize", "--only", *stages]
    environment = {**os.environ, "TAMIS_TRUST": "1", "TAMIS_PROJECT": str(root / "tamis.toml")}
    subprocess.run(command, cwd=root, env=environment, check=True)
    return time.monotonic() - began


def main() -> int:
    """Print the overhead; return 1 where it is too large."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=at_least(1), default=10, help="trials, each one run")
    flags = begin(parser)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_project(root, flags.runs)
        materialize(root, *STAGES)
        whole = materialize(root, *STAGES, "trials")
        idle = materialize(root, *STAGES, "trials")
        seconds = [float(line) for line in (root / "times.jsonl").read_text().splitlines()]
    overhead = (whole - idle - sum(seconds)) / len(seconds)
    limit = WANTED_SECONDS + LOOK_SECONDS
    figures = {
        "runs": len(seconds),
        "seconds": round(whole, 2),
        "idle_seconds": round(idle, 2),
        "overhead_seconds": round(overhead, 3),
        "wanted_seconds": limit,
    }
    print(json.dumps(figures))
    return int(overhead > limit)


if __name__ == "__main__":
    sys.exit(main())
