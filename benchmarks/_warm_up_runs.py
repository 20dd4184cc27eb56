"""Warm up on a choice, fine-tune on few labels, measure: one result a (task, sampler, seed), kept as a file.

A seed is a draw of the choice where the sampler draws, an order of documents in the warm-up, and the
first weights and orders of its fine-tunings, whose mean is its score; all samplers share it, so differences
are paired. A choice that serves every task is warmed up on once a seed.
"""

import hashlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks._real_graph import Study
from benchmarks._real_tasks import Task
from benchmarks._workers import in_workers
from benchmarks._zero_shot import zero_shot_outcomes
from tamis.base.precision import precision_in_force
from tamis.corpus.intake import texts_of
from tamis.training import FineTuningOptions, evaluate, fine_tune, model_identity
from tamis.training.examples import Labelled
from tamis.training.results import Outcomes, TrainingResult

NONE = "no warm-up"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How both stages are trained; the same for every sampler."""

    base: str
    warm_up: FineTuningOptions
    fine_tuning: FineTuningOptions
    fine_tunings: int
    """Of each warmed-up model, with other first weights and orders: luck is worth points."""
    zero_shot: bool = False
    zero_shot_examples: int = 200
    text_examples: int = 250
    """Held-out texts whose code length is measured: long ones take as long as a fine-tuning."""
    is_encoder: bool = False
    """The base reads text in both directions: it is warmed up by hidden tokens and has no code length."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """One run: classes of held-out examples after both stages, code length of their text after one."""

    task: str
    sampler: str
    seed: int
    documents: int
    warm_up_tokens: int
    outcomes: list[Outcomes]
    text: Outcomes | None
    zero_shot: Outcomes | None
    seconds: float


def make_runs(
    study: Study, recipe: Recipe, seeds: Sequence[int], workers: int = 1, arms: Sequence[str] = ()
) -> list[Finished]:
    """Make every run that has no result yet, then return all of them; an interrupted benchmark goes on.

    Of every sampler of the study and of no warm-up, unless `arms` says of which.
    """
    paths = _results(study, recipe, seeds, arms)
    if not all(path.is_file() for path in paths):
        folder = paths[0].parent
        folder.mkdir(parents=True, exist_ok=True)
        _require_precision(folder)
        units = [(study, recipe, sampler, seed, folder) for seed in seeds for sampler in _arms(study, arms)]
        in_workers(_runs_of_sampler, units, workers)
    return [_read(path) for path in paths]


def _require_precision(folder: Path) -> None:
    """Note in which precision runs are made; exits where those before were made in another."""
    note, here = folder / "precision", precision_in_force()
    if not note.exists():
        note.write_text(here)
    elif (before := note.read_text()) != here:
        sys.exit(f"runs in {folder} were made in {before}, and this machine uses {here}: name another --home")


def are_made(study: Study, recipe: Recipe, seeds: Sequence[int], arms: Sequence[str] = ()) -> bool:
    """Whether every run of `make_runs` has its result."""
    return all(path.is_file() for path in _results(study, recipe, seeds, arms))


def _arms(study: Study, arms: Sequence[str]) -> Sequence[str]:
    return arms or (NONE, *study.samplers)


def _results(study: Study, recipe: Recipe, seeds: Sequence[int], arms: Sequence[str]) -> list[Path]:
    folder = study.folder / "runs" / _digest(study, recipe)
    return [
        _path(folder, task, sampler, seed)
        for task in study.tasks
        for seed in seeds
        for sampler in _arms(study, arms)
    ]


def _digest(study: Study, recipe: Recipe) -> str:
    """Of all that a result depends on but task, sampler and seed: what another recipe made is not taken.

    The base model counts by its content, so a folder of results may be continued on another machine.
    """
    stated = [asdict(recipe) | {"base": model_identity(recipe.base)}, study.identity()]
    return hashlib.sha256(json.dumps(stated, sort_keys=True).encode()).hexdigest()[:12]


def _runs_of_sampler(study: Study, recipe: Recipe, sampler: str, seed: int, folder: Path) -> None:
    """The runs of a sampler and seed for all tasks; a warm-up is made again only for another choice."""
    with tempfile.TemporaryDirectory() as scratch:
        _runs_in(Path(scratch), study, recipe, sampler, seed, folder)


def _runs_in(scratch: Path, study: Study, recipe: Recipe, sampler: str, seed: int, folder: Path) -> None:
    warmed: tuple[str, TrainingResult | None, list[str]] | None = None
    for task in study.tasks:
        path = _path(folder, task, sampler, seed)
        if path.is_file():
            continue
        began = time.perf_counter()
        name = sampler if sampler == NONE else study.selection(task, sampler)
        if warmed is None or warmed[0] != name:
            warmed = name, *_warm_up(scratch, study, recipe, task, sampler, seed)
        finished = _fine_tuned(scratch, study, recipe, task, sampler, seed, warmed[1], warmed[2])
        seconds = time.perf_counter() - began
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps({**asdict(finished), "seconds": seconds}))
        partial.replace(path)
        print(f"{task.name}, {sampler}, seed {seed}: {seconds:.0f} s", file=sys.stderr, flush=True)


def _warm_up(
    scratch: Path, study: Study, recipe: Recipe, task: Task, sampler: str, seed: int
) -> tuple[TrainingResult | None, list[str]]:
    """The choice and what the base model became on it, in `scratch`/warm."""
    if sampler == NONE:
        return None, []
    chosen = study.chosen(task, sampler, seed)
    texts = texts_of(study.store, chosen)
    output = scratch / "warm"
    shutil.rmtree(output, ignore_errors=True)
    options = _with_seed(recipe.warm_up, seed)
    state = scratch / "state"
    # An encoder learns by hidden tokens where labels are to follow.
    follow = study.examples(task, "held_out") if recipe.is_encoder else []
    return fine_tune(
        recipe.base, [texts[doc_id] for doc_id in chosen], options, follow, output, state
    ), chosen


def _fine_tuned(
    scratch: Path,
    study: Study,
    recipe: Recipe,
    task: Task,
    sampler: str,
    seed: int,
    warm_up: TrainingResult | None,
    chosen: Sequence[str],
) -> Finished:
    base = recipe.base if sampler == NONE else str(scratch / "warm")
    held_out = study.examples(task, "held_out")
    length = recipe.warm_up.sequence_length
    texts = [one.text for one in held_out[: recipe.text_examples]]
    found = None if recipe.is_encoder else evaluate(base, texts, sequence_length=length)
    zero = (
        zero_shot_outcomes(base, held_out[: recipe.zero_shot_examples], length) if recipe.zero_shot else None
    )
    labelled = study.examples(task, "train")
    outcomes = [
        _classes(scratch, _with_seed(recipe.fine_tuning, number), base, labelled, held_out)
        for number in range(recipe.fine_tunings * seed, recipe.fine_tunings * (seed + 1))
    ]
    return Finished(
        task=task.name,
        sampler=sampler,
        seed=seed,
        documents=len(chosen),
        warm_up_tokens=warm_up.tokens if warm_up else 0,
        outcomes=outcomes,
        text=None
        if found is None
        else Outcomes(bits=found.document_bits.tolist(), n_bytes=found.document_bytes.tolist()),
        zero_shot=zero,
        seconds=0.0,
    )


def _classes(
    scratch: Path,
    options: FineTuningOptions,
    base: str,
    labelled: Sequence[Labelled],
    held_out: Sequence[Labelled],
) -> Outcomes:
    """Held-out classes after one fine-tuning on the labels."""
    output, state = scratch / "tuned", scratch / "state"
    shutil.rmtree(output, ignore_errors=True)
    result = fine_tune(base, labelled, options, held_out, output, state)
    assert result.outcomes is not None
    return result.outcomes


def _with_seed(options: FineTuningOptions, seed: int) -> FineTuningOptions:
    return FineTuningOptions(**{**vars(options), "seed": seed})


def _path(folder: Path, task: Task, sampler: str, seed: int) -> Path:
    return folder / f"{task.name}--{sampler.replace(' ', '-')}--{seed}.json"


def _read(path: Path) -> Finished:
    values = json.loads(path.read_text())
    values["outcomes"] = [Outcomes(**one) for one in values["outcomes"]]
    for name in ("text", "zero_shot"):
        values[name] = None if values[name] is None else Outcomes(**values[name])
    return Finished(**values)
