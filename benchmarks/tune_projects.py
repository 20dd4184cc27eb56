"""Truth of `tamis tune` through the product: whole tunings on a trainer whose losses follow from a surface.

    python -m benchmarks.tune_projects                    about 15 minutes on two cores
    python -m benchmarks.tune_projects --projects 1 --looks 3

Each project has documents of two subjects, one of which is the target's, and a command of [trainer] whose
losses follow from the words of what it was given, with noise of seeds and of examples. It is tuned --looks
times by `tamis tune`, each time with new noise of an unchanged truth, so each is one look more at the same
held-out examples; --projects of them have an effect, as many have none. JSON lines on stdout:
- *tunings*: what shipped, and which sampler won. Registered before the first run: with an effect (a recipe of
  documents of the subject gains .1 to .3 bits per byte) the first look ships in every project; without one
  nothing ships; each tuning makes as many runs as it has rows, within its budget.
- *eleventh*: after ten looks the next is refused, and no run of the guard is made for it.
Exits 1 where one of these does not hold. So few tunings say nothing of error rates: `benchmarks.tune` has
those, by the same methods.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import lancedb
from tokenizers import Tokenizer, models, pre_tokenizers

from benchmarks._flags import at_least, begin

SUBJECT = "matrix vector kernel group ring field proof lemma module basis tensor eigenvalue norm"
OTHER = "simmer butter garlic onion roast oven flour dough whisk pepper sauce bake spice broth"
COMMON = "the a of to with and then from under over while until each"
TRAINER = """
import json, math, random, sys
from pathlib import Path

DRAW = 0
folder, root = Path(sys.argv[1]).parent, Path.cwd()
spec, surface = json.loads(Path(sys.argv[1]).read_text()), json.loads((root / "surface.json").read_text())
with (root / "calls.txt").open("a") as calls:
    calls.write(spec["run"] + "\\n")
rows = [json.loads(line) for line in (folder / spec["train"]).read_text().splitlines()]
held_out = [json.loads(line) for line in (folder / spec["evaluate"]).read_text().splitlines()]
words, subject = [word for row in rows for word in row["text"].split()], set(surface["subject"])
useful = sum(word in subject for word in words) / max(len(words), 1)
loss = 3.0 - surface["effect"] * useful - 0.1 * math.log(spec["tokens"] / 1e5)
loss += 0.03 * random.Random(f"{DRAW} {spec['seed']}").gauss(0, 1)
loss += 0.02 * random.Random(f"{DRAW} {spec['run']}").gauss(0, 1)
evaluations = []
for row in held_out:
    size = len(row["text"].encode())
    luck = random.Random(f"{DRAW} {row['id']} {spec['run']}").gauss(0, 0.05)
    nats = (loss + luck) * size * math.log(2)
    evaluations.append({"id": row["id"], "nats": nats, "tokens": 9, "bytes": size})
answer = {"run": spec["run"], "seed": spec["seed"], "seconds": 1.0, "tokens": spec["tokens"]}
(folder / spec["result"]).write_text(json.dumps(answer | {"evaluations": evaluations}))
"""
SETTINGS = """
[project]
name = "tuned"
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
train = 110
held_out = 40
[[base_model]]
name = "given"
path = "model"
[tune]
target = "goal"
models = ["given"]
samplers = ["got-d", "knn"]
shares = ["20%", "40%"]
tokens = 20_000
[trainer]
command = ["python", "train.py", "{spec}"]
at_once = 2
"""


def write_project(root: Path, effect: float, seed: int) -> None:
    """Write a project, whose model is a folder with a tokenizer and the header of its weights."""
    draw = random.Random(seed)

    def texts(words: str, count: int) -> list[str]:
        return [
            " ".join(draw.choice((words if draw.random() < 0.6 else COMMON).split()) for _ in range(40))
            for _ in range(count)
        ]

    for name, some in (
        ("documents", texts(OTHER, 150) + texts(SUBJECT, 100)),
        ("target", texts(SUBJECT, 160)),
    ):
        (root / name).mkdir(parents=True)
        lines = "".join(f"{json.dumps({'text': text})}\n" for text in some)
        (root / name / "a.jsonl").write_text(lines)
    (root / "model").mkdir()
    (root / "model" / "config.json").write_text('{"model_type": "llama"}')
    tensor = {"dtype": "F32", "shape": [1000], "data_offsets": [0, 4000]}
    header = json.dumps({"w": tensor}).encode()
    (root / "model" / "model.safetensors").write_bytes(
        len(header).to_bytes(8, "little") + header + bytes(4000)
    )
    vocabulary = ["<unk>", *f"{SUBJECT} {OTHER} {COMMON}".split()]
    numbered = {word: number for number, word in enumerate(dict.fromkeys(vocabulary))}
    tokenizer = Tokenizer(models.WordLevel(numbered, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(root / "model" / "tokenizer.json"))
    (root / "surface.json").write_text(json.dumps({"effect": effect, "subject": SUBJECT.split()}))
    (root / "tamis.toml").write_text(SETTINGS)


def tamis(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line on a project."""
    environment = {**os.environ, "TAMIS_TRUST": "1", "TAMIS_PROJECT": str(root / "tamis.toml")}
    command = [sys.executable, "-m", "tamis.cli", "--quiet", *arguments]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


