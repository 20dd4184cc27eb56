"""A small project on real files: three topics of generated text, a target in one of them."""

import json
import os
import random
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from forked import run_forked

from tamis.embedding import encoder_identity
from tamis.embedding.storing import table_name

VECTORS = table_name("static", encoder_identity("static"))
CHECKOUT = Path(__file__).resolve().parents[1]
TOPICS = {
    "cooking": "simmer butter garlic onion roast oven flour dough whisk pepper sauce bake spice broth",
    "sailing": "mast rudder harbour tide anchor sail wind compass deck knot voyage current hull storm",
    "algebra": "matrix vector kernel group ring field proof lemma module basis tensor eigenvalue norm",
}
COMMON = ["the", "a", "of", "to", "with", "and", "then", "from", "under", "over", "while", "until", "each"]

SETTINGS = """
[project]
name = "small"
precision = "float32"

[automation]
interval_seconds = 5
settle_seconds = 1.0

[[corpus]]
name = "landing"
kind = "files"
path = "landing"
text_column = "text"

[[target]]
name = "algebra"
kind = "files"
path = "target"
train = 30
held_out = 15

[transport]
relative_epsilon = 0.05

[density]
rows = 50
hashes = 4

[[selection]]
name = "near-algebra"
sampler = "got-d"
target = "algebra"
budget = 20

[[selection]]
name = "uniform"
sampler = "random"
budget = 20
"""

TRAINED = """
[judge]
sample = 40
max_tokens = 16

[[base_model]]
name = "small"
preset = "llama-0.8m"

[pretraining]
tokens = 1_000
vocabulary = 512
sequence_length = 32

[scaling]
target = "algebra"
models = ["small"]
sizes = [10]

[comparison]
model = "small"
selections = ["uniform"]
"""


def sentences(topic: str, count: int, seed: int) -> list[str]:
    """Generated documents of one topic, all different."""
    draw = random.Random(f"{topic}:{seed}")
    words = TOPICS[topic].split()
    lengths = range(40)
    return [
        " ".join(draw.choice(words if draw.random() < 0.6 else COMMON) for _ in lengths).capitalize()
        for _ in range(count)
    ]


def write_jsonl(path: Path, texts: list[str]) -> None:
    """A jsonl file that appears whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    os.replace(temporary, path)


@dataclass(frozen=True)
class SmallProject:
    """A project folder and how to run the command in it."""

    root: Path

    @property
    def home(self) -> Path:
        return self.root / ".tamis"

    @property
    def environment(self) -> dict[str, str]:
        plain = {k: v for k, v in os.environ.items() if k not in ("DAGSTER_HOME", "TAMIS_HOME")}
        return plain | {"TAMIS_PROJECT": str(self.root / "tamis.toml"), "TAMIS_PLATFORM": str(CHECKOUT)}

    def copy(self, root: Path) -> "SmallProject":
        """A copy of it: a home can be copied, and the files keep their times."""
        shutil.copytree(self.root, root)
        return SmallProject(root)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "tamis.cli", *arguments]

    def tamis(self, *arguments: str, code: int | None = 0, timeout: float = 400, alone: bool = False):
        """Run it; `alone`: as an interpreter of its own, with a hash seed of its own."""
        if alone:
            done = subprocess.run(
                self.command(*arguments),
                cwd=self.root,
                env=self.environment,
                capture_output=True,
                text=True,
                timeout=timeout,
            )
        else:
            done = run_forked(list(arguments), self.root, self.environment, timeout)
        said = f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert code is None or done.returncode == code, said
        return done

    def json(self, *arguments: str, code: int | None = 0):
        return json.loads(self.tamis(*arguments, "--json", code=code).stdout)


def make_project(root: Path, encoder_cache: Path, settings: str = SETTINGS) -> SmallProject:
    """A project with three shards of 60 documents and a target of 60 examples."""
    (root / "landing").mkdir(parents=True)
    (root / "tamis.toml").write_text(settings)
    for topic in TOPICS:
        write_jsonl(root / "landing" / f"{topic}.jsonl", sentences(topic, 60, 1))
    write_jsonl(root / "target" / "algebra.jsonl", sentences("algebra", 60, 2))
    shutil.copytree(encoder_cache, root / ".tamis" / "cache")
    return SmallProject(root)
