"""Warm up on a choice, fine-tune on few labels, measure: one result a (task, sampler, seed), kept as a file.

A seed stands for a draw of the choice where the sampler draws, an order of documents in both stages, and the
first weights of the output layer; all samplers share it, so differences are paired. A choice that serves
every task is warmed up on once a seed.
"""

import json
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks._real_graph import Study
from benchmarks._real_tasks import Task
from benchmarks._zero_shot import zero_shot_outcomes
from tamis.quality.storing import texts_of
from tamis.training import FineTuningOptions, evaluate, fine_tune
from tamis.training.results import Outcomes, TrainingResult

NONE = "no warm-up"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How both stages are trained; the same for every sampler."""

    base: str
    warm_up: FineTuningOptions
    fine_tuning: FineTuningOptions
    zero_shot: bool = False
    zero_shot_examples: int = 200


@dataclass(frozen=True, kw_only=True)
class Finished:
    """One run: classes of held-out examples after both stages, code length of their text after one."""

    task: str
    sampler: str
    seed: int
    documents: int
    warm_up_tokens: int
    outcomes: Outcomes
    text: Outcomes | None
    zero_shot: Outcomes | None
    seconds: float


def make_runs(study: Study, recipe: Recipe, seeds: int) -> list[Finished]:
    """Every run that has no result yet, then all of them; an interrupted benchmark goes on."""
    folder = study.folder / "runs"
    folder.mkdir(exist_ok=True)
    for seed in range(seeds):
        for sampler in (NONE, *study.samplers):
            _runs_of_sampler(study, recipe, sampler, seed, folder)
    paths = [
        _path(folder, task, sampler, seed)
        for task in study.tasks
        for sampler in (NONE, *study.samplers)
        for seed in range(seeds)
    ]
    return [_read(path) for path in paths]


def _runs_of_sampler(study: Study, recipe: Recipe, sampler: str, seed: int, folder: Path) -> None:
    """The runs of a sampler and seed for all tasks; a warm-up is made again only for another choice."""
    warmed: tuple[str, TrainingResult | None, list[str]] | None = None
    for task in study.tasks:
        path = _path(folder, task, sampler, seed)
        if path.is_file():
            continue
        began = time.perf_counter()
        name = sampler if sampler == NONE else study.selection(task, sampler)
        if warmed is None or warmed[0] != name:
            warmed = name, *_warm_up(study, recipe, task, sampler, seed)
        finished = _fine_tuned(study, recipe, task, sampler, seed, warmed[1], warmed[2])
        seconds = time.perf_counter() - began
        path.write_text(json.dumps({**asdict(finished), "seconds": seconds}))
        print(f"{task.name}, {sampler}, seed {seed}: {seconds:.0f} s", file=sys.stderr, flush=True)
    shutil.rmtree(_scratch(study), ignore_errors=True)


def _warm_up(
    study: Study, recipe: Recipe, task: Task, sampler: str, seed: int
) -> tuple[TrainingResult | None, list[str]]:
    """The choice and what the base model became on it, in `_scratch`."""
    if sampler == NONE:
        return None, []
    chosen = study.chosen(task, sampler, seed)
    texts = texts_of(study.store, chosen)
    output = _scratch(study) / "warm"
    shutil.rmtree(output, ignore_errors=True)
    options = _with_seed(recipe.warm_up, seed)
    state = _scratch(study) / "state"
    return fine_tune(recipe.base, [texts[doc_id] for doc_id in chosen], options, [], output, state), chosen


def _fine_tuned(
    study: Study,
    recipe: Recipe,
    task: Task,
    sampler: str,
    seed: int,
    warm_up: TrainingResult | None,
    chosen: Sequence[str],
) -> Finished:
    base = recipe.base if sampler == NONE else str(_scratch(study) / "warm")
    held_out = study.examples(task, "held_out")
    length = recipe.warm_up.sequence_length
    found = evaluate(base, [one.text for one in held_out], sequence_length=length)
    zero = (
        zero_shot_outcomes(base, held_out[: recipe.zero_shot_examples], length) if recipe.zero_shot else None
    )
    output, state = _scratch(study) / "tuned", _scratch(study) / "state"
    shutil.rmtree(output, ignore_errors=True)
    options = _with_seed(recipe.fine_tuning, seed)
    result = fine_tune(base, study.examples(task, "train"), options, held_out, output, state)
    assert result.outcomes is not None
    return Finished(
        task=task.name,
        sampler=sampler,
        seed=seed,
        documents=len(chosen),
        warm_up_tokens=warm_up.tokens if warm_up else 0,
        outcomes=result.outcomes,
        text=Outcomes(bits=found.document_bits.tolist(), n_bytes=found.document_bytes.tolist()),
        zero_shot=zero,
        seconds=0.0,
    )


def _with_seed(options: FineTuningOptions, seed: int) -> FineTuningOptions:
    return FineTuningOptions(**{**vars(options), "seed": seed})


def _scratch(study: Study) -> Path:
    return study.folder / "scratch"


def _path(folder: Path, task: Task, sampler: str, seed: int) -> Path:
    return folder / f"{task.name}--{sampler.replace(' ', '-')}--{seed}.json"


def _read(path: Path) -> Finished:
    values = json.loads(path.read_text())
    for name in ("outcomes", "text", "zero_shot"):
        values[name] = None if values[name] is None else Outcomes(**values[name])
    return Finished(**values)
