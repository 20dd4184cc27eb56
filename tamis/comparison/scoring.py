"""Scores of compared runs by the user's evaluation: of each run's checkpoint, which is erased afterwards.

Losses of a run are stored before its checkpoint is evaluated, so an evaluation that fails trains nothing
again: the checkpoint waits in the cache for the next attempt.
"""

import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import polars as pl

from tamis.base.errors import TamisError
from tamis.base.progress import Advance, ignore
from tamis.comparison.runs import SCORES, known_runs
from tamis.evaluation.running import Evaluated, evaluate_checkpoint, evaluation_key, forget_evaluation
from tamis.project import Project
from tamis.store.tables import Store, quoted

FOLDER = "compared"


def checkpoint_of(cache: Path, run: str) -> Path:
    """Return the folder in which the model of a run waits for its evaluation."""
    return cache / FOLDER / run


def score_runs(
    project: Project,
    store: Store,
    keys: Collection[str],
    config: dict[str, Any],
    advance: Advance = ignore,
    say: Callable[[str], None] = lambda text: None,
) -> None:
    """Evaluate the checkpoints of these runs that wait for it; drop scores by other settings than `config`.

    A run whose evaluation fails holds no other one back; the first error is raised at the end.
    """
    settings = evaluation_key(config, "")
    store.delete(SCORES, f"settings <> {quoted(settings)}")
    first: TamisError | None = None
    for folder in sorted((project.home.cache / FOLDER).glob("*")):
        if folder.name not in keys:
            shutil.rmtree(folder)
            continue
        say(f"evaluation of run {folder.name[:16]}")
        asked = Evaluated(
            name=f"{FOLDER}-{folder.name[:16]}",
            checkpoint=str(folder),
            key=evaluation_key(config, folder.name),
            files=config["files"],
        )
        try:
            scores = evaluate_checkpoint(project, asked)
        except TamisError as error:
            first = first or error
            continue
        rows = scores.with_columns(run=pl.lit(folder.name), settings=pl.lit(settings))
        columns = ["run", "settings", "task", "example", "score"]
        store.put(SCORES, rows.select(columns), f"run = {quoted(folder.name)}")
        shutil.rmtree(folder)
        forget_evaluation(project, asked)
        advance(1)
    if first is not None:
        raise first


def keep_scores(store: Store) -> None:
    """Drop scores of runs that are set aside."""
    runs = set(store.read(SCORES, ["run"])["run"]) - known_runs(store)
    for run in sorted(runs):
        store.delete(SCORES, f"run = {quoted(run)}")


def scores_of_runs(store: Store) -> pl.DataFrame:
    """Return run, task, example and score of the compared runs; perhaps none."""
    return store.read(SCORES, ["run", "task", "example", "score"])
