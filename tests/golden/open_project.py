"""The fourth golden's project: what a team brings itself, from vectors to a checkpoint."""

import json
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from mixed_project import Run, as_lines, texts
from safetensors.numpy import load_file, save_file
from wide_project import WIDTH, write_model

SCORES = '''"""A score and a sampler in Python."""

from tamis.plugins import sampler, score


@score(name="words", version="1", reads="text", higher="better", range=(0, 100), meaning="number of words")
def words(texts):
    return [len(text.split()) for text in texts]


@sampler(name="long-last", version="1", reads=("text",))
def long_last(candidates, vectors_nd, goal_md, seed):
    return candidates["text"].str.len_chars()
'''
EVALUATE = '''"""Scores of a checkpoint: by its first weights."""

import json
import sys
from pathlib import Path

from safetensors.numpy import load_file

checkpoint, out = sys.argv[1:]
weights = load_file(Path(checkpoint) / "model.safetensors")
table = next(value for name, value in sorted(weights.items()) if "embed_tokens" in name)
with (Path(out) / "scores.jsonl").open("w") as file:
    for example in range(6):
        score = float(abs(table[example + 4]).mean())
        file.write(json.dumps({"task": "weights", "example": str(example), "score": score}) + "\\n")
'''


def build(root: Path, run: Run) -> None:
    """Write the files; materialize; export and register; take a file away; materialize again."""
    write_files(root)
    write_classifier(root / "sound")
    (root / "scores.py").write_text(SCORES)
    (root / "evaluate.py").write_text(EVALUATE)
    run(root, ["materialize"])
    write_model(root / "elsewhere", 64)
    run(root, ["export", "early"], ["register", "elsewhere", "--trained-on", "early", "--recipe", "by hand"])
    (root / "web" / "few.jsonl").unlink()
    run(root, ["materialize"])


def write_files(root: Path) -> None:
    """Documents of four topics with years, examples of two targets, an exam, and texts off the goal."""
    for folder in ("web", "algebra", "voyages", "exam", "garden"):
        (root / folder).mkdir(parents=True)
    topics = ("cooking", "sailing", "music", "algebra")
    pool = [text for topic in topics for text in texts(topic, 15, 1)]
    rows: list[dict[str, Any]] = [
        {
            "text": text,
            "source": ("library", "shop")[place % 2],
            "page": {"year": 1990 + 7 * place % 60},
            "vector": vector_of(text),
        }
        for place, text in enumerate(pool)
    ]
    rows[3]["page"] = {"year": "unknown"}
    rows[5]["vector"] = None
    (root / "web" / "pages.jsonl").write_bytes(as_lines(rows))
    examples = texts("algebra", 24, 5)
    for place, own in (
        ("web/few", texts("garden", 4, 1)),
        ("algebra/a", examples),
        ("voyages/a", texts("sailing", 150, 7)),
    ):
        with_vectors = [{"text": text, "vector": vector_of(text)} for text in own]
        (root / f"{place}.jsonl").write_bytes(as_lines(with_vectors))
    repeated = [" ".join(text.split()[5:25]) for text in (pool[0], pool[20], *examples[:10])]
    (root / "exam" / "e.jsonl").write_bytes(as_lines([{"question": text} for text in repeated]))
    (root / "garden" / "g.jsonl").write_bytes(as_lines([{"text": text} for text in texts("garden", 8, 9)]))


def vector_of(text: str) -> list[float]:
    """The words of a text, counted in 24 classes by their hash, divided by the length of the counts."""
    counts = np.bincount([crc32(word.encode()) % 24 for word in text.split()], minlength=24)
    return [float(value) for value in counts / np.linalg.norm(counts)]


def write_classifier(folder: Path) -> None:
    """A Llama that classifies, with drawn weights."""
    write_model(folder, 64)
    config = json.loads((folder / "config.json").read_text())
    labels = {"id2label": {"0": "bad", "1": "good"}, "label2id": {"bad": 0, "good": 1}}
    config |= labels | {"architectures": ["LlamaForSequenceClassification"]}
    (folder / "config.json").write_text(json.dumps(config))
    weights = load_file(folder / "model.safetensors")
    del weights["lm_head.weight"]
    weights["score.weight"] = np.random.default_rng(1).normal(0, 0.5, (2, WIDTH)).astype(np.float32)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
