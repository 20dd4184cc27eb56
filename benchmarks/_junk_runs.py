"""Small models trained on choices: one result a choice, kept as a file, so an interrupted benchmark goes on.

A choice counts by its documents: where two arms choose the same, or a new model of form changes nothing,
there is one run. All arms of a seed share tokenizer, first weights, tokens and held-out texts.
"""

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks._junk_graph import Study
from benchmarks._junk_pool import control, held_out
from tamis.base.files import write_atomically
from tamis.training import PretrainingOptions, preset_shape, pretrain, train_tokenizer
from tamis.training.device import choose_device
from tamis.training.evaluation import evaluate_loaded
from tamis.training.models import load_model
from tamis.training.results import Outcomes
from tamis.training.tokenizer import load_tokenizer


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Recipe of every training: fresh weights, one number of tokens, whatever the length of a choice."""

    preset: str = "llama-0.8m"
    tokens: int = 300_000
    training_seeds: int = 1


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Code lengths of held-out examples of the goal and of the control after training on a choice."""

    goal: Outcomes
    control: Outcomes
    epochs: float
    seconds: float


def result_path(study: Study, recipe: Recipe, goal: str, ids: Sequence[str], seed: int) -> Path:
    """Return the file of the result of a choice."""
    stated = json.dumps([asdict(recipe), asdict(study.sizes), study.seed, goal, seed, sorted(ids)])
    return study.folder / "runs" / f"{goal}-{hashlib.sha256(stated.encode()).hexdigest()[:16]}.json"


def read_result(path: Path) -> Trained:
    """Read what `train_on` wrote."""
    held = json.loads(path.read_text())
    return Trained(**held | {name: Outcomes(**held[name]) for name in ("goal", "control")})


def train_on(study: Study, recipe: Recipe, goal: str, ids: Sequence[str], seed: int, path: Path) -> None:
    """Train a model on a choice, measure it, and write the result."""
    began = time.perf_counter()
    texts = dict(study.truth.select("doc_id", "text").iter_rows())
    tokenizer = study.folder / "tokenizer"
    if not tokenizer.is_dir():
        train_tokenizer(study.truth["text"].to_list(), tokenizer)
    shape = preset_shape(recipe.preset, len(load_tokenizer(tokenizer)))
    options = PretrainingOptions(tokens=recipe.tokens, seed=1_000 * study.seed + seed)
    with tempfile.TemporaryDirectory() as scratch:
        output, state = Path(scratch) / "model", Path(scratch) / "state"
        chosen = [texts[doc_id] for doc_id in sorted(ids)]
        pretrain(shape, chosen, tokenizer, options, output, state)
        loaded = load_model(output, choose_device("auto"), options.sequence_length)
        outcomes = {}
        for name, measured in (("goal", held_out(goal, study.sizes)), ("control", control(study.sizes))):
            found = evaluate_loaded(loaded, measured, options.sequence_length)
            bits, n_bytes = found.document_bits.round(3).tolist(), found.document_bytes.tolist()
            outcomes[name] = {"bits": bits, "n_bytes": n_bytes}
        shutil.rmtree(output)
    tokens = sum(map(len, load_tokenizer(tokenizer)(chosen, add_special_tokens=False)["input_ids"]))
    plain = {"epochs": recipe.tokens / max(tokens, 1), "seconds": time.perf_counter() - began}
    write_atomically(path, json.dumps({**outcomes, **plain}).encode())