def calls(root: Path) -> list[str]:
    """Return the runs that the command was started for."""
    path = root / "calls.txt"
    return path.read_text().split() if path.exists() else []


def tuned(root: Path, draw: int) -> tuple[dict[str, Any] | None, list[str], str]:
    """Tune with noise of its own; return the answer, None where it is refused, the runs, and the error."""
    (root / "train.py").write_text(TRAINER.replace("DRAW = 0", f"DRAW = {draw}"))
    before = len(calls(root))
    done = tamis(root, "tune", "--json")
    return (json.loads(done.stdout) if done.returncode == 0 else None), calls(root)[before:], done.stderr


def looked_at(root: Path, effect: float, looks: int, seed: int) -> list[str]:
    """Tune one project; print a line for each tuning; return what does not hold."""
    write_project(root, effect, seed)
    done = tamis(root, "materialize", "--only", *before_search())
    if done.returncode:
        sys.exit(done.stderr)
    missed = []
    for look in range(1, looks + 1):
        began = time.monotonic()
        answer, runs, error = tuned(root, 1_000 * seed + look)
        if answer is None:
            sys.exit(error)
        rows = lancedb.connect(root / ".tamis" / "lance").open_table("tune_runs").count_rows()
        spent = answer["choosing_flop"] + answer["search_flop"] + answer["guard_flop"]
        holds = {
            "next_look": answer["look"] == look,
            "paid_once": len(runs) == len(set(runs)) == rows,
            "within_budget": spent <= answer["budget_flop"] * 1.000001,
            "ships_with_an_effect_alone": look > 1 or answer["shipped"] == (effect > 0),
        }
        missed += [
            f"{name} at look {look} with effect {effect:g}" for name, held in holds.items() if not held
        ]
        shown = ("recipe", "kind", "look", "level", "shipped", "difference", "low", "high", "given_shipped")
        figures = {name: answer[name] for name in shown} | {"effect": effect, "runs": len(runs), **holds}
        print(json.dumps(figures | {"seconds": round(time.monotonic() - began, 1)}), flush=True)
    if looks == 10:
        answer, runs, error = tuned(root, 1_000 * seed + 11)
        (sentence,) = [line for line in error.splitlines() if "10 times" in line][:1] or [""]
        holds = {"refused": answer is None and bool(sentence)}
        missed += ["eleventh"] * (not holds["refused"])
        print(json.dumps({"eleventh": sentence.strip(), "runs": len(runs), **holds}), flush=True)
    return missed


def before_search() -> list[str]:
    """Return the stages that a search reads."""
    from tamis.graph.stages import ancestors

    return sorted(ancestors("recipe") - {"recipe"})


def main() -> int:
    """Tune projects with and without an effect; return 1 where something registered does not hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--projects", type=at_least(1), default=2, help="with an effect, and without")
    parser.add_argument(
        "--looks", type=at_least(1), default=10, help="tunings of each; 10 shows the eleventh"
    )
    flags = begin(parser)
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(flags.projects):
            for effect in (0.0, 0.5):
                root = Path(folder) / f"{number}-{effect:g}"
                missed += looked_at(root, effect, flags.looks, seed=2 * number + (effect > 0))
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
