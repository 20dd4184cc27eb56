"""Scores of a user's evaluation in the store: by example, and by task with differences in pairs."""

import math
from typing import Any

import polars as pl

from tamis.evaluation.paired import Difference, difference
from tamis.evaluation.stage import EVALUATION_SCORES, EVALUATIONS
from tamis.store.tables import Store, quoted

_PAIRED = ("start_score", "difference", "difference_low", "difference_high")


def store_scores(store: Store, trial: str, scores: pl.DataFrame, starts: pl.DataFrame | None) -> pl.DataFrame:
    """Write the scores of a trial (task, example, score) and return its row of each task.

    `starts`: those of the model before training, None where it has none.
    """
    before = (scores.clear() if starts is None else starts).rename({"score": "start_score"})
    rows = scores.join(before, on=["task", "example"], how="left", maintain_order="left").select(
        pl.lit(trial).alias("trial"), "task", "example", "score", "start_score"
    )
    summary = pl.DataFrame(
        [
            {"trial": trial, "task": task} | _row(own)
            for (task,), own in rows.group_by("task", maintain_order=True)
        ],
        schema_overrides=dict.fromkeys(("score_low", "score_high", *_PAIRED), pl.Float64),
    )
    scope = f"trial = {quoted(trial)}"
    store.put(EVALUATION_SCORES.name, rows, scope)
    store.put(EVALUATIONS.name, summary, scope)
    return summary


def _row(own: pl.DataFrame) -> dict[str, Any]:
    """Return the summary of one task's rows (score, start_score)."""
    mean, pairs = difference(own["score"].to_numpy()), own.drop_nulls("start_score")
    values: dict[str, Any] = {"examples": len(own), "score": mean.mean, "pairs": len(pairs)}
    values |= _ends("score", mean) | dict.fromkeys(_PAIRED)
    if len(pairs):
        found = difference(pairs["score"].to_numpy(), pairs["start_score"].to_numpy())
        values |= {"start_score": float(pairs["start_score"].to_numpy().mean()), "difference": found.mean}
        values |= _ends("difference", found)
    return values


def _ends(name: str, found: Difference) -> dict[str, float | None]:
    is_known = math.isfinite(found.low)
    return {f"{name}_low": found.low if is_known else None, f"{name}_high": found.high if is_known else None}


def paired_scores(store: Store, trial: str, against: str) -> dict[str, Difference]:
    """Return, by task, the mean difference of two trials' scores over the examples that both have."""
    columns = ["task", "example", "score"]
    own, other = (
        store.read(EVALUATION_SCORES.name, columns, f"trial = {quoted(name)}") for name in (trial, against)
    )
    pairs = own.join(other, on=["task", "example"], suffix="_other").sort("task", "example")
    return {
        str(task): difference(rows["score"].to_numpy(), rows["score_other"].to_numpy())
        for (task,), rows in pairs.group_by("task", maintain_order=True)
    }
